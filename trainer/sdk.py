"""Experiment, Run and SweepRun in the shape of Azure's SDK. They return one another, hence one file.

The work is done by functions over ids and records: `submission`, `interactive`, `completion`, `sweep_results`. These classes
are for programs outside a run; its script uses the shim's `azureml.core.Run`.
"""
# ruff: noqa: ARG002  Azure's signatures; some of their arguments have no effect here

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, overload

from registry.environment import Environment
from registry.errors import InvalidArgument
from registry.model import Model
from registry.names import EXPERIMENT_NAME, check_name
from registry.records import Json
from registry.resources import ResourceConfiguration
from registry.workspace import Workspace
from trainer import interactive, submission, sweep_results
from trainer.completion import settle
from trainer.compute.base import find_target
from trainer.download import Downloads
from trainer.errors import ActivityFailed
from trainer.folder import RunFolder
from trainer.history import CHILD_TYPE, INTERACTIVE_TYPE, OVER, TERMINAL, metrics_of, move
from trainer.recording import Recording
from trainer.run_models import choose_model, find_model, find_models
from trainer.run_record import details_of, log_names, meets, script_in
from trainer.script import ScriptRunConfig
from trainer.stream import Stream, follow
from trainer.sweep import Sweep

_POLL_S: Final = 0.1

# Inside the classes, their own `list` hides the built-in one.
_Experiments = list["Experiment"]
_Runs = list["Run"]
_Rows = list[dict[str, Any]]


