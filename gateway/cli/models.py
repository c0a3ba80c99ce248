"""`fitserve register`, `fitserve models` and `fitserve delete`."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from gateway.cli.client import GatewayClient, running
from gateway.cli.compose import (
    as_folder,
    choices_from,
    compose,
    composing_options,
    kept_files,
    needs_composing,
    overlooked,
    script_and_function,
)
from gateway.cli.options import pairs, resource_options, resources, strict_python_option
from gateway.cli.output import age, print_json, print_table
from gateway.cli.train import environment_from, with_option
from gateway.rundir.applied import wait_until_in_force
from gateway.schema.methods import METHODS
from registry.composition.plan import PLAN
from registry.errors import FitserveError, InvalidArgument, ModelError
from registry.model import Model
from registry.requirements import checked
from registry.resources import DEFAULT_MEMORY_IN_GB
from registry.serving_environment import WITH
from registry.units import memory_text
from registry.workspace import Workspace


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--name", required=True, help="Name of the model; the same name again makes the next version.")
@click.option("--run", "run_id", metavar="RUN_ID", help="FILE is a file of this run, such as outputs/model.joblib.")
@click.option("--framework", default="ScikitLearn", show_default=True, help="Framework of the model.")
@click.option("--framework-version", help="Version that the model was made with, as far as you know.")
@resource_options()
@click.option("--sample", metavar="FILE", help="Sample input (CSV, JSON, Parquet, .npy): names, types and an example.")
@click.option(
    "--entry-script", metavar="FILE", help="A script with init() and run() that answers in place of the model."
)
@click.option(
    "--code",
    metavar="FOLDER|SCRIPT",
    help="Folder with the modules that the model's classes come from, or the training script that defines them.",
)
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
@with_option
@composing_options
@click.option("--default", "as_default", is_flag=True, help="Make it the model behind /score.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the running gateway serves it.")
@click.pass_obj
def register(
    obj: dict[str, Any],
    /,
    files: tuple[str, ...],
    name: str,
    run_id: str | None,
    as_default: bool,
    no_wait: bool,
    **given: Any,
) -> None:
    """Register FILE (pickle or joblib, or a folder that holds one) as the next version of --name.

    Several files, such as a scaler and a model, become one model: how they fit together is found out and shown, or refused where it
    cannot be known. A gateway that serves the workspace has an endpoint for it within a second.
    """
    for file in files:
        if run_id is None and not Path(file).exists():
            raise InvalidArgument("FILE", f"{file} does not exist")
    with Workspace.open(obj["workspace"]) as workspace:
        model = _register(workspace, files, name, run_id, given)
        limits = model.resource_configuration
        chosen = given["memory"] is None and limits.memory_in_gb != DEFAULT_MEMORY_IN_GB
        click.echo(
            f"registered {model.id}"
            + (f", with {memory_text(limits.memory_in_gb)} for a file of its size" if chosen else "")
        )
        if as_default:
            workspace.metadata.set_value("default_service", name)
        if not no_wait:
            announce(workspace, model.name, model.version)


def _register(
    workspace: Workspace, files: tuple[str, ...], name: str, run_id: str | None, given: dict[str, Any]
) -> Model:
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
        return Run.get(workspace, run_id).register_model(name, files[0], **common)
    script_of_code = Path(code) if code is not None and Path(code).is_file() else None
    folder_of_code = None if code is None else script_of_code.parent if script_of_code is not None else Path(code)
    if given["before"] is not None:
        common["training_script"] = script_and_function(given["before"])[0]
    choices, paths = choices_from(given), [Path(file) for file in files]
    if (
        given["entry_script"] is None
        and given["framework"] == "ScikitLearn"
        and (given["keep"] or needs_composing(paths, choices))
    ):
        composed = compose(
            workspace,
            paths,
            choices,
            kept=kept_files(workspace, name, given["keep"]) if given["keep"] else (),
            environment=environment,
            more=common["settings"].get(WITH) or (),
            code=folder_of_code,
            script=script_of_code,
            say=click.echo,
        )
        common["settings"][PLAN] = composed.plan.to_json()
        with as_folder(composed) as folder:
            return Model.register(workspace, folder, name, code=code, show_output=False, **common)
    if len(files) > 1:
        raise InvalidArgument("FILE", "an entry script loads its files by itself: name the folder that they lie in")
    if given["entry_script"] is None and (others := overlooked(workspace, paths[0])):
        several = " ".join(shlex.quote(str(paths[0].parent / other)) for other in others)
        click.echo(
            f"note: {', '.join(others)} beside it fits this model, which alone answers other numbers than a program that uses both: "
            f"fitserve register {shlex.quote(files[0])} {several} --name {name}"
        )
    return Model.register(workspace, files[0], name, code=code, show_output=False, **common)


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
        WITH: [checked(requirement) for requirement in given.get("more") or ()] or None,
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
        served = _served(workspace, name)
        if as_json:
            print_json([{**model.serialize(), **_state_of(model, served, name is not None)} for model in found])
            return
        shown = [_state_of(model, served, name is not None) for model in found]
        print_table(
            (
                "MODEL",
                "LATEST" if name is None else "VERSION",
                "LIVE",
                "STATE",
                "CPU",
                "MEMORY",
                "CREATED",
                "RUN",
                "REASON",
            ),
            [
                (
                    m.name,
                    m.version,
                    state["live"] or "",
                    state["state"] or "",
                    f"{m.resource_configuration.cpu:g}",
                    memory_text(m.resource_configuration.memory_in_gb),
                    age(m.created_time),
                    m.run_id or "",
                    _short(state["reason"]),
                )
                for m, state in zip(found, shown, strict=True)
            ],
            empty="no models yet: fitserve register FILE --name NAME, or fitserve up SCRIPT",
        )


def _served(workspace: Workspace, name: str | None) -> dict[str, Any]:
    """What the running gateway says of each model, or of one in full, by its name; nothing where none runs."""
    state = running(workspace)
    if state is None:
        return {}
    try:
        with GatewayClient(state.url, state.token) as client:
            entries = client.models() if name is None else [client.model(name)]
        return {entry["name"]: entry for entry in entries if entry is not None}
    except FitserveError:
        return {}


def _state_of(model: Model, served: dict[str, Any], each_version: bool) -> dict[str, Any]:
    """Which version answers, and what is wrong with the model, or with this version of it."""
    entry = served.get(model.name)
    if entry is None:
        return {"live": None, "state": None, "reason": None}
    state = (
        entry["state"]
        if entry["latest_state"] == entry["state"]
        else f"{entry['state']}, {entry['latest']} {entry['latest_state']}"
    )
    if each_version:
        states = {one["version"]: one for one in entry.get("versions") or ()}
        one = states.get(model.version, {})
        return {"live": entry["live"], "state": one.get("state"), "reason": one.get("reason")}
    return {"live": entry["live"], "state": state, "reason": entry["reason"]}


def _short(reason: str | None, most: int = 100) -> str:
    line = " ".join((reason or "").split())
    return line if len(line) <= most else line[: most - 1] + "…"


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
        wait_until_in_force(workspace)
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
