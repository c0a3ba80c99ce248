"""`azureml.core.script_run_config`: what to run. A plain value; `Experiment.submit` runs it."""

import os
import warnings

from azureml._fitserve.texts import as_path, strict_python
from azureml._fitserve.unsupported import Answering
from azureml._restclient import snapshots_client
from azureml.core.environment import Environment
from azureml.core.runconfig import _DEFAULT_DURATION_S, RunConfiguration
from azureml.exceptions import UserErrorException


class ScriptRunConfig(Answering):
    """A script or a command with its folder and environment.

    `resource_configuration` (limits) and `strict_python` (no newer Python than requested) are fitserve's additions.
    """

    def __init__(
        self,
        source_directory,
        script=None,
        arguments=None,
        run_config=None,
        _telemetry_values=None,
        compute_target=None,
        environment=None,
        distributed_job_config=None,
        resume_from=None,
        max_run_duration_seconds=_DEFAULT_DURATION_S,
        command=None,
        docker_runtime_config=None,
        resource_configuration=None,
        strict_python=False,
    ):
        for name, value in (("distributed_job_config", distributed_job_config), ("resume_from", resume_from)):
            if value is not None:
                raise UserErrorException(
                    "{}: runs here are single processes that start from the beginning; leave it out".format(name)
                )
        self.source_directory = source_directory
        self._script, self._arguments, self._command = script, arguments, command
        self.resource_configuration = resource_configuration
        if run_config is None:
            run_config = RunConfiguration()
            run_config.target = compute_target or "local"
            if environment is not None:
                run_config.environment = environment
            run_config.max_run_duration_seconds = max_run_duration_seconds
        elif compute_target is not None or environment is not None or docker_runtime_config is not None:
            warnings.warn(
                "ScriptRunConfig: compute_target, environment and docker_runtime_config are ignored, since run_config sets them",
                stacklevel=2,
            )
        self.run_config = run_config
        self.strict_python = strict_python

    @property
    def script(self):
        return self._script if self._script is not None else self.run_config.script

    @script.setter
    def script(self, script):
        self._script = script

    @property
    def arguments(self):
        return list(self._arguments) if self._arguments is not None else list(self.run_config.arguments or [])

    @arguments.setter
    def arguments(self, arguments):
        self._arguments = arguments

    @property
    def command(self):
        return self._command if self._command is not None else getattr(self.run_config, "command", None)

    def _described(self, more=()):
        """Description for fitserve; `more` are additional arguments."""
        environment = getattr(self.run_config, "_environment", None)
        described = None if environment is None else environment._described()
        variables = getattr(self.run_config, "environment_variables", None)
        if variables and described is None:
            described = Environment("run-config")._described()
        if variables:
            described["variables"].update({str(key): str(value) for key, value in variables.items()})
        command = self.command
        if command is not None and not isinstance(command, str):
            command = [_text(word) for word in command]
        limits = self.resource_configuration
        strict = (
            getattr(self.run_config, "strict_python", False),
            environment is not None and environment.python.strict_python,
        )
        return {
            "source_directory": as_path(self.source_directory or "."),
            "script": self.script,
            "arguments": [_text(word) for word in self.arguments + list(more)],
            "command": command,
            "environment": described,
            "max_run_duration_seconds": self.run_config.max_run_duration_seconds,
            "resource_configuration": None if limits is None else limits._described(),
            "snapshot_max_bytes": snapshots_client.SNAPSHOT_MAX_SIZE_BYTES,
            "snapshot_no_file_limit": os.environ.get("AML_SNAPSHOT_NO_FILE_LIMIT", ""),
            "strict_python": strict_python(self.strict_python, *strict),
        }


def _text(word):
    """An argument as text for the script."""
    if isinstance(word, (str, int, float, bool)) or type(word).__module__ == "numpy":
        return str(word)
    path = getattr(word, "_argument", None)
    if path is not None:
        return path()
    return str(word)
