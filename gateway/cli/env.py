"""`fitserve env`: the environments of a workspace, and the interpreters that are made from them."""

from dataclasses import replace
from typing import Any, Final

import click

from gateway.cli.client import GatewayClient, running
from gateway.cli.group import HelpfulGroup
from gateway.cli.models import tell_versions
from gateway.cli.options import pairs, strict_python_option
from gateway.cli.output import print_json, print_table
from gateway.cli.train import environment_from
from registry.environment import OWN_NAME, Environment
from registry.errors import InvalidArgument, ModelError
from registry.interpreters import Interpreter, interpreter_for, ready_interpreter
from registry.model import Model
from registry.registration import environment_digest
from registry.workspace import Workspace

_WAIT_S: Final = 120.0
_ARGUMENT: Final = "ENVIRONMENT"
AUTO: Final = "auto"


@click.group(cls=HelpfulGroup)
def env() -> None:
    """List, build and show environments, and change the one that a model is served in."""


@env.command("list", short_help="List environments, and whether each is built.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_(obj: dict[str, Any], as_json: bool) -> None:
    """List the registered and the curated environments, and whether each is built."""
    with Workspace.open(obj["workspace"], create=False) as workspace:
        found = Environment.list(workspace)
        rows = []
        for name, environment in sorted(found.items(), key=lambda item: item[0].lower()):
            spec = environment.spec()
            ready = ready_interpreter(spec, workspace.interpreters_dir)
            rows.append((name, environment.version, spec, ready))
    if as_json:
        print_json(
            [{"name": n, "version": v, "spec": _public(s), "built": r.version if r else None} for n, v, s, r in rows]
        )
        return
    print_table(
        ("ENVIRONMENT", "VERSION", "PYTHON", "BUILT", "PACKAGES"),
        [(n, v or "", s.get("python") or "own", _built(s, r), _short(s.get("pip") or [])) for n, v, s, r in rows],
        empty="no environments",
    )


@env.command(short_help="Build one now, ahead of its first use.")
@click.argument("environment")
@strict_python_option
@click.option("--name", help="Also register it under this name.")
@click.option("--variable", "variables", multiple=True, metavar="KEY=VALUE", help="A variable in it; repeat it.")
@click.pass_obj
def build(
    obj: dict[str, Any], environment: str, strict_python: bool, name: str | None, variables: tuple[str, ...]
) -> None:
    """Build ENVIRONMENT now: a conda .yml, a pip requirements file, or a name. One that is ready is found at once."""
    with Workspace.open(obj["workspace"]) as workspace:
        found = environment_from(environment, workspace, _ARGUMENT)
        assert found is not None
        if name is not None:
            found = found.clone(name)
        found.environment_variables |= pairs(variables, "--variable")
        spec = found.spec()
        for shimmed in spec.get("shimmed") or ():
            click.echo(f"{shimmed} is not installed: fitserve's own azureml stands in for it")
        ready = interpreter_for(
            spec, workspace.interpreters_dir, progress=click.echo, strict=strict_python, name=found.name
        )
        if name is not None:
            found.register(workspace)
        for warning in ready.warnings:
            click.echo(f"warning: {warning}")
        click.echo(f"{found.name}: Python {ready.version} with {len(ready.frozen)} packages, {ready.python}")


@env.command(short_help="Show what one asks for and what was built.")
@click.argument("environment")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(obj: dict[str, Any], environment: str, as_json: bool) -> None:
    """Show what ENVIRONMENT (a file or a name) asks for, and what it was resolved to where it is built."""
    with Workspace.open(obj["workspace"], create=False) as workspace:
        found = environment_from(environment, workspace, _ARGUMENT)
        assert found is not None
        spec = found.spec()
        ready = ready_interpreter(spec, workspace.interpreters_dir)
    built = None if ready is None else {"python": ready.version, "frozen": ready.frozen, "warnings": ready.warnings}
    if as_json:
        print_json(
            {"name": found.name, "version": found.version, "digest": found.digest, **_public(spec), "built": built}
        )
        return
    click.echo(f"{found.name}: Python {spec.get('python') or 'as fitserve has it'}, digest {found.digest[:12]}")
    for title, key in (("asks for", "pip"), ("met by the azureml shim", "shimmed"), ("in conda only", "skipped")):
        if spec.get(key):
            click.echo(f"{title}: {', '.join(spec[key])}")
    if environment == OWN_NAME:
        click.echo("always there: what fitserve itself runs on")
        return
    if ready is None:
        click.echo("not built yet: fitserve env build " + environment)
        return
    click.echo(f"built: Python {ready.version}, {ready.python}")
    for warning in ready.warnings:
        click.echo(f"warning: {warning}")
    for release in ready.frozen:
        click.echo(f"  {release}")


@env.command(short_help="Serve a model in another one.")
@click.argument("model")
@click.argument("environment")
@click.pass_obj
def use(obj: dict[str, Any], model: str, environment: str) -> None:
    """Serve MODEL (NAME or NAME:VERSION) in ENVIRONMENT from now on: a file, a name, own, or auto for what its facts say.

    A running gateway replays the model's golden rows there first; where an answer differs, all stays as it is.
    """
    name, _, number = model.partition(":")
    if number and not number.isdigit():
        raise InvalidArgument("MODEL", f"{model!r} is not NAME or NAME:VERSION")
    with Workspace.open(obj["workspace"], create=False) as workspace:
        found = Model(workspace, name=name, version=int(number) if number else None)
        before = found.record.environment
        wanted = None if environment == AUTO else environment_from(environment, workspace, _ARGUMENT)
        digest = environment_digest(workspace.metadata, wanted)
        _set(found, digest)
        click.echo(f"{found.id} is to be served in {environment if wanted is None else wanted.name}")
        state = running(workspace)
        if state is None or digest == before:
            return
        with GatewayClient(state.url, state.token) as client:
            entry = client.wait_for_version(
                found.name, found.version, _WAIT_S, click.echo, lambda entry: _is_tried(entry, digest)
            )
        if entry["state"] == "live" and not _in_force(entry, digest):
            _set(found, before)  # the gateway kept the environment that the version had, and so does the registry
        if entry["state"] in {"failed", "quarantined"} or (entry["state"] == "live" and not _in_force(entry, digest)):
            raise ModelError(f"{found.id} is {entry['state']}: {entry.get('reason') or 'see fitserve logs'}")
        click.echo(f"{found.id} is {entry['state']}")
        tell_versions(entry)


def _set(model: Model, environment: str | None) -> None:
    metadata = model.workspace.metadata
    metadata.update_model(model.name, model.version, lambda old: replace(old, environment=environment))


def _in_force(entry: dict[str, Any], digest: str | None) -> bool:
    decided = (entry.get("facts") or {}).get("environment") or {}
    return bool(decided) and decided.get("digest") == digest


def _is_tried(entry: dict[str, Any], digest: str | None) -> bool:
    """It serves there, or it was said why not."""
    return _in_force(entry, digest) or "not in force" in (entry.get("reason") or "")


def _public(spec: dict[str, Any]) -> dict[str, Any]:
    """Without values of variables and options, which may be secrets."""
    shown = {key: value for key, value in spec.items() if key not in ("variables", "options")}
    return {**shown, "variables": sorted(spec.get("variables") or {})}


def _built(spec: dict[str, Any], ready: Interpreter | None) -> str:
    if not (spec.get("python") or spec.get("pip")):
        return "always"
    return "no" if ready is None else f"Python {ready.version}"


def _short(packages: list[str], width: int = 60) -> str:
    text = ", ".join(packages)
    return text if len(text) <= width else text[: width - 1] + "…"
