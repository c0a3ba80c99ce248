"""`fitserve score`: rows from the shell to a served model."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from gateway.cli.client import connect
from registry.errors import InvalidArgument
from registry.workspace import Workspace


@click.command()
@click.argument("name")
@click.argument("data")
@click.option("--method", help="Method to call, such as predict_proba. Default: the model's own.")
@click.option("--version", type=int, help="A version. Default: the live one.")
@click.pass_obj
def score(obj: dict[str, Any], name: str, data: str, method: str | None, version: int | None) -> None:
    """Send DATA to the model NAME and print its answer.

    DATA is JSON, either rows such as '[[5.1, 3.5, 1.4, 0.2]]' or a whole body; or the name of a .json, .csv, .parquet or
    .npy file; or - for JSON on standard input.
    """
    body = read_data(data)
    if method is not None:
        body["method"] = method
    path = f"/models/{name}/versions/{version}/score" if version is not None else f"/models/{name}/score"
    with Workspace.open(obj["workspace"], create=False) as workspace, connect(workspace) as client:
        click.echo(client.score(path, json.dumps(body).encode()).decode())


def read_data(text: str) -> dict[str, Any]:
    """A scoring body from what was typed.

    Raises:
        InvalidArgument: it is neither JSON nor a file that can be read.
    """
    if text == "-":
        return _body(_json(sys.stdin.read(), "standard input"))
    path = Path(text)
    if path.suffix.lower() in {".json", ".csv", ".parquet", ".npy"}:
        if not path.is_file():
            raise InvalidArgument("DATA", f"there is no file {text}")
        try:
            return _from_file(path)
        except (ValueError, ImportError, OSError) as error:  # also pandas' own: they are ValueErrors
            reason = " ".join(str(error).split())[:200]
            raise InvalidArgument("DATA", f"{text} cannot be read as {path.suffix.lower()}: {reason}") from error
    return _body(_json(text, "DATA"))


def _from_file(path: Path) -> dict[str, Any]:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _body(_json(path.read_text(encoding="utf-8"), path.name))
    if suffix == ".npy":
        import numpy as np

        return {"data": np.load(path, allow_pickle=False).tolist()}
    import pandas as pd

    frame = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    split = json.loads(frame.to_json(orient="split", index=False, date_format="iso"))
    return {"data": {"columns": split["columns"], "data": split["data"]}}


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidArgument(where, f"not JSON: {error}; rows look like '[[5.1, 3.5, 1.4, 0.2]]'") from None


def _body(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) and "data" in value else {"data": value}
