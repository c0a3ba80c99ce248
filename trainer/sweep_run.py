"""SweepRun: a submitted sweep, seen from outside of it, in the shape of Azure's HyperDriveRun."""
# ruff: noqa: ARG002  Azure's signatures, whose rarer arguments mean nothing here

import json
import math
from collections.abc import Sequence
from typing import Any

from registry.environment import Environment
from registry.errors import InvalidArgument
from registry.records import Json, MetricRecord, RunRecord
from registry.resources import ResourceConfiguration
from registry.stores.base import MetadataStore
from registry.workspace import Workspace
from trainer.folder import RunFolder
from trainer.history import TERMINAL
from trainer.run import Run
from trainer.script import ScriptRunConfig
from trainer.sweep import MOST_PARENTS, Sweep


class SweepRun(Run):
    """Its children are the runs of its script; ``<id>_<number>`` are their ids."""

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
        """None when no run logged the primary metric.

        With `include_resume_from_runs` it may be one of the sweeps that this one was resumed from.
        """
        left_out = {status for status, kept in (("Failed", include_failed), ("Canceled", include_canceled)) if not kept}
        rows = self.get_children_sorted_by_primary_metric(discard_no_metric=True)
        for earlier in self._sweep.get("resume_from") or () if include_resume_from_runs else ():
            rows += SweepRun(self.experiment, earlier).get_children_sorted_by_primary_metric(discard_no_metric=True)
        fitting = [row for row in rows if row["status"] not in left_out]
        if not fitting:
            return None
        best = (max if self.maximize else min)(fitting, key=lambda row: row["best_primary_metric"])
        return Run.get(self.workspace, best["run_id"])

    def get_children_sorted_by_primary_metric(
        self, top: int = 0, reverse: bool = False, discard_no_metric: bool = False
    ) -> list[dict[str, Any]]:
        """Best first, `reverse` worst first, those without the metric last: ``run_id``, ``hyperparameters``,
        ``best_primary_metric``, ``status`` of each; `top` of them, 0 for all."""
        rows = [self._row(child) for child in reversed(self._store.list_runs(parent=self.id))]
        known = [row for row in rows if row["best_primary_metric"] is not None]
        known.sort(key=lambda row: row["best_primary_metric"], reverse=self.maximize != reverse)
        rest = [] if discard_no_metric else [row for row in rows if row["best_primary_metric"] is None]
        found = known + rest
        return found[:top] if top else found

    def get_hyperparameters(self) -> dict[str, str]:
        """{child's id: its sampled parameters as JSON}."""
        return {child.id: json.dumps(parameters_of(child)) for child in reversed(self._store.list_runs(parent=self.id))}

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, run_type: str | None = None, populate: bool = False
    ) -> dict[str, Any]:
        """{child's id: what it logged}."""
        return {child.id: child.get_metrics(name) for child in reversed(self.get_children())}

    def resume(self, max_total_runs: int | None = None) -> "SweepRun":
        """A new sweep that goes on where this one has ended, whatever ended it: what was found is known, runs that were not
        completed are made again, and then those that are missing.

        Raises:
            InvalidArgument: it goes on, or nothing is left to do.
        """
        if self.get_status() not in TERMINAL:
            raise InvalidArgument("resume", f"{self.id} is still {self.get_status()}")
        record = self._record
        again = Sweep.from_json(self._sweep, config_of(self.workspace, record, self._folder))
        children = self._store.list_runs(parent=self.id)
        for child in children:  # its launcher may have been killed, and they go on
            if child.status not in TERMINAL:
                Run(self.experiment, child.id).cancel()
        completed = [child for child in children if child.status == "Completed"]
        left = again.max_total_runs - len(completed) if max_total_runs is None else max_total_runs
        if left < 1:
            raise InvalidArgument("resume", f"all {again.max_total_runs} runs of {self.id} are completed")
        again.max_total_runs = left
        again.resume_from = (self.id, *again.resume_from)[:MOST_PARENTS]
        again.resume_child_runs = tuple(child.id for child in reversed(children) if child.status != "Completed")[:left]
        return self.experiment.submit(again, {"resumes": self.id})

    def _row(self, child: RunRecord) -> dict[str, Any]:
        values = values_of(self._store, child.id, self.primary_metric)
        best = (max if self.maximize else min)(values) if values else None
        return {
            "run_id": child.id,
            "hyperparameters": json.dumps(parameters_of(child)),
            "best_primary_metric": best,
            "status": child.status,
        }


def config_of(workspace: Workspace, record: RunRecord, folder: RunFolder) -> ScriptRunConfig:
    """The script of a sweep as it was submitted; its source is the snapshot."""
    details = record.details
    limits = details.get("resources")
    environment = None
    if record.environment is not None:
        stored = workspace.metadata.get_environment_by_digest(record.environment)
        environment = Environment.from_spec(details.get("environment_name") or stored.name, stored.spec)
    if details.get("interpreter_path"):
        environment = environment or Environment(details["environment_name"])
        environment.python.user_managed_dependencies = True
        environment.python.interpreter_path = details["interpreter_path"]
    return ScriptRunConfig(
        folder.snapshot,
        record.script,
        list(record.arguments) or None,
        compute_target=record.target,
        environment=environment,
        max_run_duration_seconds=details.get("max_run_duration_seconds"),
        command=details.get("command"),
        resource_configuration=ResourceConfiguration(**limits) if limits else None,
        strict_python=bool(details.get("strict_python")),
    )


def parameters_of(child: RunRecord) -> dict[str, Json]:
    """What was sampled for a child."""
    return dict(json.loads(child.tags.get("hyperparameters") or "{}"))


def values_of(store: MetadataStore, run_id: str, metric: str) -> list[float]:
    """The finite values of one metric in the order in which they were logged."""
    return [v for logged in store.list_metrics(run_id) if logged.name == metric for v in _numbers(logged)]


def _numbers(metric: MetricRecord) -> list[float]:
    values: Sequence[Any] = metric.value if isinstance(metric.value, list) else [metric.value]
    return [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
