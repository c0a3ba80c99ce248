"""`fitserve register`, `fitserve models` and `fitserve delete`."""

import sys
from pathlib import Path
from typing import Any

import click

from gateway.cli.client import GatewayClient, running
from gateway.cli.options import pairs, resource_options, resources, strict_python_option
from gateway.cli.output import age, print_json, print_table
from gateway.cli.train import environment_from
from gateway.schema.methods import METHODS
from registry.errors import InvalidArgument, ModelError
from registry.model import Model
from registry.workspace import Workspace


@click.command()
@click.argument("file")
@click.option("--name", required=True, help="Name of the model; the same name again makes the next version.")
@click.option("--run", "run_id", metavar="RUN_ID", help="FILE is a file of this run, such as outputs/model.joblib.")
@click.option("--framework", default="ScikitLearn", show_default=True, help="Framework of the model.")
@click.option("--framework-version", help="Version that the model was made with, as far as you know.")
@resource_options()
@click.option("--sample", metavar="FILE", help="Sample input (CSV, JSON, Parquet, .npy): names, types and an example.")
@click.option(
    "--entry-script", metavar="FILE", help="A script with init() and run() that answers in place of the model."
)
@click.option("--code", metavar="FOLDER", help="Folder with the modules that the model's classes come from.")
@click.option(
    "--expected", metavar="FILE", help="Right answers to the sample's rows (JSON); it must agree to be served."
)
@click.option(
    "--environment",
    "-e",
    metavar="FILE|NAME",
    help="Conda .yml, pip requirements or a registered name to serve it in; own: the gateway's own Python.",
)
@strict_python_option
@click.option("--description", help="What it is.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag; repeat it.")
@click.option(
    "--property", "properties", multiple=True, metavar="KEY=VALUE", help="A property, fixed for ever; repeat it."
)
@click.option(
    "--method", type=click.Choice(METHODS), metavar="METHOD", help="Method that answers when a request names none."
)
@click.option(
    "--children",
    type=click.IntRange(1, 64),
    help="Scoring processes. Default: one for each whole core, at most the machine's.",
)
@click.option("--max-compute-s", type=click.FloatRange(0.01), help="Longest time for one computation, seconds.")
@click.option("--no-batching", is_flag=True, help="Rows of different callers never travel together.")
@click.option("--default", "as_default", is_flag=True, help="Make it the model behind /score.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the running gateway serves it.")
@click.pass_obj
def register(
    obj: dict[str, Any], /, file: str, name: str, run_id: str | None, as_default: bool, no_wait: bool, **given: Any
) -> None:
    """Register FILE (pickle or joblib, or a folder that holds one) as the next version of --name.

    A gateway that serves the workspace has an endpoint for it within a second.
    """
    if run_id is None and not Path(file).exists():
        raise InvalidArgument("FILE", f"there is no {file}")
    with Workspace.open(obj["workspace"]) as workspace:
        model = _register(workspace, file, name, run_id, given)
        click.echo(f"registered {model.id}")
        if as_default:
            workspace.metadata.set_value("default_service", name)
        if not no_wait:
            announce(workspace, model.name, model.version)


def _register(workspace: Workspace, file: str, name: str, run_id: str | None, given: dict[str, Any]) -> Model:
    common: dict[str, Any] = {
        "model_framework": given["framework"],
        "model_framework_version": given["framework_version"],
        "resource_configuration": resources(given["cpu"], given["memory"]),
        "description": given["description"],
        "tags": pairs(given["tags"], "--tag"),
        "properties": pairs(given["properties"], "--property"),
        "settings": settings_of_model(given),
        "sample": _checked_sample(given["sample"]),
        "expected": given["expected"],
    }
    code = given["code"]
    if given["entry_script"] is not None:
        script = Path(given["entry_script"])
        if code is None and (run_id is None or script.is_file()):  # else it is in the run's snapshot
            code = script.parent
        common["settings"]["entry_script"] = script.name
    environment = environment_from(given["environment"], workspace)
    if environment is not None:
        common["environment"] = environment
    if run_id is not None:
        from trainer import Run

        if code is not None:
            common["code"] = code
        return Run.get(workspace, run_id).register_model(name, file, **common)
    return Model.register(workspace, file, name, code=code, show_output=False, **common)


def _checked_sample(file: str | None) -> str | None:
    """`file`, which can be read as a sample.

    Raises:
        BadSample · LocalPathNotFound · InvalidArgument
    """
    if file is not None:
        from gateway.schema.samples import read_sample
        from registry.sample import read_sample as bytes_of

        read_sample(*bytes_of("sample", Path(file)))
    return file


