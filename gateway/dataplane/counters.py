"""Counters of the scoring path: plain numbers in each HTTP process, added up when ``/metrics`` is requested.

A frame costs a few additions, however many requests it carries; a successful request adds none of its own.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, Final

from registry.records import Json

#: Upper bounds of the buckets; one more takes the rest.
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Histogram:
    """Counts by bucket, and the sum of all values."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def to_json(self) -> list[Json]:
        return [self.total, *self.counts]


class FrameCounters:
    """Frames of one version: how many requests each carried, how long they waited and took.

    Attributes:
        batch: requests per frame.
        wait: seconds from the arrival of a frame's oldest request until it was sent.
        compute: seconds that the model's method took for a frame.
    """

    __slots__ = ("batch", "compute", "wait")

    def __init__(self) -> None:
        self.batch, self.wait, self.compute = Histogram(SIZES), Histogram(SECONDS), Histogram(SECONDS)

    def to_json(self) -> dict[str, Json]:
        return {"batch": self.batch.to_json(), "wait": self.wait.to_json(), "compute": self.compute.to_json()}


def merged(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of several such trees of numbers: dicts by key, lists by place."""
    total: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            total[key] = _sum(total[key], value) if key in total else value
    return total


def _sum(a: Any, b: Any) -> Any:
    if isinstance(a, Mapping):
        return merged((a, b))
    if isinstance(a, list):
        return [x + y for x, y in zip(a, b, strict=True)]
    return a + b
