"""`fitserve entry-script`: the beginning of a scoring script, for files whose order only their owner knows."""

import sys
from pathlib import Path
from typing import Any

import click

from gateway.cli.compose import looked_at
from registry.composition.parts import Part
from registry.errors import InvalidArgument
from registry.workspace import Workspace

_HEAD = '''"""Answers in place of the model: complete the marked line, then
fitserve register FOLDER --name NAME --entry-script {name}   (FOLDER holds the files below)"""

import os

import joblib
import numpy as np
import pandas as pd


def init():
    """Called once, when a scoring process starts."""
    global {names}
    folder = next(root for root, _, files in os.walk(os.environ["AZUREML_MODEL_DIR"]) if "{first}" in files)
{loads}

def run(data):
    """Called for each request with its rows (the value of "data"); what it returns is answered as JSON."""
    X = {frame}
'''


@click.command("entry-script")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("-o", "--output", default="score.py", show_default=True, help="The script that is written; - prints it.")
@click.pass_obj
def entry_script(obj: dict[str, Any], /, files: tuple[str, ...], output: str) -> None:
    """Write a scoring script that loads FILE…, with what is known of each filled in.

    For files whose order cannot be found out; where it can, `fitserve register FILE…` needs no script.
    """
    if output != "-" and Path(output).exists():
        raise InvalidArgument("--output", f"{output} exists already; give another name")
    with Workspace.open(obj["workspace"]) as workspace:
        parts = [part for part in looked_at(workspace, [Path(file) for file in files]) if part.roles]
    if not parts:
        raise InvalidArgument("FILE", f"there is no model or step in {', '.join(files)}")
    text = script_for(parts, "score.py" if output == "-" else Path(output).name)
    if output == "-":
        sys.stdout.write(text)
        return
    Path(output).write_text(text)
    click.echo(f"wrote {output}: complete it, then register the folder of the files with --entry-script {output}")


def script_for(parts: list[Part], name: str) -> str:
    """The script that loads `parts` and says of each what it takes and gives."""
    variables = {part.id: _identifier(part, index) for index, part in enumerate(parts)}
    loads = []
    for part in parts:
        member = "" if part.key is None else f"[{part.key!r}]"
        path = f'os.path.join(folder, "{part.file}")'
        loads.append(f"    {variables[part.id]} = joblib.load({path}){member}  # {part.class_name}: {part.flow}\n")
    names = next((part.names for part in parts if part.names), None)
    texts = any(part.takes == "text" for part in parts)
    frame = "data" if texts else "np.asarray(data)" if names is None else f"pd.DataFrame(data, columns={list(names)!r})"
    body = _HEAD.format(
        name=name, names=", ".join(variables.values()), first=parts[0].file, loads="".join(loads), frame=frame
    )
    stages = [part for part in parts if "stage" in part.roles and "model" not in part.roles]
    model = next((part for part in parts if "model" in part.roles), None)
    for part in stages:
        body += f"    # {variables[part.id]}.transform(…) takes {'texts' if part.takes == 'text' else _columns(part)}\n"
    body += "    # Complete: bring the steps into their order, X = step.transform(X) for each.\n"
    answer = "X" if model is None else f"{variables[model.id]}.predict(X)"
    return body + f"    return np.asarray({answer}).tolist()\n"


def _columns(part: Part) -> str:
    known = f": {', '.join(part.names)}" if part.names else ""
    return f"{part.width or 'an unknown number of'} columns{known}"


def _identifier(part: Part, index: int) -> str:
    word = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in part.name).strip("_").lower()
    return word if word.isidentifier() and word not in {"data", "folder", "np", "pd", "os"} else f"part_{index}"
