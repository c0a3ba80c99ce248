"""`fitserve prune`: free what nothing needs any more."""

from dataclasses import asdict
from typing import Any

import click

from gateway.cli.output import print_json
from registry.prune import prune as free
from registry.sdk.workspace import Workspace


@click.command()
@click.option("--days", type=click.FloatRange(0), default=30.0, show_default=True, help="What is younger stays.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be freed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def prune(obj: dict[str, Any], days: float, dry_run: bool, as_json: bool) -> None:
    """Free artifacts of deleted models, interpreters that no model or run needs, and working copies of old runs.

    What was written in the last hour stays, and so does everything that a registered version is made of.
    """
    with Workspace.open(obj["workspace"], create=False) as workspace:
        freed = free(workspace, days=days, dry_run=dry_run)
    if as_json:
        print_json(asdict(freed))
        return
    for what in ("artifacts", "interpreters", "runs", "snapshots"):
        for name in getattr(freed, what):
            click.echo(f"{what.removesuffix('s')} {name[:40]}")
    verb = "would be freed" if dry_run else "freed"
    click.echo(f"{freed.bytes / 1e6:.1f} MB {verb}" if freed.any() else "nothing to free")
