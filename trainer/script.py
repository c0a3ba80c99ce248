"""ScriptRunConfig: what to run. A plain value; `Experiment.submit` validates and runs it."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from registry.environment import Environment
from registry.errors import InvalidArgument
from registry.resources import ResourceConfiguration
from trainer.errors import ScriptNotFound
from trainer.notebook import code_cells, is_notebook

DEFAULT_DURATION_S: Final = 30 * 24 * 3600
_SHELL_WORDS: Final = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"})


class ScriptRunConfig:
    """A script or a command with its folder, environment and limits.

    Args:
        source_directory: folder that is copied to become the script's working directory.
        script: relative to it.
        arguments: of any type; each is converted to text, so ``1.0`` stays ``1.0``.
        run_config: an object with `environment`, `target`, `script`, `arguments`, which it then determines.
        compute_target: "local", or an object of that name. None means local.
        environment: `registry.Environment`, or None for fitserve's own Python.
        max_run_duration_seconds: a run that takes longer fails.
        command: replaces script and arguments; a list, or text without shell operators.
        resource_configuration: limits for the script and all its child processes together. None means no limit.
        strict_python: fail if the requested Python is not available, instead of using the nearest newer one.
        distributed_job_config, resume_from, docker_runtime_config, _telemetry_values: Azure's. The first two are
            rejected at submission, the others have no effect.
    """

    def __init__(
        self,
        source_directory: str | Path,
        script: str | None = None,
        arguments: Sequence[object] | None = None,
        run_config: Any = None,
        _telemetry_values: object = None,
        compute_target: object = None,
        environment: Environment | None = None,
        distributed_job_config: object = None,
        resume_from: object = None,
        max_run_duration_seconds: float | None = DEFAULT_DURATION_S,
        command: str | Sequence[object] | None = None,
        docker_runtime_config: object = None,
        resource_configuration: ResourceConfiguration | None = None,
        strict_python: bool = False,
    ) -> None:
        self.source_directory = source_directory
        self.script = script if script is not None or run_config is None else getattr(run_config, "script", None)
        given = arguments if arguments is not None else getattr(run_config, "arguments", None)
        self.arguments = list(given or [])
        self.run_config = run_config
        self.compute_target = compute_target if run_config is None else getattr(run_config, "target", None)
        self.environment = environment if run_config is None else getattr(run_config, "environment", None)
        self.distributed_job_config = distributed_job_config
        self.resume_from = resume_from
        self.max_run_duration_seconds = max_run_duration_seconds
        self.command = command
        self.docker_runtime_config = docker_runtime_config
        self.resource_configuration = resource_configuration
        self.strict_python = strict_python

    def __repr__(self) -> str:
        what = f"script={self.script!r}" if self.command is None else f"command={self.command!r}"
        return f"ScriptRunConfig(source_directory={str(self.source_directory)!r}, {what}, arguments={self.arguments!r})"

    @property
    def source(self) -> Path:
        """Absolute path of the source folder.

        Raises:
            InvalidArgument: it is not a folder.
        """
        path = Path(self.source_directory).absolute()
        if not path.is_dir():
            raise InvalidArgument("source_directory", f"{self.source_directory} is not a folder")
        return path

    def argument_list(self) -> tuple[str, ...]:
        """The arguments as the script sees them."""
        return tuple(str(argument) for argument in self.arguments)

    def command_list(self) -> list[str] | None:
        """The command as words, or None when there is a script.

        Raises:
            InvalidArgument: it needs a shell, or is empty.
        """
        if self.command is None:
            return None
        words = shlex.split(self.command) if isinstance(self.command, str) else [str(word) for word in self.command]
        if len(words) == 1 and not isinstance(self.command, str):
            words = shlex.split(words[0])  # Azure takes ['python train.py'] too
        if not words:
            raise InvalidArgument("command", "it is empty")
        operators = [word for word in words if word in _SHELL_WORDS]
        if operators:
            raise InvalidArgument(
                "command", f"{operators[0]} needs a shell: put the steps into a file and give ['bash', 'steps.sh']"
            )
        return words

    def check(self) -> None:
        """Validate before anything is copied.

        Raises:
            ScriptNotFound, InvalidArgument: says what would be right.
        """
        source = self.source
        if (self.script is None) == (self.command is None):
            raise InvalidArgument("script", "give a script or a command, and not both")
        if self.command is not None and self.arguments:
            raise InvalidArgument("arguments", "they belong to a script; write them into the command")
        for name in ("distributed_job_config", "resume_from"):
            if getattr(self, name) is not None:
                raise InvalidArgument(
                    name, "runs here are single processes that start from the beginning; leave it out"
                )
        if self.max_run_duration_seconds is not None and not self.max_run_duration_seconds > 0:
            raise InvalidArgument(
                "max_run_duration_seconds", f"{self.max_run_duration_seconds} is not a positive number"
            )
        if any("\0" in word for word in (*self.argument_list(), *(self.command_list() or ()))):
            raise InvalidArgument("arguments", "an argument cannot hold a NUL character")
        if self.script is not None:
            self._check_script(source, self.script)

    def _check_notebook(self, path: Path) -> None:
        code_cells(path)
        if self.arguments:
            raise InvalidArgument("arguments", f"a notebook takes none; write the values into a cell of {path.name}")

    def _check_script(self, source: Path, script: str) -> None:
        path = source / script
        if Path(script).is_absolute() or ".." in Path(script).parts:
            raise InvalidArgument("script", f"{script} must be relative to source_directory and inside it")
        if not path.is_file():
            found = [file.name for pattern in ("*.py", "*.ipynb") for file in source.glob(pattern)]
            raise ScriptNotFound(script, str(source), found)
        if is_notebook(script):
            self._check_notebook(path)
