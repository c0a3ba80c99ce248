"""How long a version takes for its frames, learnt as they come back, so that a request which cannot be answered in time is refused at once instead
of in vain. Without it a queue in overload fills up until everybody in it is too late, and all work is for nobody.
"""

from typing import Final

_KEPT: Final = 0.9  # of what was known, with each new frame: about the last ten count
_ENOUGH: Final = 3  # frames before anything is said


class ServiceTimeEstimator:
    """A frame of r rows takes `start` + r * `each` seconds. While only single rows were seen, more are taken to cost nothing:
    the doubt is in the caller's favour.
    """

    __slots__ = ("_count", "_product", "_rows", "_seconds", "_squares", "each", "seen", "start")

    def __init__(self) -> None:
        self.start = self.each = 0.0
        self.seen = 0
        self._count = self._rows = self._seconds = self._squares = self._product = 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """A frame of so many rows was answered so many seconds after its turn had come."""
        self._count = self._count * _KEPT + 1
        self._rows = self._rows * _KEPT + rows
        self._seconds = self._seconds * _KEPT + seconds
        self._squares = self._squares * _KEPT + rows * rows
        self._product = self._product * _KEPT + rows * seconds
        self.seen += 1
        if self.seen >= _ENOUGH:
            self._fit(self._rows / self._count, self._seconds / self._count)

    def _fit(self, rows: float, seconds: float) -> None:
        """A line through what was seen, neither falling nor steeper than through the origin."""
        spread = self._squares / self._count - rows * rows
        if spread > 0.1 * rows * rows:
            slope = (self._product / self._count - rows * seconds) / spread
            self.each = min(max(slope, 0.0), seconds / rows)
        else:  # all about the same size: they tell of no smaller or larger ones
            self.each = seconds / rows if rows > 2 else 0.0
        self.start = seconds - self.each * rows

    def seconds(self, frames: int, rows: int) -> float:
        """For `frames` that have so many rows together, one after the other."""
        return frames * self.start + rows * self.each
