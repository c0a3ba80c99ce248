"""`fitserve score`: rows from the shell to a served model."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import click

from gateway.cli.client import connect
from gateway.cli.errors import ScoringRefused
from gateway.client.table_files import (
    PART_ROWS,
    check_output,
    column_types,
    in_parts,
    is_csv,
    looks_like_json,
    read_rows,
    write_answers,
)
from registry.errors import InvalidArgument
from registry.names import check_name
from registry.sdk.workspace import Workspace


@click.command()
@click.argument("name")
@click.argument("data")
@click.option("--method", help="Method to call, such as predict_proba. Default: the model's own.")
@click.option("--version", type=int, help="A version. Default: the live one.")
@click.option("--output", "-o", metavar="FILE", type=Path, help="Write the answers to a .csv, .jsonl or .parquet file.")
@click.option("--rows", type=click.IntRange(1), default=PART_ROWS, show_default=True, help="Most rows of one request.")
@click.option("--header/--no-header", default=None, help="Whether a CSV has a header line. Default: by its content.")
@click.pass_obj
def score(
    obj: dict[str, Any],
    name: str,
    data: str,
    method: str | None,
    version: int | None,
    output: Path | None,
    rows: int,
    header: bool | None,
) -> None:
    """Send DATA to the model NAME and print its answer.

    DATA is JSON, either rows such as '[[5.1, 3.5, 1.4, 0.2]]' or a whole body; or the name of a .json, .jsonl, .csv, .tsv,
    .parquet or .npy file; or - for JSON or CSV on standard input. Large input is sent in parts; the answers keep its order.
    """
    check_name("model", name)  # it becomes part of a URL
    if output is not None:
        check_output(output)
    stdin = io.StringIO(_standard_input()) if data == "-" else io.StringIO()
    by_types = is_csv(data) or (data == "-" and not looks_like_json(stdin.getvalue()))
    given = None if by_types else read_rows(data, stdin, {})
    model = f"/models/{name}"
    path = f"{model}/versions/{version}/score" if version is not None else f"{model}/score"
    with Workspace.open(obj["workspace"], create=False) as workspace, connect(workspace) as client:
        if given is None:
            types = column_types(client.document(f"{model}/swagger.json?version=3.1"))
            given = read_rows(data, stdin, types, header)
            if given.note:
                click.echo(f"note: {given.note}; --header or --no-header says otherwise", err=True)
        if method is not None:
            given.rest["method"] = method

        def post(body: bytes, where: str) -> bytes:
            try:
                return client.score(path, body)
            except ScoringRefused as error:
                raise type(error)(error.status, f"{where}{error.sentence}") from None

        answers = in_parts(post, given, rows)
    if output is None:
        click.echo(json.dumps(answers.body))
    else:
        write_answers(answers, output, len(given) or None)
        click.echo(f"{len(given):,} rows answered: {output}", err=True)


def _standard_input() -> str:
    """Raises InvalidArgument: it is not text."""
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgument("standard input", f"it is not UTF-8: {error.reason} at byte {error.start}") from None
