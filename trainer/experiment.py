"""Experiment: a name under which runs are kept, and where one is submitted."""

import secrets
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, overload

from registry.errors import InvalidArgument, OperatorError
from registry.locate import Identity
from registry.names import EXPERIMENT_NAME, check_name
from registry.records import Json, RunRecord
from registry.registration import user_name
from registry.stores import disk
from registry.workspace import Workspace
from trainer.compute.base import find_target, target_name
from trainer.folder import RunFolder
from trainer.git import git_properties
from trainer.history import move, now
from trainer.run import Run, definition_of
from trainer.script import ScriptRunConfig
from trainer.snapshot import take_snapshot
from trainer.sweep import SWEEP_TYPE, Sweep
from trainer.sweep_run import SweepRun

# `Experiment.list` hides the built-in name inside of the class.
_Experiments = list["Experiment"]


class Experiment:
    """An experiment of a workspace. It is there as soon as it has a run.

    Raises:
        InvalidName: the name has other characters than Azure allows, or is too long.
    """

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.workspace = workspace
        self.name = check_name("experiment", name, EXPERIMENT_NAME)

    @property
    def id(self) -> str:
        """The same for the same name in the same workspace."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.workspace.root}/{self.name}"))

    def __repr__(self) -> str:
        return f"Experiment(Name: {self.name}, Workspace: {self.workspace.name})"

    @overload
    def submit(
        self, config: Sweep, tags: Mapping[str, object] | None = None, *, parent: str | None = None
    ) -> SweepRun: ...
    @overload
    def submit(
        self, config: ScriptRunConfig | Sweep, tags: Mapping[str, object] | None = None, *, parent: str | None = None
    ) -> Run: ...
    def submit(
        self, config: ScriptRunConfig | Sweep, tags: Mapping[str, object] | None = None, *, parent: str | None = None
    ) -> Run:
        """Copy the source folder, start the script, and return its run at once; it goes on when this process ends.

        A `Sweep` gives a run whose children are the runs of its script.

        Args:
            parent: id of the run that it is a child of.

        Raises:
            ScriptNotFound, InvalidArgument, SnapshotError, RunNotFound: before anything is stored.
            DiskFull, WorkspaceReadOnly: likewise.
            LaunchFailed: the run is in the store as Failed.
        """
        if isinstance(config, Sweep):
            config.check()
            for earlier in (*config.resume_from, *config.resume_child_runs):
                self.workspace.metadata.get_run(earlier)
            run_id = self._submit(config.config, tags or {}, type=SWEEP_TYPE, sweep=config.to_json(), parent=parent)
            return SweepRun(self, run_id)
        return Run(self, self._submit(config, tags or {}, parent=parent))

    def submit_child(
        self, config: ScriptRunConfig, parent: str, number: int, tags: Mapping[str, object] | None = None
    ) -> Run:
        """As `submit`, as a child of the run `parent`, whose id it continues."""
        return Run(self, self._submit(config, tags or {}, run_id=f"{parent}_{number}", parent=parent))

    def _submit(
        self,
        config: ScriptRunConfig,
        tags: Mapping[str, object],
        *,
        run_id: str | None = None,
        parent: str | None = None,
        type: str = "azureml.scriptrun",
        sweep: Json = None,
    ) -> str:
        """Id of the run."""
        if not isinstance(config, ScriptRunConfig):
            raise InvalidArgument("config", f"a ScriptRunConfig is expected, not {config.__class__.__name__}")
        config.check()
        target = target_name(config.compute_target)
        run_id = run_id or new_run_id(self.name)
        folder = RunFolder(self.workspace.runs_dir / run_id)
        environment = register_environment(self.workspace, config.environment)
        try:
            with disk.writing(folder.root):
                folder.create()
                snapshot = take_snapshot(config.source, folder.snapshot, leave_out=self.workspace.root)
                folder.write_manifest(snapshot.files)
            properties = {"ContentSnapshotId": snapshot.digest, **git_properties(config.source)}
            record = self._record(config, run_id, target, environment, properties, tags)
            details = record.details if sweep is None else {**record.details, "sweep": sweep}
            record = replace(record, parent=parent, type=type, details=details)
            record = self.workspace.metadata.add_run(record)
        except BaseException:
            shutil.rmtree(folder.root, ignore_errors=True)
            raise
        try:
            with disk.writing(folder.root):
                folder.write_facts(facts_of(record, self.workspace.identity))
            find_target(target).start(self.workspace, record)
        except OperatorError as error:
            move(self.workspace.metadata, run_id, "Failed", error=str(error))
            raise
        return run_id

    def start_logging(self, display_name: str | None = None, tags: Mapping[str, object] | None = None) -> Run:
        """A run that this program logs to itself, and ends by `complete` or `fail`."""
        from trainer import interactive

        return interactive.begin(self.workspace, self.name, display_name, tags)

    def get_runs(
        self,
        type: str | None = None,
        tags: Any = None,
        properties: Any = None,
        include_children: bool = False,
    ) -> Iterator[Run]:
        """The runs of this experiment, newest first."""
        yield from Run.list(self, type=type, tags=tags, properties=properties, include_children=include_children)

    @staticmethod
    def list(workspace: Workspace, experiment_name: str | None = None) -> "_Experiments":
        """The experiments that have runs, by name."""
        names = [name for name in workspace.experiments if experiment_name in (None, name)]
        return [Experiment(workspace, name) for name in names]

    def _record(
        self,
        config: ScriptRunConfig,
        run_id: str,
        target: str,
        environment: str | None,
        properties: Mapping[str, str],
        tags: Mapping[str, object],
    ) -> RunRecord:
        limits = config.resource_configuration
        duration = config.max_run_duration_seconds
        details: dict[str, Json] = {
            "source_directory": str(config.source),
            "environment_name": getattr(config.environment, "name", None),
            "interpreter_path": None if config.environment is None else config.environment.python.own_interpreter,
            "command": config.command_list(),
            "resources": None if limits is None else {"cpu": limits.cpu, "memory_in_gb": limits.memory_in_gb},
            "max_run_duration_seconds": None if duration is None else float(duration),
            "strict_python": config.strict_python,
            "submitted_by": user_name(),
        }
        return RunRecord(
            id=run_id,
            experiment=self.name,
            number=0,
            status="NotStarted",
            created_time=now(),
            script=None if config.script is None else Path(config.script).as_posix(),
            arguments=config.argument_list(),
            target=target,
            environment=environment,
            snapshot=properties["ContentSnapshotId"],
            tags={str(key): str(value) for key, value in tags.items()},
            properties=properties,
            details=details,
        )


def new_run_id(experiment: str) -> str:
    """Azure's form: experiment, seconds since 1970, eight hexadecimal digits."""
    return f"{experiment}_{int(time.time())}_{secrets.token_hex(4)}"


def register_environment(workspace: Workspace, environment: Any) -> str | None:
    """Keep what the launcher will build the interpreter from; gives its digest, None for fitserve's own Python.

    Raises:
        InvalidArgument: it is not an Environment.
    """
    if environment is None:
        return None
    from registry.environment import Environment

    if not isinstance(environment, Environment):
        raise InvalidArgument("environment", f"an Environment is expected, not {type(environment).__name__}")
    spec = environment.spec()
    if not any(spec.values()):
        return None
    return workspace.metadata.put_environment(environment.name, environment.digest, spec).digest


def facts_of(run: RunRecord, workspace: Identity) -> dict[str, Json]:
    """``run.json``: what a script may know of its run (the shim's `FolderSink`), and its launcher's `Plan`."""
    return {
        "workspace": asdict(workspace),
        "run_id": run.id,
        "experiment": run.experiment,
        "number": run.number,
        "type": run.type,
        "target": run.target,
        "parent": run.parent,
        "display_name": run.display_name,
        "tags": dict(run.tags),
        "properties": dict(run.properties),
        "definition": definition_of(run),
    }
