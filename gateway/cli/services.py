"""`fitserve deploy`, `fitserve services` and `fitserve stop`."""

from typing import Any

import click

from gateway.cli.options import pairs, warn_of_cores
from gateway.cli.output import age, print_json, print_table
from gateway.client.daemon import stop_gateway
from gateway.client.webservice import Webservice
from registry import services as desired
from registry.resources import parse_memory
from registry.units import memory_text
from registry.workspace import Workspace


@click.command()
@click.argument("name")
@click.argument("model", required=False)
@click.option("--overwrite", is_flag=True, help="Replace a service of that name.")
@click.option("--auth/--no-auth", "auth", default=None, help="Ask for a key of its own; it is shown once.")
@click.option(
    "--cpu",
    type=float,
    help="Cores of its own, in processes of its own; without --cpu and --memory it shares the model's.",
)
@click.option("--memory", type=parse_memory, metavar="SIZE", help="Memory of its own: 0.5 (GB) or 512Mi.")
@click.option("--description", help="What it is.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag; repeat it.")
@click.option("--default", "as_default", is_flag=True, help="Put it behind /score.")
@click.option("--delete", "delete_it", is_flag=True, help="Take the service NAME away; its model stays.")
@click.pass_obj
def deploy(
    obj: dict[str, Any],
    /,
    name: str,
    model: str | None,
    overwrite: bool,
    auth: bool | None,
    cpu: float | None,
    memory: float | None,
    description: str | None,
    tags: tuple[str, ...],
    as_default: bool,
    delete_it: bool,
) -> None:
    """Let MODEL answer as the service NAME, at /api/v1/service/NAME/score.

    MODEL is a model's name, whose live version answers, or NAME:VERSION. When no gateway serves the workspace, one is
    started in the background; `fitserve stop` ends it.
    """
    with Workspace.open(obj["workspace"], create=False) as workspace:
        if delete_it:
            Webservice(workspace, name).delete()
            click.echo(f"deleted service {name}")
            return
        if model is None:
            raise click.UsageError("Missing argument 'MODEL'.")
        warn_of_cores(cpu)
        service = Webservice.deploy(
            workspace,
            name,
            [model],
            auth_enabled=bool(auth),
            cpu=cpu,
            memory_in_gb=memory,
            overwrite=overwrite,
            tags=pairs(tags, "--tag"),
            description=description,
            default=as_default,
            say=click.echo,
        )
        service.wait_for_deployment()
        click.echo(f"{name} is {service.state}: {service.record.models[0]} at {service.scoring_uri}")
        if service.own_limits:
            click.echo(f"limits of its own: {_limits(service)}")
        if service.auth_enabled:
            click.echo(f"key: {service.get_keys()[0]}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def services(obj: dict[str, Any], as_json: bool) -> None:
    """List the deployed services."""
    with Workspace.open(obj["workspace"], create=False) as workspace:
        found = Webservice.list(workspace)
        default = workspace.metadata.get_value(desired.DEFAULT)
        if as_json:
            print_json([service.serialize() | {"default": service.name == default} for service in found])
            return
        print_table(
            ("SERVICE", "MODEL", "STATE", "LIMITS", "DEFAULT", "CREATED", "SCORING URI"),
            [
                (
                    service.name,
                    service.record.models[0],
                    service.state,
                    _limits(service) if service.own_limits else "the model's",
                    "yes" if service.name == default else "",
                    age(service.created_time),
                    service.scoring_uri or "",
                )
                for service in found
            ],
            empty="no services yet: fitserve deploy NAME MODEL; every model answers at /models/MODEL/score without one",
        )


def _limits(service: Webservice) -> str:
    limits = service.limits
    return f"{limits.cpu:g} cpu, {memory_text(limits.memory_in_gb)}"


@click.command()
@click.pass_obj
def stop(obj: dict[str, Any]) -> None:
    """End the gateway that serves the workspace; what it has accepted is answered first."""
    with Workspace.open(obj["workspace"], create=False) as workspace:
        state = stop_gateway(workspace)
        click.echo(f"stopped the gateway at {state.url}" if state else "no gateway serves this workspace")
