"""Run: a submitted run, seen from outside of it. (From inside it is the shim's `azureml.core.Run`.)"""
# ruff: noqa: ARG002  Azure's signatures, whose rarer arguments mean nothing here

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry.errors import ModelPathNotFound
from registry.records import Json, RunRecord
from registry.workspace import Workspace
from trainer.compute.base import find_target
from trainer.download import Downloads
from trainer.ending import settle
from trainer.errors import ActivityFailed, PropertyIsFixed
from trainer.folder import RunFolder
from trainer.history import CHILD_TYPE, INTERACTIVE_TYPE, OVER, TERMINAL, metrics_of, move
from trainer.recording import Recording
from trainer.stream import Stream, follow

if TYPE_CHECKING:
    from registry.environment import Environment
    from registry.model import Model
    from registry.resources import ResourceConfiguration
    from trainer.experiment import Experiment
    from trainer.script import ScriptRunConfig
    from trainer.sweep import Sweep

_POLL_S: Final = 0.1

# `Run.list` hides the built-in name inside of the class.
_Runs = list["Run"]
_Names = list[str]


class Run(Recording, Downloads):
    """A run by its id. Nothing is cached: every question is answered from the store.

    Raises:
        RunNotFound: there is none with this id.
    """

    def __init__(self, experiment: "Experiment", run_id: str) -> None:
        self.experiment = experiment
        self.id = run_id
        self._store = experiment.workspace.metadata
        self._folder = RunFolder(experiment.workspace.runs_dir / run_id)
        if self._store.get_run(run_id).type == INTERACTIVE_TYPE:
            self.catch_up()

    @staticmethod
    def get(workspace: Workspace, run_id: str) -> "Run":
        """The run with that id, of whichever experiment.

        Raises:
            RunNotFound: there is none.
        """
        from trainer.experiment import Experiment

        return Run(Experiment(workspace, workspace.metadata.get_run(run_id).experiment), run_id)

    @staticmethod
    def list(
        experiment: "Experiment",
        type: str | None = None,
        tags: Any = None,
        properties: Any = None,
        status: str | None = None,
        include_children: bool = False,
    ) -> _Runs:
        """Newest first. `tags` and `properties` are a key, a {key: value}, or a list of these; all must be met."""
        runs = experiment.workspace.metadata.list_runs(experiment.name)
        return [
            Run(experiment, run.id)
            for run in runs
            if (include_children or run.parent is None)
            and type in (None, run.type)
            and status in (None, run.status)
            and _meets(run.tags, tags)
            and _meets(run.properties, properties)
        ]

    def __repr__(self) -> str:
        run = self._record
        return f"Run(Experiment: {run.experiment}, Id: {run.id}, Type: {run.type}, Status: {run.status})"

    # what it is

    @property
    def workspace(self) -> Workspace:
        return self.experiment.workspace

    @property
    def _record(self) -> RunRecord:
        return self._store.get_run(self.id)

    @property
    def number(self) -> int:
        return self._record.number

    @property
    def type(self) -> str:
        return self._record.type

    @property
    def display_name(self) -> str:
        return self._record.display_name or self.id

    @display_name.setter
    def display_name(self, name: str) -> None:
        self._store.update_run(self.id, lambda run: replace(run, display_name=name))

    name = display_name

    @property
    def description(self) -> str | None:
        return self._record.description

    @description.setter
    def description(self, text: str | None) -> None:
        self._store.update_run(self.id, lambda run: replace(run, description=text))

    @property
    def parent(self) -> "Run | None":
        parent = self._record.parent
        return None if parent is None else Run(self.experiment, parent)

    def get_children(
        self,
        recursive: bool = False,
        tags: Any = None,
        properties: Any = None,
        type: str | None = None,
        status: str | None = None,
    ) -> _Runs:
        """Child runs, newest first."""
        found: _Runs = []
        for run in self._store.list_runs(parent=self.id):
            child = Run(self.experiment, run.id)
            fits = type in (None, run.type) and status in (None, run.status)
            if fits and _meets(run.tags, tags) and _meets(run.properties, properties):
                found.append(child)
            if recursive:
                found.extend(child.get_children(True, tags, properties, type, status))
        return found

    def submit_child(self, config: "ScriptRunConfig | Sweep", tags: Mapping[str, object] | None = None) -> "Run":
        """As `Experiment.submit`, as a child of this run."""
        return self.experiment.submit(config, tags, parent=self.id)

    def get_environment(self) -> "Environment | None":
        """The environment that it was submitted with; None: fitserve's own Python."""
        from registry.environment import Environment

        run = self._record
        if run.environment is None:
            return None
        stored = self._store.get_environment_by_digest(run.environment)
        return Environment.from_spec(run.details.get("environment_name") or stored.name, stored.spec)

    # how it goes

    @property
    def status(self) -> str:
        return self.get_status()

    def get_status(self) -> str:
        """One of `trainer.history.STATUSES`. Notices a launcher that was killed, and ends the run as Failed."""
        return settle(self.workspace, self._record).status

    def wait_for_completion(
        self, show_output: bool = False, wait_post_processing: bool = False, raise_on_error: bool = True
    ) -> dict[str, Json]:
        """Wait for the end, with `show_output` print the log as it grows, and give the details.

        Raises:
            ActivityFailed: the run has failed, and `raise_on_error`.
        """
        stream = Stream(self._folder, self.id, self.get_portal_url()) if show_output else None
        follow(stream, lambda: self.get_status() in OVER, lambda: time.sleep(_POLL_S))
        if stream is not None:
            stream.summary()
        run = self._record
        if run.status == "Failed" and raise_on_error:
            raise ActivityFailed(self.id, run.error or "no reason was recorded")
        return self.get_details()

    def cancel(self) -> None:
        """Ask for the end of the run; `wait_for_completion` sees it Canceled. A run that has ended stays as it is.

        The runs that it has submitted itself are canceled with it.
        """
        if self.type == INTERACTIVE_TYPE:
            self._end("Canceled", None)
            return
        run = move(self._store, self.id, "CancelRequested")
        for child in self._store.list_runs(parent=self.id):
            if child.status not in TERMINAL and child.type != CHILD_TYPE:
                Run(self.experiment, child.id).cancel()
        if run.status == "CancelRequested":
            find_target(run.target).cancel(self.workspace, run)
            settle(self.workspace, run)

    def get_details(self) -> dict[str, Json]:
        """Azure's keys; ``error`` when it has failed, ``endTimeUtc`` when it has ended, ``usage`` when it had limits,
        ``interpreter`` with the installed releases when it had an environment of its own, ``warnings`` about that.
        """
        run = settle(self.workspace, self._record)
        details: dict[str, Json] = {
            "runId": run.id,
            "target": run.target,
            "status": run.status,
            "startTimeUtc": _iso(run.start_time),
            "endTimeUtc": _iso(run.end_time),
            "properties": dict(run.properties),
            "inputDatasets": [],
            "outputDatasets": [],
            "runDefinition": definition_of(run),
            "logFiles": {name: self._folder.files.joinpath(name).as_uri() for name in self._log_names()},
            "submittedBy": run.details.get("submitted_by"),
        }
        if run.error is not None:
            details["error"] = {"error": {"code": "UserError", "message": run.error}}
        for key in ("usage", "left_behind", "interpreter", "warnings"):
            if run.details.get(key):
                details[key] = run.details[key]
        return {key: value for key, value in details.items() if value is not None}

    def get_details_with_logs(self) -> dict[str, Json]:
        """`get_details`, its ``logFiles`` holding the text."""
        details = self.get_details()
        texts = {name: self._folder.files.joinpath(name).read_text("utf-8", "replace") for name in self._log_names()}
        return {**details, "logFiles": texts}

    def get_portal_url(self) -> str:
        """Where the run can be looked at: its folder, as a URL."""
        return self._folder.root.as_uri()

    @property
    def log_path(self) -> Path:
        """The file with what the script has printed so far."""
        return self._folder.log

    # what it said

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, run_type: str | None = None, populate: bool = False
    ) -> dict[str, Any]:
        """What was logged: a scalar logged once is itself, more often a list; a table of one row is {column: value}.

        With `recursive` {run id: metrics} of this run and all below it.
        """
        own = {key: value for key, value in metrics_of(self._store, self.id).items() if name in (None, key)}
        if not recursive:
            return own
        children = self.get_children(recursive=True, type=run_type)
        return {self.id: own, **{child.id: child.get_metrics(name) for child in children}}

    @property
    def tags(self) -> dict[str, str]:
        return dict(self._record.tags)

    def get_tags(self) -> dict[str, str]:
        return self.tags

    def tag(self, key: str, value: object = None) -> None:
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        self._store.update_run(self.id, lambda run: replace(run, tags={**run.tags, **_texts(tags)}))

    def remove_tags(self, tags: str | Sequence[str]) -> None:
        gone = {tags} if isinstance(tags, str) else set(tags)
        self._store.update_run(
            self.id, lambda run: replace(run, tags={key: value for key, value in run.tags.items() if key not in gone})
        )

    @property
    def properties(self) -> dict[str, str]:
        return dict(self._record.properties)

    def get_properties(self) -> dict[str, str]:
        return self.properties

    def add_properties(self, properties: Mapping[str, object]) -> None:
        """Add facts that never change.

        Raises:
            PropertyIsFixed: one of them has another value already.
        """
        new = _texts(properties)

        def change(run: RunRecord) -> RunRecord:
            for key, value in new.items():
                if run.properties.get(key, value) != value:
                    raise PropertyIsFixed(key, run.properties[key])
            return replace(run, properties={**run.properties, **new})

        self._store.update_run(self.id, change)

    # what it made

    def register_model(
        self,
        model_name: str,
        model_path: str | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        model_framework: str | None = None,
        model_framework_version: str | None = None,
        description: str | None = None,
        datasets: Sequence[object] | None = None,
        sample_input_dataset: Any = None,
        sample_output_dataset: Any = None,
        resource_configuration: "ResourceConfiguration | None" = None,
        wait: bool = True,
        **kwargs: Any,
    ) -> "Model":
        """Register a file or folder of the run as a model version, which is served in the run's own environment. Where that is a
        Python that its user takes care of, what the file says decides (`registry.serving_environment`).

        Args:
            model_path: name among `get_file_names()`, or of a folder of them; by default `model_name`.
            wait: for the end of the run, so that its files are complete; its own script cannot wait for that.
            kwargs: `sample`, `settings`, `environment`, `code`, `show_output` of `registry.Model.register`.

        Raises:
            ModelPathNotFound: with the names that there are.
        """
        from registry.model import Model

        if wait and self.type != INTERACTIVE_TYPE:
            follow(None, lambda: self.get_status() in TERMINAL, lambda: time.sleep(_POLL_S))
        run = self._record
        path = self._find_model((model_path or model_name).rstrip("/").removeprefix("./"))
        snapshot = self._folder.snapshot  # an interactive run has none
        environment = None if run.details.get("interpreter_path") else run.environment
        given = {"code": snapshot if snapshot.is_dir() else None, "environment": environment, **kwargs}
        given.setdefault("training_script", script_in(snapshot, run))
        if run.details.get("strict_python"):
            given["settings"] = {"strict_python": True, **(given.get("settings") or {})}
        return Model.register(
            self.workspace,
            path,
            model_name,
            tags=tags,
            properties=properties,
            description=description,
            datasets=datasets,
            model_framework=model_framework,
            model_framework_version=model_framework_version,
            sample_input_dataset=sample_input_dataset,
            sample_output_dataset=sample_output_dataset,
            resource_configuration=resource_configuration,
            run_id=self.id,
            experiment_name=self.experiment.name,
            **given,
        )

    def _find_model(self, name: str) -> Path:
        names = self.get_file_names()
        found = self._folder.find(name)
        if found is not None:
            return found
        if name and any(other.startswith(name + "/") for other in names):
            kept = self._folder.files / name
            return kept if kept.is_dir() else self._folder.snapshot / name
        raise ModelPathNotFound(name, names)

    def _log_names(self) -> _Names:
        return [name for name in self.get_file_names() if name.split("/")[0] in ("user_logs", "azureml-logs")]


