"""``/metrics`` in the format of Prometheus, from what the supervisor gathered; made when somebody asks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from gateway.dataplane.counters import SECONDS, SIZES

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_OF_VERSION: Final = ("model", "version")
_STATES: Final = ("preparing", "starting", "live", "failed", "idle", "unloaded", "draining", "quarantined")


def rendered(facts: Mapping[str, Any]) -> bytes:
    """`facts` is the supervisor's answer to "metrics": what all HTTP processes counted, and what runs."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(facts))
    return generate_latest(registry)


class _Told(Collector):
    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._counted, self._running = facts["counted"], facts["versions"]

    def collect(self) -> Iterator[Metric]:
        yield from _traffic(self._counted)
        yield from _versions(self._running)


def _traffic(counted: Mapping[str, Any]) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "fitserve_requests", "Scoring requests by the status of their answer.", labels=(*_OF_VERSION, "status")
    )
    waiting = GaugeMetricFamily("fitserve_queue_requests", "Requests that wait for a child now.", labels=["model"])
    waiting_bytes = GaugeMetricFamily("fitserve_queue_bytes", "Bytes of the inputs that wait now.", labels=["model"])
    batch = HistogramMetricFamily("fitserve_batch_requests", "Requests that shared a frame.", labels=_OF_VERSION)
    wait = HistogramMetricFamily(
        "fitserve_queue_seconds", "Wait of a frame's oldest request, until it was sent.", labels=_OF_VERSION
    )
    compute = HistogramMetricFamily(
        "fitserve_compute_seconds", "Time that the model's method took for a frame.", labels=_OF_VERSION
    )
    for model, told in sorted(counted.items()):
        waiting.add_metric([model], told.get("waiting", 0))
        waiting_bytes.add_metric([model], told.get("waiting_bytes", 0))
        for key, count in sorted(told["failures"].items()):
            version, status = key.split()
            requests.add_metric([model, version.strip("-"), status], count)
        for version, of in sorted(told["versions"].items()):
            requests.add_metric([model, version, "200"], of["answers"])
            for family, name, bounds in (
                (batch, "batch", SIZES),
                (wait, "wait", SECONDS),
                (compute, "compute", SECONDS),
            ):
                _add_histogram(family, [model, version], bounds, of[name])
    yield from (requests, waiting, waiting_bytes, batch, wait, compute)


def _add_histogram(
    family: HistogramMetricFamily, labels: Sequence[str], bounds: Sequence[float], told: Sequence[float]
) -> None:
    total, counts = told[0], told[1:]
    buckets, so_far = [], 0.0
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        so_far += count
        buckets.append((bound, so_far))
    family.add_metric(labels, buckets, total)


def _versions(running: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "fitserve_version_state", "1 for the state that a version is in.", labels=(*_OF_VERSION, "state")
    )
    restarts = CounterMetricFamily(
        "fitserve_restarts", "Deaths of a version's processes, by cause.", labels=(*_OF_VERSION, "cause")
    )
    plain: tuple[tuple[str, CounterMetricFamily | GaugeMetricFamily], ...] = (
        ("children", GaugeMetricFamily("fitserve_processes", "Scoring processes that run.", labels=_OF_VERSION)),
        ("memory_bytes", GaugeMetricFamily("fitserve_memory_bytes", "Memory in use by a version's group.", labels=_OF_VERSION)),
        ("memory_limit_bytes", GaugeMetricFamily("fitserve_memory_limit_bytes", "Its limit.", labels=_OF_VERSION)),
        ("cpu_seconds", CounterMetricFamily("fitserve_cpu_seconds", "Processor time used by its group.", labels=_OF_VERSION)),
        (
            "throttled_seconds",
            CounterMetricFamily("fitserve_throttled_seconds", "Time for which its CPU limit held it back.", labels=_OF_VERSION),
        ),
    )  # fmt: skip
    for told in running:
        labels = [told["name"], str(told["version"])]
        for each in _STATES:
            state.add_metric([*labels, each], int(told["state"] == each))
        for cause, count in sorted(told["restarts_by_cause"].items()):
            restarts.add_metric([*labels, cause], count)
        for key, family in plain:
            if told[key] is not None:
                family.add_metric(labels, told[key])
    yield from (state, restarts, *(family for _, family in plain))