class Experiment:
    """An experiment of a workspace. It exists as soon as it has a run.

    Raises:
        InvalidName: the name is too long or has characters that Azure does not allow.
    """

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.workspace = workspace
        self.name = check_name("experiment", name, EXPERIMENT_NAME)

    @property
    def id(self) -> str:
        """A UUID derived from the workspace's folder and the name."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.workspace.root}/{self.name}"))

    def __repr__(self) -> str:
        return f"Experiment(Name: {self.name}, Workspace: {self.workspace.name})"

    @overload
    def submit(
        self, config: Sweep, tags: Mapping[str, object] | None = None, *, parent: str | None = None
    ) -> "SweepRun": ...
    @overload
    def submit(
        self, config: ScriptRunConfig | Sweep, tags: Mapping[str, object] | None = None, *, parent: str | None = None
    ) -> "Run": ...
    def submit(
        self, config: ScriptRunConfig | Sweep, tags: Mapping[str, object] | None = None, *, parent: str | None = None
    ) -> "Run":
        """`submission.submit`; returns the run.

        Args:
            parent: id of its parent run.
        """
        run_id = submission.submit(self.workspace, self.name, config, tags, parent=parent)
        return (SweepRun if isinstance(config, Sweep) else Run)(self, run_id)

    def submit_child(
        self, config: ScriptRunConfig, parent: str, number: int, tags: Mapping[str, object] | None = None
    ) -> "Run":
        """As `submit`, for a child of the run `parent`; its id is ``<parent>_<number>``."""
        run_id = f"{parent}_{number}"
        return Run(self, submission.submit(self.workspace, self.name, config, tags, run_id=run_id, parent=parent))

    def start_logging(self, display_name: str | None = None, tags: Mapping[str, object] | None = None) -> "Run":
        """Start a run that this program logs to itself, and ends by `complete` or `fail`."""
        return Run(self, interactive.begin(self.workspace, self.name, display_name, tags))

    def get_runs(
        self,
        type: str | None = None,
        tags: Any = None,
        properties: Any = None,
        include_children: bool = False,
    ) -> "Iterator[Run]":
        """The runs of this experiment, newest first."""
        yield from Run.list(self, type=type, tags=tags, properties=properties, include_children=include_children)

    @staticmethod
    def list(workspace: Workspace, experiment_name: str | None = None) -> _Experiments:
        """The experiments that have runs, sorted by name."""
        names = [name for name in workspace.experiments if experiment_name in (None, name)]
        return [Experiment(workspace, name) for name in names]


class Run(Recording, Downloads):
    """A run by its id. Nothing is cached; all values are read from the store.

    Raises:
        RunNotFound: no run has this id.
    """

    def __init__(self, experiment: Experiment, run_id: str) -> None:
        self.experiment, self.workspace, self.id = experiment, experiment.workspace, run_id
        self._store = experiment.workspace.metadata
        self._folder = RunFolder(experiment.workspace.runs_dir / run_id)
        if self._store.get_run(run_id).type == INTERACTIVE_TYPE:
            self.catch_up()

    @staticmethod
    def get(workspace: Workspace, run_id: str) -> "Run":
        """The run with this id, whatever its experiment.

        Raises:
            RunNotFound: no run has this id.
        """
        return Run(Experiment(workspace, workspace.metadata.get_run(run_id).experiment), run_id)

    @staticmethod
    def list(
        experiment: Experiment,
        type: str | None = None,
        tags: Any = None,
        properties: Any = None,
        status: str | None = None,
        include_children: bool = False,
    ) -> _Runs:
        """Runs, newest first. `tags` and `properties` are a key, a {key: value}, or a list of these; all must match."""
        runs = experiment.workspace.metadata.list_runs(experiment.name)
        return [
            Run(experiment, run.id)
            for run in runs
            if (include_children or run.parent is None)
            and type in (None, run.type)
            and status in (None, run.status)
            and meets(run.tags, tags)
            and meets(run.properties, properties)
        ]

    def __repr__(self) -> str:
        run = self._record
        return f"Run(Experiment: {run.experiment}, Id: {run.id}, Type: {run.type}, Status: {run.status})"

    # identity

    @property
    def number(self) -> int:
        return self._record.number

    @property
    def type(self) -> str:
        return self._record.type

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
            if fits and meets(run.tags, tags) and meets(run.properties, properties):
                found.append(child)
            if recursive:
                found.extend(child.get_children(True, tags, properties, type, status))
        return found

    def submit_child(self, config: ScriptRunConfig | Sweep, tags: Mapping[str, object] | None = None) -> "Run":
        """As `Experiment.submit`, for a child of this run."""
        return self.experiment.submit(config, tags, parent=self.id)

    def child_run(self, name: str | None = None) -> "Run":
        """Start a child run that this program logs to and ends."""
        return Run(self.experiment, interactive.begin(self.workspace, self.experiment.name, name, parent=self.id))

    def create_children(
        self, count: int | None = None, tag_key: str | None = None, tag_values: Sequence[str] | None = None
    ) -> _Runs:
        """Start `count` child runs, or one for each of `tag_values`, which becomes its tag `tag_key`."""
        if (count is None) == (tag_values is None) or (tag_key is None) != (tag_values is None):
            raise InvalidArgument("count", "give either count, or tag_key and tag_values")
        children = [self.child_run() for _ in range(len(tag_values or ()) if count is None else count)]
        for child, value in zip(children, tag_values or (), strict=False):
            child.tag(str(tag_key), value)
        return children

    def get_environment(self) -> Environment | None:
        """The environment that it was submitted with; None means fitserve's own Python."""
        return submission.environment_of(self.workspace, self._record)

    # status

    @property
    def status(self) -> str:
        return self.get_status()

    def get_status(self) -> str:
        """One of `trainer.history.STATUSES`. If the launcher was killed, the run is ended as Failed first."""
        return settle(self.workspace, self._record).status

    def wait_for_completion(
        self, show_output: bool = False, wait_post_processing: bool = False, raise_on_error: bool = True
    ) -> dict[str, Json]:
        """Wait until the run has ended and return its details; with `show_output`, print the log as it grows.

        Raises:
            ActivityFailed: the run failed and `raise_on_error` is set.
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
        """Request cancellation; the status becomes Canceled soon. A run that has ended is left alone.

        Runs that it submitted itself are canceled with it.
        """
        if self.type == INTERACTIVE_TYPE:
            interactive.end(self.workspace, self.id, "Canceled")
            return
        run = move(self._store, self.id, "CancelRequested")
        for child in self._store.list_runs(parent=self.id):
            if child.status not in TERMINAL and child.type != CHILD_TYPE:
                Run(self.experiment, child.id).cancel()
        if run.status == "CancelRequested":
            find_target(run.target).cancel(self.workspace, run)
            settle(self.workspace, run)

    def get_details(self) -> dict[str, Json]:
        """Azure's keys; ``error`` if it failed, ``endTimeUtc`` once it has ended, ``usage`` if it had limits, ``interpreter``
        with the installed releases if it had its own environment, and ``warnings`` about that.
        """
        return details_of(settle(self.workspace, self._record), self._folder)

    def get_details_with_logs(self) -> dict[str, Json]:
        """`get_details` with the text of the logs in ``logFiles``."""
        details = self.get_details()
        texts = {
            name: self._folder.files.joinpath(name).read_text("utf-8", "replace")
            for name in log_names(self.get_file_names())
        }
        return {**details, "logFiles": texts}

    def get_portal_url(self) -> str:
        """URL of the run's folder."""
        return self._folder.root.as_uri()

    @property
    def log_path(self) -> Path:
        """The file with the script's output."""
        return self._folder.log

    # metrics

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, run_type: str | None = None, populate: bool = False
    ) -> dict[str, Any]:
        """Logged metrics: a scalar logged once is a value, logged repeatedly a list; a table of one row is {column: value}.

        With `recursive`, {run id: metrics} of this run and all its descendants.
        """
        own = {key: value for key, value in metrics_of(self._store, self.id).items() if name in (None, key)}
        if not recursive:
            return own
        children = self.get_children(recursive=True, type=run_type)
        return {self.id: own, **{child.id: child.get_metrics(name) for child in children}}

    # models

    def choose_model(self) -> str:
        """Path of the model that the script saved in ./outputs or elsewhere in its working folder, for `register_model`.

        Raises:
            NoModelInRun, SeveralModelsInRun
        """
        return choose_model(self.id, self._folder).name

    @property
    def snapshot_folder(self) -> Path | None:
        """The copy of the script's folder that it ran in; None for a run without one."""
        return self._folder.snapshot if self._folder.snapshot.is_dir() else None

    @property
    def environment_digest(self) -> str | None:
        """Of the environment that the run was trained in, where fitserve takes care of that; None for fitserve's own Python."""
        run = self._record
        return None if run.details.get("interpreter_path") else run.environment

    @property
    def training_script(self) -> Path | None:
        """The script that ran, in the run's snapshot."""
        folder = self.snapshot_folder
        return None if folder is None else script_in(folder, self._record)

    def model_files(self) -> dict[str, Path]:
        """The files with models, or parts of one, that the script saved: name → path, the most likely model first."""
        return {found.name: found.path for found in find_models(self._folder)}

    def find_model(self, name: str) -> Path:
        """The file of the run, or beside its script, that `name` names.

        Raises:
            ModelPathNotFound: with the names that there are.
        """
        return find_model(self._folder, name)

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
        resource_configuration: ResourceConfiguration | None = None,
        wait: bool = True,
        **kwargs: Any,
    ) -> Model:
        """Register a file or folder of the run as a model version, served in the run's own environment. If the user manages
        that Python, the environment is derived from the file (`registry.serving_environment`).

        Args:
            model_path: one of `get_file_names()`, a folder of these, or a path in the script's working folder. By default
                `model_name`.
            wait: wait until the run has ended, so that its files are complete. Its own script must pass False.
            kwargs: `sample`, `settings`, `environment`, `code`, `show_output` of `registry.Model.register`; or
                `folder`, a folder made of this run's files, which replaces `model_path`.

        Raises:
            ModelPathNotFound: lists the existing names.
        """
        if wait and self.type != INTERACTIVE_TYPE:
            follow(None, lambda: self.get_status() in TERMINAL, lambda: time.sleep(_POLL_S))
        run = self._record
        laid = kwargs.pop("folder", None)
        path = laid or find_model(self._folder, model_path or model_name, beside_script=model_path is not None)
        given = {"code": self.snapshot_folder, "environment": self.environment_digest, **kwargs}
        given.setdefault("training_script", self.training_script)
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


