"""Triton's statistics extension of the Open Inference Protocol, from what all HTTP processes counted.

`inference_count` is in requests, `execution_count` in frames, which requests may share; ``queue`` and ``compute_infer`` are counted a
frame, and the queue's time is that of a frame's oldest request. Reading and writing bodies is not measured: those entries are 0.
"""

from collections.abc import Mapping
from typing import Any, Final

from registry.records import Json

_NONE: Final = {"count": 0, "ns": 0}


def statistics(model: str, version: int, counted: Mapping[str, Any]) -> dict[str, Json]:
    """One entry of ``model_stats``.

    Args:
        counted: of the whole model, as `gateway.dataplane.models.Model.counted` tells it; {} before the first request.
    """
    of = counted.get("versions", {}).get(str(version), {})
    failures = counted.get("failures", {})
    failed = sum(count for key, count in failures.items() if key.split()[0] == str(version))
    queue, compute = _times(of.get("wait")), _times(of.get("compute"))
    answers = of.get("answers", 0)
    return {
        "name": model,
        "version": str(version),
        "inference_count": answers,
        "execution_count": compute["count"],
        "inference_stats": {
            "success": {"count": answers, "ns": queue["ns"] + compute["ns"]},
            "fail": {"count": failed, "ns": 0},
            "queue": queue,
            "compute_input": _NONE,
            "compute_infer": compute,
            "compute_output": _NONE,
        },
        "batch_stats": [],
    }


def _times(histogram: list[float] | None) -> dict[str, Any]:
    """The number of values and their sum, of a `gateway.dataplane.counters.Histogram` of seconds."""
    if histogram is None:
        return _NONE
    return {"count": int(sum(histogram[1:])), "ns": round(histogram[0] * 1e9)}
