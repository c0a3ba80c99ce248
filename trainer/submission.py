"""Submission: create and start a run from a script with its folder, environment and limits."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from registry.environment import Environment
from registry.errors import InvalidArgument, OperatorError
from registry.records import Json, RunRecord
from registry.registration import user_name
from registry.resources import ResourceConfiguration
from registry.stores import disk
from registry.workspace import Workspace
from trainer.compute.base import find_target, target_name
from trainer.folder import RunFolder
from trainer.git import git_properties
from trainer.history import SWEEP_TYPE, move, now
from trainer.notebook import environment_for, is_notebook
from trainer.run_record import facts_of, new_run_id
from trainer.script import ScriptRunConfig
from trainer.snapshot import take_snapshot
from trainer.sweep import Sweep


def submit(
    workspace: Workspace,
    experiment: str,
    config: ScriptRunConfig | Sweep,
    tags: Mapping[str, object] | None = None,
    *,
    run_id: str | None = None,
    parent: str | None = None,
) -> str:
    """Copy the source folder, start the script, and return the run's id. The run continues when this process ends.

    A `Sweep` becomes a run whose children are the runs of its script.

    Raises:
        ScriptNotFound, InvalidArgument, SnapshotError, RunNotFound: before anything is stored.
        DiskFull, WorkspaceReadOnly: likewise.
        LaunchFailed: the run is in the store as Failed.
    """
    sweep = config if isinstance(config, Sweep) else None
    script = config.config if isinstance(config, Sweep) else config
    if not isinstance(script, ScriptRunConfig):
        raise InvalidArgument("config", f"a ScriptRunConfig is expected, not {script.__class__.__name__}")
    config.check()
    for earlier in () if sweep is None else (*sweep.resume_from, *sweep.resume_child_runs):
        workspace.metadata.get_run(earlier)
    target = target_name(script.compute_target)
    run_id = run_id or new_run_id(experiment)
    folder = RunFolder(workspace.runs_dir / run_id)
    wanted = script.environment
    if is_notebook(script.script):
        wanted = environment_for(wanted, script.source / str(script.script))
    environment = register_environment(workspace, wanted)
    try:
        with disk.writing(folder.root):
            folder.create()
            snapshot = take_snapshot(script.source, folder.snapshot, leave_out=workspace.root)
            folder.write_manifest(snapshot.files)
        record = RunRecord(
            id=run_id,
            experiment=experiment,
            number=0,
            status="NotStarted",
            created_time=now(),
            script=None if script.script is None else Path(script.script).as_posix(),
            arguments=script.argument_list(),
            target=target,
            environment=environment,
            snapshot=snapshot.digest,
            parent=parent,
            tags={str(key): str(value) for key, value in (tags or {}).items()},
            properties={"ContentSnapshotId": snapshot.digest, **git_properties(script.source)},
            details={**_details(script), "environment_name": getattr(wanted, "name", None)},
        )
        if sweep is not None:
            record = replace(record, type=SWEEP_TYPE, details={**record.details, "sweep": sweep.to_json()})
        record = workspace.metadata.add_run(record)
    except BaseException:
        shutil.rmtree(folder.root, ignore_errors=True)
        raise
    try:
        with disk.writing(folder.root):
            folder.write_facts(facts_of(record, workspace.identity))
        find_target(target).start(workspace, record)
    except OperatorError as error:
        move(workspace.metadata, run_id, "Failed", error=str(error))
        raise
    return run_id


def config_of(workspace: Workspace, run: RunRecord) -> ScriptRunConfig:
    """The configuration with which a run was submitted; its source is the snapshot."""
    details = run.details
    limits = details.get("resources")
    environment = environment_of(workspace, run)
    if details.get("interpreter_path"):
        environment = environment or Environment(details["environment_name"])
        environment.python.user_managed_dependencies = True
        environment.python.interpreter_path = details["interpreter_path"]
    return ScriptRunConfig(
        RunFolder(workspace.runs_dir / run.id).snapshot,
        run.script,
        list(run.arguments) or None,
        compute_target=run.target,
        environment=environment,
        max_run_duration_seconds=details.get("max_run_duration_seconds"),
        command=details.get("command"),
        resource_configuration=ResourceConfiguration(**limits) if limits else None,
        strict_python=bool(details.get("strict_python")),
    )


def environment_of(workspace: Workspace, run: RunRecord) -> Environment | None:
    """The environment that a run was submitted with; None means fitserve's own Python."""
    if run.environment is None:
        return None
    stored = workspace.metadata.get_environment_by_digest(run.environment)
    return Environment.from_spec(run.details.get("environment_name") or stored.name, stored.spec)


def register_environment(workspace: Workspace, environment: Any) -> str | None:
    """Store the environment for the launcher; returns its digest, None for fitserve's own Python.

    Raises:
        InvalidArgument: it is not an Environment.
    """
    if environment is None:
        return None
    if not isinstance(environment, Environment):
        raise InvalidArgument("environment", f"an Environment is expected, not {type(environment).__name__}")
    spec = environment.spec()
    if not any(spec.values()):
        return None
    return workspace.metadata.put_environment(environment.name, environment.digest, spec).digest


def _details(script: ScriptRunConfig) -> dict[str, Json]:
    limits = script.resource_configuration
    duration = script.max_run_duration_seconds
    return {
        "source_directory": str(script.source),
        "environment_name": getattr(script.environment, "name", None),
        "interpreter_path": None if script.environment is None else script.environment.python.own_interpreter,
        "command": script.command_list(),
        "resources": None if limits is None else {"cpu": limits.cpu, "memory_in_gb": limits.memory_in_gb},
        "max_run_duration_seconds": None if duration is None else float(duration),
        "strict_python": script.strict_python,
        "submitted_by": user_name(),
    }
