"""`fitserve up`: a training script goes in, an endpoint comes out."""

import json
import shlex
import signal
import threading
from pathlib import Path
from typing import Any

import click

from gateway.cli.client import GatewayClient, running
from gateway.cli.errors import NoModelInRun, ScoringRefused, SeveralModelsInRun
from gateway.cli.models import announce, settings_of_model
from gateway.cli.options import (
    GroupedCommand,
    resource_options,
    resources,
    settings_from,
    settings_options,
    take_settings,
)
from gateway.cli.scope import enter_own_scope
from gateway.cli.serve import serve_here
from gateway.cli.train import run_script, script_options, script_path
from gateway.rundir.state import GatewayState
from gateway.schema.methods import METHODS
from gateway.settings import Settings
from registry.errors import FitserveError, ModelError
from registry.model import Model
from registry.names import check_name
from registry.workspace import Workspace
from trainer import Run

MODEL_SUFFIXES = (".joblib", ".pkl", ".pickle", ".skops")
SAMPLE_NAMES = ("sample.csv", "sample.json", "sample.parquet", "sample.npy")


@click.command(cls=GroupedCommand)
@click.argument("script")
@click.argument("script_args", nargs=-1)
@script_options
@click.option("--name", help="Name of the model. Default: the script's name without train_.")
@resource_options()
@resource_options("train-", "the training process")
@click.option(
    "--model-path", metavar="PATH", help="The model among the run's files. Default: the only one in outputs/."
)
@click.option("--framework-version", help="Version that the model is declared to be made with.")
@click.option("--sample", metavar="FILE", help="Sample input. Default: outputs/sample.csv, .json, .parquet or .npy.")
@click.option(
    "--method", type=click.Choice(METHODS), metavar="METHOD", help="Method that answers when a request names none."
)
@click.option(
    "--children",
    type=click.IntRange(1, 64),
    help="Scoring processes. Default: one for each whole core, at most the machine's.",
)
@settings_options
@click.pass_obj
def up(
    obj: dict[str, Any],
    /,
    script: str,
    script_args: tuple[str, ...],
    environment: str | None,
    strict_python: bool,
    args: tuple[str, ...],
    experiment: str | None,
    name: str | None,
    **given: Any,
) -> int:
    """Run SCRIPT, register the model that it writes to ./outputs, and serve it with everything else in the workspace.

    Arguments for the script follow `--`: fitserve up train.py -- --kernel rbf

    When a gateway serves the workspace already, the model is registered there and the command ends.
    """
    script_path(script)
    flags = take_settings(given)
    model_name = check_name("model", name or default_name(script))
    wanted = resources(given["cpu"], given["memory"])
    with Workspace.open(obj["workspace"]) as workspace:
        settings = settings_from(flags, workspace.root)
        if running(workspace) is None:
            check_port(settings)
            enter_own_scope(settings)
        limits = (given["train_cpu"], given["train_memory"])
        arguments = args + script_args
        run = run_script(workspace, script, arguments, environment, experiment, limits, strict_python=strict_python)
        model = run.register_model(
            model_name,
            given["model_path"] or find_model(run),
            model_framework=Model.Framework.SCIKITLEARN,
            model_framework_version=given["framework_version"],
            resource_configuration=wanted,
            sample=given["sample"] or find_sample(run, workspace),
            settings=settings_of_model({**given, "strict_python": strict_python}),
        )
        cores = "core" if wanted.cpu == 1 else "cores"
        click.echo(f"\nregistered {model.id}: {wanted.cpu:g} {cores}, {wanted.memory_in_gb:g} GB")
        state = running(workspace)
        if state is not None:
            announce(workspace, model.name, model.version)
            show_first_answer(state, model.name)
            return 0
        return serve_until_stopped(workspace, settings, model)


def default_name(script: str) -> str:
    """``train_iris.py`` → ``iris``."""
    stem = Path(script).stem
    for prefix in ("train_", "train-"):
        stem = stem.removeprefix(prefix)
    return stem.replace(" ", "-")


def find_model(run: Run) -> str:
    """The one model file in the run's outputs.

    Raises:
        NoModelInRun, SeveralModelsInRun: there is none, or there are several and none is called model.
    """
    files = [file for file in run.get_file_names() if file.startswith("outputs/")]
    found = [file for file in files if file.endswith(MODEL_SUFFIXES)]
    if not found:
        raise NoModelInRun(run.id, files)
    named = [file for file in found if Path(file).stem == "model"]
    if len(found) > 1 and len(named) != 1:
        raise SeveralModelsInRun(found)
    return named[0] if len(named) == 1 else found[0]


def find_sample(run: Run, workspace: Workspace) -> str | None:
    """A local copy of the sample input that the script wrote beside its model, if it did."""
    files = set(run.get_file_names())
    for name in SAMPLE_NAMES:
        if f"outputs/{name}" in files:
            target = workspace.cache_dir / f"{run.id}-{name}"
            run.download_file(f"outputs/{name}", str(target))
            return str(target)
    return None


def check_port(settings: Settings) -> None:
    """Fail before the training, not after it."""
    from gateway.rundir.listen import bind

    bind(settings.host, settings.port).close()


def serve_until_stopped(workspace: Workspace, settings: Settings, model: Model) -> int:
    """The gateway in the foreground; the first answer is shown as soon as there is one."""
    failed = threading.Event()

    def ready(_url: str) -> None:
        threading.Thread(target=first_answer, daemon=True).start()

    def first_answer() -> None:
        try:
            announce(workspace, model.name, model.version)
            if (state := running(workspace)) is not None:
                show_first_answer(state, model.name)
            click.echo("\nserving in the foreground; Ctrl-C stops it")
        except FitserveError as error:
            click.echo(f"fitserve: {error}", err=True)
            failed.set()
            signal.raise_signal(signal.SIGTERM)

    code = serve_here(workspace, settings, ready)
    return ModelError.exit_code if failed.is_set() else code


def show_first_answer(state: GatewayState, name: str) -> None:
    """Ask with the model's own example and print the call that did it."""
    key = " -H 'Authorization: Bearer KEY'" if state.token else ""
    with GatewayClient(state.url, state.token) as client:
        schema = (client.model(name) or {}).get("schema") or {}
        body = json.dumps({"data": schema.get("example", [])[:1]})
        try:
            answer = client.score(f"/models/{name}/score", body.encode()).decode()
        except ScoringRefused as error:
            answer = str(error)
    click.echo(
        f"\ncurl -s {state.url}/models/{name}/score{key} -H 'Content-Type: application/json' -d {shlex.quote(body)}"
    )
    click.echo(answer)
