"""`fitserve up`: a training script goes in, an endpoint comes out."""

import json
import shlex
import signal
import threading
from pathlib import Path
from typing import Any

import click

from gateway.cli.client import GatewayClient, running
from gateway.cli.compose import register_from_run
from gateway.cli.errors import ScoringRefused
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
from gateway.cli.train import ScriptCommand, run_script, script_options, script_path
from gateway.rundir.state import GatewayState
from gateway.schema.methods import METHODS
from gateway.settings import Settings
from registry.errors import FitserveError, ModelError
from registry.model import Model
from registry.names import check_name
from registry.units import memory_text
from registry.workspace import Workspace
from trainer import Run

SAMPLE_NAMES = ("sample.csv", "sample.json", "sample.parquet", "sample.npy")


class UpCommand(ScriptCommand, GroupedCommand):
    """Arguments for the script follow ``--``; the gateway's options are a group of their own in the help."""


@click.command(cls=UpCommand)
@click.argument("script")
@click.argument("script_args", nargs=-1)
@script_options
@click.option("--name", help="Name of the model. Default: the script's name without train_.")
@resource_options()
@resource_options("train-", "the training process")
@click.option(
    "--model-path",
    metavar="PATH",
    help="What the script saves as its model; several files with commas between. Default: found, in ./outputs or beside it.",
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
    """Run SCRIPT, register the model that it saves, and serve it with everything else in the workspace.

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
        run = run_script(
            workspace,
            script,
            arguments,
            environment,
            experiment,
            limits,
            strict_python=strict_python,
            more=given["more"],
        )
        model, model_path = register_from_run(
            workspace,
            run,
            model_name,
            given["model_path"],
            {
                "model_framework": Model.Framework.SCIKITLEARN,
                "model_framework_version": given["framework_version"],
                "resource_configuration": wanted,
                "sample": given["sample"] or find_sample(run, workspace),
                "settings": settings_of_model({**given, "strict_python": strict_python}),
            },
        )
        wanted = model.resource_configuration
        cores = "core" if wanted.cpu == 1 else "cores"
        click.echo(
            f"\nregistered {model.id} from {model_path}: {wanted.cpu:g} {cores}, {memory_text(wanted.memory_in_gb)}"
        )
        state = running(workspace)
        if state is not None:
            announce(workspace, model.name, model.version)
            show_first_answer(state, model.name)
            return 0
        return serve_until_stopped(workspace, settings, model, model_path)


def default_name(script: str) -> str:
    """``train_iris.py`` → ``iris``."""
    stem = Path(script).stem
    for prefix in ("train_", "train-"):
        stem = stem.removeprefix(prefix)
    return stem.replace(" ", "-")


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


def serve_until_stopped(workspace: Workspace, settings: Settings, model: Model, model_path: str) -> int:
    """The gateway in the foreground; the first answer is shown as soon as there is one."""
    failed = threading.Event()

    def ready(_url: str) -> None:
        threading.Thread(target=first_answer, daemon=True).start()

    def first_answer() -> None:
        try:
            announce(workspace, model.name, model.version)
            if (state := running(workspace)) is not None:
                show_first_answer(state, model.name)
            click.echo(f"\nserving {model.id} ({model_path}) in the foreground; Ctrl-C stops it")
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
