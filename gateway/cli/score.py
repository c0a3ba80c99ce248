"""`fitserve score`: rows from the shell to a served model."""

import json
import sys
from pathlib import Path
from typing import Any, Final

import click
import orjson
from tqdm import tqdm

from gateway.cli.client import GatewayClient, connect
from gateway.cli.errors import ScoringRefused
from gateway.cli.table_files import Answers, Rows, check_output, read_rows, write_answers
from registry.names import check_name
from registry.workspace import Workspace

PART_ROWS: Final = 5_000


@click.command()
@click.argument("name")
@click.argument("data")
@click.option("--method", help="Method to call, such as predict_proba. Default: the model's own.")
@click.option("--version", type=int, help="A version. Default: the live one.")
@click.option("--output", "-o", metavar="FILE", type=Path, help="Write the answers to a .csv, .jsonl or .parquet file.")
@click.option("--rows", type=click.IntRange(1), default=PART_ROWS, show_default=True, help="Most rows of one request.")
@click.pass_obj
def score(
    obj: dict[str, Any], name: str, data: str, method: str | None, version: int | None, output: Path | None, rows: int
) -> None:
    """Send DATA to the model NAME and print its answer.

    DATA is JSON, either rows such as '[[5.1, 3.5, 1.4, 0.2]]' or a whole body; or the name of a .json, .jsonl, .csv,
    .parquet or .npy file; or - for JSON on standard input. Large input is sent in parts; the answers keep its order.
    """
    check_name("model", name)  # it becomes part of a URL
    if output is not None:
        check_output(output)
    given = read_rows(data, sys.stdin)
    if method is not None:
        given.rest["method"] = method
    path = f"/models/{name}/versions/{version}/score" if version is not None else f"/models/{name}/score"
    with Workspace.open(obj["workspace"], create=False) as workspace, connect(workspace) as client:
        answers = ask(client, path, given, rows)
    if output is None:
        click.echo(json.dumps(answers.body))
    else:
        write_answers(answers, output)
        click.echo(f"{len(given):,} rows answered: {output}", err=True)


def ask(client: GatewayClient, path: str, given: Rows, rows: int) -> Answers:
    """All of `given`, in parts of `rows`, or of fewer where the gateway says that a part is too large.

    Raises:
        ScoringRefused
    """
    answers, start, total = Answers(), 0, len(given)
    with tqdm(total=total, unit=" rows", leave=False, disable=None if total > rows else True) as bar:
        while start < max(total, 1):
            stop = min(start + rows, total)
            try:
                answer = client.score(path, given.body(start, stop))
            except ScoringRefused as refused:
                if refused.status != 413 or stop - start < 2:
                    raise
                rows = (stop - start) // 2
                continue
            answers.add(orjson.loads(answer), stop - start)
            bar.update(stop - start)
            start = max(stop, 1)
    return answers