def settings_of_model(given: dict[str, Any]) -> dict[str, Any]:
    """The settings of one version that were given, under the names that the gateway reads."""
    settings = {
        "default_method": given.get("method"),
        "children": given.get("children"),
        "max_compute_s": given.get("max_compute_s"),
        "batching": False if given.get("no_batching") else None,
        "strict_python": given.get("strict_python") or None,
    }
    return {key: value for key, value in settings.items() if value is not None}


def announce(workspace: Workspace, name: str, version: int) -> dict[str, Any] | None:
    """Wait until the running gateway serves this version and print its URL; None when no gateway runs.

    Raises:
        ModelError: the gateway refused it, in its own words.
        GatewaySilent: it did not answer.
    """
    state = running(workspace)
    if state is None:
        click.echo(
            "no gateway serves this workspace yet: fitserve serve"
            if workspace._location.database is None
            else "every gateway of this database serves it; none runs with this folder"
        )
        return None
    with GatewayClient(state.url, state.token) as client:
        entry = client.wait_for_version(name, version, timeout_s=120, progress=click.echo)
    if entry["state"] in {"failed", "quarantined"}:
        raise ModelError(f"{name}:{version} is {entry['state']}: {entry.get('reason') or 'see fitserve logs'}")
    click.echo(f"{name}:{version} is {entry['state']} at {state.url}/models/{name}/score")
    tell_versions(entry)
    return entry


def tell_versions(entry: dict[str, Any]) -> None:
    """What was declared, what wrote the file and what serves it, where that is not one and the same; and what to know of it."""
    facts = entry.get("facts") or {}
    words = (("declared", "declared"), ("written by", "written_by"), ("served with", "served_with"))
    known = {word: facts[key] for word, key in words if facts.get(key)}
    environment = facts.get("environment") or {}
    if environment and (len(set(known.values())) > 1 or environment.get("spec")):
        said = ", ".join(f"{word} {version}" for word, version in known.items())
        click.echo(f"scikit-learn: {said} on Python {facts.get('python')} ({environment.get('reason')})")
    for note in entry.get("notes") or ():
        click.echo(f"note: {note}")


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def models(obj: dict[str, Any], name: str | None, as_json: bool) -> None:
    """List the registered models; with NAME, its versions."""
    with Workspace.open(obj["workspace"], create=False) as workspace:
        found = Model.list(workspace, name=name, latest=name is None)
        if name is not None and not found:
            Model(workspace, name=name)
        if as_json:
            print_json([model.serialize() for model in found])
            return
        print_table(
            ("MODEL", "VERSION", "FRAMEWORK", "CPU", "MEMORY", "CREATED", "RUN"),
            [
                (
                    m.name,
                    m.version,
                    " ".join(filter(None, (m.model_framework, m.model_framework_version))),
                    f"{m.resource_configuration.cpu:g}",
                    f"{m.resource_configuration.memory_in_gb:g} GB",
                    age(m.created_time),
                    m.run_id or "",
                )
                for m in found
            ],
            empty="no models yet: fitserve register FILE --name NAME, or fitserve up SCRIPT",
        )


@click.command()
@click.argument("model")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(obj: dict[str, Any], model: str, yes: bool) -> None:
    """Delete MODEL, all its versions, or one of them as NAME:VERSION. The gateway stops serving it."""
    name, _, version = model.partition(":")
    if version and not version.isdigit():
        raise InvalidArgument("MODEL", f"{model!r} is not NAME or NAME:VERSION")
    with Workspace.open(obj["workspace"], create=False) as workspace:
        found = [Model(workspace, name=name, version=int(version))] if version else Model.list(workspace, name=name)
        if not found:
            Model(workspace, name=name)
        what = ", ".join(m.id for m in found)
        if not yes:
            _confirm(what)
        for each in found:
            each.delete()
        click.echo(f"deleted {what}")


def _confirm(what: str) -> None:
    """Raises InvalidArgument: there is nobody to ask. click.Abort: the answer is no."""
    try:
        agreed = click.confirm(f"delete {what}?")
    except click.Abort:
        if sys.stdin.isatty():  # Ctrl-C
            raise
        click.echo(err=True)
        raise InvalidArgument("--yes", f"nobody answered whether {what} is to be deleted; give --yes") from None
    if not agreed:
        raise click.Abort