def script_in(snapshot: Path, run: RunRecord) -> Path | None:
    """The script that ran, in the run's snapshot; of a command, the Python file that it names first."""
    words = [run.script] if run.script else [str(word) for word in run.details.get("command") or ()]
    found = (snapshot / word for word in words if word.endswith(".py") and not Path(word).is_absolute())
    return next((path for path in found if path.is_file()), None)


def definition_of(run: RunRecord) -> dict[str, Json]:
    """``runDefinition``: what was asked for."""
    environment = {"name": run.details.get("environment_name"), "digest": run.environment}
    if run.details.get("interpreter_path"):
        environment["interpreterPath"] = run.details["interpreter_path"]
    return {
        "script": run.script,
        "command": run.details.get("command"),
        "arguments": list(run.arguments),
        "target": run.target,
        "environment": environment,
        "maxRunDurationSeconds": run.details.get("max_run_duration_seconds"),
        "resourceConfiguration": run.details.get("resources"),
        "sourceDirectory": run.details.get("source_directory"),
    }


def _meets(have: Mapping[str, str], asked: Any) -> bool:
    if asked is None:
        return True
    if isinstance(asked, str):
        return asked in have
    if isinstance(asked, Mapping):
        return all(have.get(str(key)) == str(value) for key, value in asked.items())
    return all(_meets(have, one) for one in asked)


def _texts(items: Mapping[str, object]) -> dict[str, Any]:
    return {str(key): None if value is None else str(value) for key, value in items.items()}


def _iso(time: Any) -> str | None:
    return None if time is None else time.isoformat()
