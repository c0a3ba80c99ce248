"""A service-time estimator: it learns how long frames take, so that a request that cannot meet its deadline is refused
at once.

Without it, an overloaded queue fills up with requests that have expired by the time they are computed.
"""

from typing import Final

_KEPT: Final = 0.9  # weight of the past with each new frame: about the last ten count
_ENOUGH: Final = 3  # frames before the first estimate


class ServiceTimeEstimator:
    """A frame of r rows takes `start` + r * `each` seconds. While only single rows were seen, further rows are assumed
    to cost nothing, in the caller's favour.
    """

    __slots__ = ("_count", "_product", "_rows", "_seconds", "_squares", "each", "seen", "start")

    def __init__(self) -> None:
        self.start = self.each = 0.0
        self.seen = 0
        self._count = self._rows = self._seconds = self._squares = self._product = 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """Learn from a frame that was answered `seconds` after its turn had come."""
        self._count = self._count * _KEPT + 1
        self._rows = self._rows * _KEPT + rows
        self._seconds = self._seconds * _KEPT + seconds
        self._squares = self._squares * _KEPT + rows * rows
        self._product = self._product * _KEPT + rows * seconds
        self.seen += 1
        if self.seen >= _ENOUGH:
            self._fit(self._rows / self._count, self._seconds / self._count)

    def _fit(self, rows: float, seconds: float) -> None:
        """Fit a line that neither falls nor is steeper than one through the origin."""
        spread = self._squares / self._count - rows * rows
        if spread > 0.1 * rows * rows:
            slope = (self._product / self._count - rows * seconds) / spread
            self.each = min(max(slope, 0.0), seconds / rows)
        else:  # all of about the same size: no information about other sizes
            self.each = seconds / rows if rows > 2 else 0.0
        self.start = seconds - self.each * rows

    def seconds(self, frames: int, rows: int) -> float:
        """Estimate for `frames` that have `rows` in total, one after the other."""
        return frames * self.start + rows * self.each
