"""`fitserve train`."""

from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.options import pairs, resource_options, resources, strict_python_option
from gateway.cli.progress import status_line
from registry.environment import Environment
from registry.errors import EnvironmentNotFound, InvalidArgument, InvalidName
from registry.workspace import Workspace
from trainer import Experiment, Run, ScriptRunConfig

_LONGEST_FILE_NAME: Final = 255  # asking the system for a longer one is an error, not a no


def environment_from(file: str | None, workspace: Workspace, what: str = "--environment") -> Environment | None:
    """An Environment from a conda file (.yml), a pip requirements file, or by its name; "own" is fitserve's own Python.

    Args:
        what: the argument that names it.

    Raises:
        InvalidArgument: there is no such file and no such name.
    """
    if file is None:
        return None
    path = Path(file)
    if len(path.name) > _LONGEST_FILE_NAME or "\0" in file or not path.is_file():
        try:
            return Environment.get(workspace, file)
        except (EnvironmentNotFound, InvalidName):
            problem = (
                f"{file} is no file and no environment: give a conda .yml, a pip requirements file, a name, or own"
            )
            raise InvalidArgument(what, problem) from None
    label = path.stem
    if path.suffix in {".yml", ".yaml"}:
        return Environment.from_conda_specification(label, file)
    return Environment.from_pip_requirements(label, file)


def script_path(script: str) -> Path:
    """Looked at before a workspace is made: a misspelt name leaves nothing behind.

    Raises:
        InvalidArgument: there is no such script.
    """
    path = Path(script)
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        hint = f"; in that folder: {', '.join(near[:8])}" if near else ""
        raise InvalidArgument("SCRIPT", f"there is no file {script}{hint}")
    return path


def run_script(
    workspace: Workspace,
    script: str,
    arguments: tuple[str, ...],
    environment: str | None,
    experiment: str | None,
    limits: tuple[float | None, float | None],
    tags: dict[str, str] | None = None,
    strict_python: bool = False,
) -> Run:
    """Submit `script` with its folder as the snapshot, stream its log, and return the completed run.

    Raises:
        InvalidArgument: there is no such script.
        trainer.errors.ActivityFailed: the script failed; the sentence says how.
    """
    path = script_path(script)
    config = ScriptRunConfig(
        source_directory=str(path.resolve().parent),
        script=path.name,
        arguments=list(arguments),
        environment=environment_from(environment, workspace),
        strict_python=strict_python,
        resource_configuration=resources(*limits) if limits != (None, None) else None,
    )
    run = Experiment(workspace, experiment or _experiment_name(path)).submit(config, tags=tags)
    try:
        with status_line(run):
            run.wait_for_completion(show_output=True)
    except KeyboardInterrupt:
        run.cancel()
        raise
    return run


def script_options(command: Any) -> Any:
    """What `train` and `up` share about the script."""
    for option in (
        click.option(
            "--environment",
            "-e",
            metavar="FILE|NAME",
            help="Conda .yml, pip requirements, or a registered name to train (and serve) in.",
        ),
        strict_python_option,
        click.option("--arg", "args", multiple=True, metavar="TEXT", help="An argument for the script; repeat it."),
        click.option("--experiment", metavar="NAME", help="Experiment of the run. Default: the script's name."),
    ):
        command = option(command)
    return command


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("script")
@click.argument("script_args", nargs=-1)
@script_options
@resource_options(what="the training process")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag of the run; repeat it.")
@click.pass_obj
def train(
    obj: dict[str, Any],
    /,
    script: str,
    script_args: tuple[str, ...],
    **given: Any,
) -> None:
    """Run SCRIPT in a copy of its folder; keep its metrics, ./outputs and ./logs.

    Arguments for the script follow `--`: fitserve train train.py -- --kernel rbf
    """
    script_path(script)
    with Workspace.open(obj["workspace"]) as workspace:
        run = run_script(
            workspace,
            script,
            given["args"] + script_args,
            given["environment"],
            given["experiment"],
            (given["cpu"], given["memory"]),
            pairs(given["tags"], "--tag"),
            given["strict_python"],
        )
        for name, value in run.get_metrics().items():
            click.echo(f"{name}: {value}")
        files = [name for name in run.get_file_names() if name.startswith("outputs/")]
        click.echo(f"\nfiles: {', '.join(files) or 'none in ./outputs'}")
        if files:
            click.echo(f"register one with: fitserve register --run {run.id} {files[0]} --name NAME")


def _experiment_name(script: Path) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in script.stem).strip("-") or "script"
