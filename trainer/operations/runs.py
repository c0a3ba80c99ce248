"""Experiments and runs."""

import os
from collections.abc import Callable
from typing import Any, Final

from registry.errors import InvalidArgument
from registry.records import Json
from registry.workspace import Workspace
from trainer import interactive
from trainer.history import TERMINAL
from trainer.open_workspaces import OpenWorkspaces
from trainer.operations.environments import description_of, environment_of
from trainer.operations.models import described, registration_of, resources_of
from trainer.rpc import Operation
from trainer.script import ScriptRunConfig
from trainer.sdk import Experiment, Run

_SNAPSHOT_BYTES: Final = 300 * 2**20  # the shim's default
# Methods whose arguments and results are plain JSON values.
_PLAIN: Final = (
    "get_status",
    "get_details",
    "get_details_with_logs",
    "get_metrics",
    "get_tags",
    "set_tags",
    "remove_tags",
    "get_properties",
    "add_properties",
    "get_file_names",
    "get_portal_url",
    "wait_for_completion",
    "cancel",
    "catch_up",
    "get_all_logs",
    "restore_snapshot",
)


def facts(run: Run) -> dict[str, Json]:
    parent = run.parent
    return {
        "id": run.id,
        "experiment": run.experiment.name,
        "number": run.number,
        "type": run.type,
        "parent": None if parent is None else parent.id,
    }


def script_of(config: Json) -> ScriptRunConfig:
    """A ScriptRunConfig from the shim's description."""
    largest = config.get("snapshot_max_bytes", _SNAPSHOT_BYTES)
    if largest != _SNAPSHOT_BYTES:  # the program changed Azure's limit
        os.environ["FITSERVE_SNAPSHOT_MAX_MB"] = str(largest / 2**20)
    if "snapshot_no_file_limit" in config:  # the client's current value; this process inherited an earlier one
        os.environ["AML_SNAPSHOT_NO_FILE_LIMIT"] = str(config["snapshot_no_file_limit"])
    return ScriptRunConfig(
        source_directory=config["source_directory"],
        script=config["script"],
        arguments=config["arguments"],
        compute_target="local",  # all Azure compute targets mean this machine
        environment=environment_of(config["environment"]),
        max_run_duration_seconds=config["max_run_duration_seconds"],
        command=config["command"],
        resource_configuration=resources_of(config["resource_configuration"]),
        strict_python=bool(config.get("strict_python")),
    )


def submit(
    workspaces: OpenWorkspaces, workspace: Json, experiment: str, config: Json, tags: Json, parent: str | None = None
) -> Json:
    script = script_of(config)
    return facts(Experiment(workspaces.get(workspace), experiment).submit(script, tags=tags, parent=parent))


def start_logging(workspaces: OpenWorkspaces, workspace: Json, experiment: str, name: str | None, program: int) -> Json:
    """Start an interactive run; returns its facts and the folder that its program writes to."""
    found = workspaces.get(workspace)
    return _logged(found, interactive.begin(found, experiment, name, program=program))


def end_logging(workspaces: OpenWorkspaces, workspace: Json, run: str, status: str, error: str | None) -> Json:
    if status not in TERMINAL:
        raise InvalidArgument("status", f"{status!r} is not one of: {', '.join(sorted(TERMINAL))}")
    interactive.end(workspaces.get(workspace), run, status, error)
    return None


def record(workspaces: OpenWorkspaces, workspace: Json, run: str, event: Json) -> Json:
    Run.get(workspaces.get(workspace), run).record([event])
    return None


def upload(workspaces: OpenWorkspaces, workspace: Json, run: str, name: str, path: str) -> Json:
    Run.get(workspaces.get(workspace), run).upload_file(name, path)
    return None


def environment(workspaces: OpenWorkspaces, workspace: Json, run: str) -> Json:
    """The environment as submitted; None if it installed and set nothing."""
    found = Run.get(workspaces.get(workspace), run).get_environment()
    return None if found is None else description_of(found)


def begin_child(workspaces: OpenWorkspaces, workspace: Json, run: str, name: str | None, program: int) -> Json:
    """As `start_logging`, for a child run."""
    found = workspaces.get(workspace)
    experiment = found.metadata.get_run(run).experiment
    return _logged(found, interactive.begin(found, experiment, name, parent=run, program=program))


def _logged(workspace: Workspace, run_id: str) -> Json:
    return {**facts(Run.get(workspace, run_id)), "folder": str(workspace.runs_dir / run_id)}


def list_experiments(workspaces: OpenWorkspaces, workspace: Json) -> Json:
    return [experiment.name for experiment in Experiment.list(workspaces.get(workspace))]


def check_experiment(workspaces: OpenWorkspaces, workspace: Json, name: str) -> Json:
    return Experiment(workspaces.get(workspace), name).id


def list_runs(workspaces: OpenWorkspaces, workspace: Json, experiment: str, **filters: Any) -> Json:
    return [facts(run) for run in Run.list(Experiment(workspaces.get(workspace), experiment), **filters)]


def get(workspaces: OpenWorkspaces, workspace: Json, run: str) -> Json:
    return facts(Run.get(workspaces.get(workspace), run))


def children(workspaces: OpenWorkspaces, workspace: Json, run: str, **filters: Any) -> Json:
    return [facts(child) for child in Run.get(workspaces.get(workspace), run).get_children(**filters)]


def describe(workspaces: OpenWorkspaces, workspace: Json, run: str, **texts: str | None) -> Json:
    """Set `display_name` or `description` if given; returns both."""
    found = Run.get(workspaces.get(workspace), run)
    if "display_name" in texts:
        found.display_name = str(texts["display_name"])
    if "description" in texts:
        found.description = texts["description"]
    return {"display_name": found.display_name, "description": found.description}


def download_file(workspaces: OpenWorkspaces, workspace: Json, run: str, name: str, path: str) -> Json:
    return str(Run.get(workspaces.get(workspace), run).download_file(name, path))


def register_model(workspaces: OpenWorkspaces, workspace: Json, run: str, inside: bool, model: Json) -> Json:
    """`inside`: the caller is the run's own script, so do not wait for its end."""
    found = Run.get(workspaces.get(workspace), run)
    return described(found.register_model(**registration_of(model), wait=not inside))


def _plain(method: str) -> Operation:
    def operation(workspaces: OpenWorkspaces, workspace: Json, run: str, **arguments: Any) -> Json:
        call: Callable[..., Json] = getattr(Run.get(workspaces.get(workspace), run), method)
        return call(**arguments)

    return operation


OPERATIONS: Final[dict[str, Operation]] = {
    "experiment.submit": submit,
    "experiment.start_logging": start_logging,
    "run.record": record,
    "run.upload": upload,
    "run.child": begin_child,
    "run.environment": environment,
    "run.end_logging": end_logging,
    "experiment.list": list_experiments,
    "experiment.check": check_experiment,
    "experiment.runs": list_runs,
    "run.get": get,
    "run.children": children,
    "run.describe": describe,
    "run.download_file": download_file,
    "run.register_model": register_model,
    **{f"run.{method}": _plain(method) for method in _PLAIN},
}