class SweepRun(Run):
    """A sweep, in the shape of Azure's HyperDriveRun; the runs of its script are its children, ``<id>_<number>``."""

    @property
    def _sweep(self) -> dict[str, Json]:
        return dict(self._record.details["sweep"])

    @property
    def maximize(self) -> bool:
        return bool(self._sweep["goal"] == "MAXIMIZE")

    @property
    def primary_metric(self) -> str:
        return str(self._sweep["primary_metric"])

    def get_best_run_by_primary_metric(
        self, include_failed: bool = True, include_canceled: bool = True, include_resume_from_runs: bool = True
    ) -> Run | None:
        """The best run; None if no run logged the primary metric.

        With `include_resume_from_runs`, runs of the sweeps that this one resumes count too.
        """
        left_out = {status for status, kept in (("Failed", include_failed), ("Canceled", include_canceled)) if not kept}
        sweeps = [self.id, *(self._sweep.get("resume_from") or () if include_resume_from_runs else ())]
        best = sweep_results.best_row(self._store, sweeps, left_out)
        return None if best is None else Run.get(self.workspace, best["run_id"])

    def get_children_sorted_by_primary_metric(
        self, top: int = 0, reverse: bool = False, discard_no_metric: bool = False
    ) -> _Rows:
        """The first `top` of `sweep_results.sorted_rows`; 0 means all."""
        found = sweep_results.sorted_rows(self._store, self.id, reverse=reverse, discard_no_metric=discard_no_metric)
        return found[:top] if top else found

    def get_hyperparameters(self) -> dict[str, str]:
        """{child id: sampled parameters as JSON}."""
        return sweep_results.hyperparameters(self._store, self.id)

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, run_type: str | None = None, populate: bool = False
    ) -> dict[str, Any]:
        """{child id: metrics}."""
        return {child.id: child.get_metrics(name) for child in reversed(self.get_children())}

    def resume(self, max_total_runs: int | None = None) -> "SweepRun":
        """Submit a new sweep that continues this one, however it ended: its results are reused, incomplete runs are repeated,
        then the missing runs follow.

        Raises:
            InvalidArgument: this one has not ended, or nothing is left to do.
        """
        if self.get_status() not in TERMINAL:
            raise InvalidArgument("resume", f"{self.id} is still {self.get_status()}")
        children = self._store.list_runs(parent=self.id)
        for child in children:  # children of a killed launcher go on
            if child.status not in TERMINAL:
                Run(self.experiment, child.id).cancel()
        again = sweep_results.resumed(self._record, children, self._config, max_total_runs)
        return self.experiment.submit(again, {"resumes": self.id})

    @property
    def _config(self) -> ScriptRunConfig:
        return submission.config_of(self.workspace, self._record)
