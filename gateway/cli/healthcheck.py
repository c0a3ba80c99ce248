"""`fitserve healthcheck`: imports little, since a container asks it every few seconds."""

from typing import Any

import click

from gateway.rundir.healthcheck import problem
from registry.locate import locate


@click.command()
@click.pass_obj
def healthcheck(obj: dict[str, Any]) -> int:
    """Ask the gateway that serves the workspace whether it is healthy: exit code 0 if it is, else 1 and the reason.

    For the health check of a container or a service manager. It needs no key. `fitserve healthcheck` says nothing about the models:
    `GET /readyz` does.
    """
    found = problem(locate(obj["workspace"]).root)
    click.echo(found or "healthy")
    return 0 if found is None else 1
