"""`fitserve exec` and `fitserve notebook`: other people's Python, with our `azureml` where it has none of its own."""

import json
import os
import shutil
import subprocess
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
_PYTHON_KERNEL = "python3"  # comes with every ipykernel
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
            kernel = _kernel_instead(arguments) if execute else []
            replace_process([f"jupyter-{flavour}", *kernel, *arguments], obj["workspace"], strict_python)
    raise NoJupyter(execute)


def _kernel_instead(arguments: Sequence[str]) -> list[str]:
    """Notebooks from Azure name kernels of its machines, such as python38-azureml: the Python at hand takes their place."""
    if any("kernel_name" in argument for argument in arguments):
        return []
    for path in [Path(argument) for argument in arguments if argument.endswith(".ipynb")]:
        try:
            asked = json.loads(path.read_text(encoding="utf-8"))["metadata"]["kernelspec"]["name"]
        except (OSError, ValueError, KeyError, TypeError):  # Jupyter has its own sentence for it
            continue
        if str(asked).startswith("python") and asked not in _kernels():
            click.echo(f"{path} asks for the kernel {asked}, which is not here: python3 takes its place", err=True)
            return [f"--kernel_name={_PYTHON_KERNEL}"]
    return []


def _kernels() -> set[str]:
    """The names of those that are installed for the Jupyter on the PATH."""
    program = shutil.which("jupyter-kernelspec")
    told = None if program is None else subprocess.run([program, "list", "--json"], capture_output=True, check=False)
    try:
        return {_PYTHON_KERNEL} if told is None else {_PYTHON_KERNEL, *json.loads(told.stdout)["kernelspecs"]}
    except (ValueError, KeyError):
        return {_PYTHON_KERNEL}


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
