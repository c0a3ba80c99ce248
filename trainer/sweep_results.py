"""Results of a sweep, read from the records of its runs."""

import json
import math
from collections.abc import Collection, Sequence
from typing import Any

from registry.errors import InvalidArgument
from registry.records import Json, MetricRecord, RunRecord
from registry.stores.base import MetadataStore
from trainer.script import ScriptRunConfig
from trainer.sweep import MOST_PARENTS, Sweep

Row = dict[str, Any]


def sorted_rows(
    store: MetadataStore, sweep_id: str, *, reverse: bool = False, discard_no_metric: bool = False
) -> list[Row]:
    """One row per run, with ``run_id``, ``hyperparameters``, ``best_primary_metric`` and ``status``: the best first, with
    `reverse` the worst first, runs without the metric last."""
    sweep = store.get_run(sweep_id).details["sweep"]
    maximize = sweep["goal"] == "MAXIMIZE"
    rows = [_row(store, child, sweep["primary_metric"], maximize) for child in _children(store, sweep_id)]
    known = [row for row in rows if row["best_primary_metric"] is not None]
    known.sort(key=lambda row: row["best_primary_metric"], reverse=maximize != reverse)
    return known + ([] if discard_no_metric else [row for row in rows if row["best_primary_metric"] is None])


def best_row(store: MetadataStore, sweep_ids: Sequence[str], left_out: Collection[str]) -> Row | None:
    """The best row of several sweeps by the goal of the first, ignoring runs with a status in `left_out`."""
    rows = [row for sweep_id in sweep_ids for row in sorted_rows(store, sweep_id, discard_no_metric=True)]
    fitting = [row for row in rows if row["status"] not in left_out]
    maximize = store.get_run(sweep_ids[0]).details["sweep"]["goal"] == "MAXIMIZE"
    return (max if maximize else min)(fitting, key=lambda row: row["best_primary_metric"]) if fitting else None


def hyperparameters(store: MetadataStore, sweep_id: str) -> dict[str, str]:
    """{child id: sampled parameters as JSON}."""
    return {child.id: json.dumps(parameters_of(child)) for child in _children(store, sweep_id)}


def resumed(
    record: RunRecord, children: Sequence[RunRecord], config: ScriptRunConfig, max_total_runs: int | None = None
) -> Sweep:
    """The sweep that continues an ended one: its results are reused, incomplete runs are repeated, the missing ones follow.

    Raises:
        InvalidArgument: nothing is left to do.
    """
    again = Sweep.from_json(record.details["sweep"], config)
    completed = [child for child in children if child.status == "Completed"]
    left = again.max_total_runs - len(completed) if max_total_runs is None else max_total_runs
    if left < 1:
        raise InvalidArgument("resume", f"all {again.max_total_runs} runs of {record.id} are completed")
    again.max_total_runs = left
    again.resume_from = (record.id, *again.resume_from)[:MOST_PARENTS]
    again.resume_child_runs = tuple(child.id for child in reversed(children) if child.status != "Completed")[:left]
    return again


def parameters_of(child: RunRecord) -> dict[str, Json]:
    """The parameters sampled for a child."""
    return dict(json.loads(child.tags.get("hyperparameters") or "{}"))


def values_of(store: MetadataStore, run_id: str, metric: str) -> list[float]:
    """The finite values of one metric in the order in which they were logged."""
    return [v for logged in store.list_metrics(run_id) if logged.name == metric for v in _numbers(logged)]


def _children(store: MetadataStore, sweep_id: str) -> list[RunRecord]:
    return list(reversed(store.list_runs(parent=sweep_id)))


def _row(store: MetadataStore, child: RunRecord, metric: str, maximize: bool) -> Row:
    values = values_of(store, child.id, metric)
    return {
        "run_id": child.id,
        "hyperparameters": json.dumps(parameters_of(child)),
        "best_primary_metric": (max if maximize else min)(values) if values else None,
        "status": child.status,
    }


def _numbers(metric: MetricRecord) -> list[float]:
    values: Sequence[Any] = metric.value if isinstance(metric.value, list) else [metric.value]
    return [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
