"""What commands print: tables that fit a terminal, JSON for programs, ages for people."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Columns padded to their widest cell; the sentence `empty` when there are no rows."""
    if not rows:
        click.echo(empty)
        return
    texts = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in texts) for i in range(len(header))]
    for row in texts:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=_plain, ensure_ascii=False))


def age(time: datetime, now: datetime | None = None) -> str:
    """How long ago, in the one unit that fits."""
    seconds = ((now or datetime.now(UTC)) - time).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else str(value)
