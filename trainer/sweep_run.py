"""SweepRun: a submitted sweep, seen from outside of it, in the shape of Azure's HyperDriveRun."""
# ruff: noqa: ARG002  Azure's signatures, whose rarer arguments mean nothing here

import json
import math
from collections.abc import Sequence
from typing import Any

from registry.records import Json, MetricRecord, RunRecord
from registry.stores.base import MetadataStore
from trainer.run import Run


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
        """None when no run logged the primary metric."""
        left_out = {status for status, kept in (("Failed", include_failed), ("Canceled", include_canceled)) if not kept}
        for row in self.get_children_sorted_by_primary_metric(discard_no_metric=True):
            if row["status"] not in left_out:
                return Run(self.experiment, row["run_id"])
        return None

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

    def _row(self, child: RunRecord) -> dict[str, Any]:
        values = values_of(self._store, child.id, self.primary_metric)
        best = (max if self.maximize else min)(values) if values else None
        return {
            "run_id": child.id,
            "hyperparameters": json.dumps(parameters_of(child)),
            "best_primary_metric": best,
            "status": child.status,
        }


def parameters_of(child: RunRecord) -> dict[str, Json]:
    """What was sampled for a child."""
    return dict(json.loads(child.tags.get("hyperparameters") or "{}"))


def values_of(store: MetadataStore, run_id: str, metric: str) -> list[float]:
    """The finite values of one metric in the order in which they were logged."""
    return [v for logged in store.list_metrics(run_id) if logged.name == metric for v in _numbers(logged)]


def _numbers(metric: MetricRecord) -> list[float]:
    values: Sequence[Any] = metric.value if isinstance(metric.value, list) else [metric.value]
    return [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
