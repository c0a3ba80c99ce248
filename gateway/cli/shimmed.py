"""`fitserve exec` and `fitserve notebook`: other people's Python, with our `azureml` where it has none of its own."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import trainer
from gateway.cli.errors import CommandNotFound, NoJupyter
from gateway.cli.options import strict_python_option
from trainer.shim.azureml._fitserve.calls import RPC_VARIABLE
from trainer.variables import RPC_COMMAND

_SITE = Path(trainer.__file__).parent / "shim" / "_site"  # holds a sitecustomize, see there
_RAW = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command("exec", context_settings=_RAW)
@strict_python_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def run(obj: dict[str, Any], /, strict_python: bool, command: tuple[str, ...]) -> None:
    """Run COMMAND, such as `python client.py`, so that `import azureml.core` finds fitserve.

    The Python may be any from 3.6 on; nothing has to be installed there. One that has a real azureml keeps it.
    """
    replace_process(command, obj["workspace"], strict_python)


@click.command(context_settings=_RAW)
@strict_python_option
@click.option("--execute", is_flag=True, help="Run the notebook FILE to its end instead, as `jupyter execute` does.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def notebook(obj: dict[str, Any], /, strict_python: bool, execute: bool, arguments: tuple[str, ...]) -> None:
    """Start Jupyter so that `import azureml.core` in its notebooks finds fitserve. ARGUMENTS are Jupyter's own.

    `fitserve notebook --execute FILE.ipynb --inplace` runs one without a browser and keeps its outputs; the exit code tells
    whether a cell failed.
    """
    for flavour in ("execute",) if execute else ("notebook", "lab"):
        if shutil.which(f"jupyter-{flavour}"):
            replace_process([f"jupyter-{flavour}", *arguments], obj["workspace"], strict_python)
    raise NoJupyter(execute)


def replace_process(command: Sequence[str], workspace: str | None, strict_python: bool = False) -> None:
    """Never returns.

    Raises:
        CommandNotFound
    """
    if shutil.which(command[0]) is None:
        raise CommandNotFound(command[0])
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(command[0], list(command), client_variables(os.environ, workspace, strict_python))  # noqa: S606


def client_variables(environ: Any, workspace: str | None, strict_python: bool = False) -> dict[str, str]:
    """`environ` for a client of the shim."""
    variables = dict(environ)
    inherited = variables.get("PYTHONPATH")
    variables["PYTHONPATH"] = os.pathsep.join([str(_SITE), inherited] if inherited else [str(_SITE)])
    variables[RPC_VARIABLE] = json.dumps(RPC_COMMAND)
    if workspace is not None:
        variables["FITSERVE_WORKSPACE"] = workspace if "://" in workspace else str(Path(workspace).absolute())
    if strict_python:
        variables["FITSERVE_STRICT_PYTHON"] = "1"
    return variables
