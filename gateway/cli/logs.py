"""`fitserve logs`: of a run, or of a served model."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gateway.rundir.version_log import log_name, service_log
from registry import services
from registry.errors import InvalidArgument, ModelNotFound, RunNotFound
from registry.sdk.model import Model
from registry.sdk.workspace import Workspace
from trainer import Run

TERMINAL = frozenset({"Completed", "Failed", "Canceled"})


@click.command()
@click.argument("name")
@click.option(
    "--lines", "-n", type=click.IntRange(min=0), default=200, show_default=True, help="How many lines from the end."
)
@click.option("--follow", "-f", is_flag=True, help="Go on as the log grows.")
@click.pass_obj
def logs(obj: dict[str, Any], name: str, lines: int, follow: bool) -> None:
    """Show the log of NAME: a run's id, a model, a version as MODEL:VERSION, or a service."""
    with Workspace.open(obj["workspace"], create=False) as workspace:
        path, run = find_log(workspace, name)
        data = path.read_bytes() if path.exists() else b""
        shown = data.decode("utf-8", errors="replace").splitlines()
        for line in shown[max(0, len(shown) - lines) :]:
            click.echo(line)
        if not data and not follow:
            click.echo(f"{name} has written nothing", err=True)
        if follow:
            for piece in _growth(path, len(data), run):
                click.echo(piece, nl=False)


def find_log(workspace: Workspace, name: str) -> tuple[Path, Run | None]:
    """The file that holds the log of a run, of a model version, or of a service, which is its version's unless it has processes
    of its own. A model's name comes before a service's.

    Raises:
        ModelNotFound: it is none of them.
    """
    try:
        run = Run.get(workspace, name)
        return run.log_path, run
    except RunNotFound:
        pass
    model, _, version = name.partition(":")
    if version and not version.isdigit():
        raise InvalidArgument("NAME", f"{name!r} is not a run's id, MODEL or MODEL:VERSION")
    try:
        found = Model(workspace, name=model, version=int(version) if version else None)
    except ModelNotFound:
        service = None if version else services.find(workspace, name)
        if service is None:
            raise
        return service_log(workspace, service), None
    return workspace.logs_dir / log_name(found.name, found.version), None


def _growth(path: Path, offset: int, run: Run | None) -> Iterator[str]:
    while True:
        ended = run is not None and run.get_status() in TERMINAL
        if path.exists():
            with path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < offset:  # a full log was put aside, and another one begun
                    offset = 0
                file.seek(offset)
                piece = file.read()
            offset += len(piece)
            if piece:
                yield piece.decode("utf-8", errors="replace")
        if ended:
            return
        time.sleep(0.2)
