"""Footprint: how much memory a group of processes has to itself, measured as rarely as is safe.

The fair share of a process that was forked from a nursery takes milliseconds to find out (the kernel walks its page
tables), its resident size takes microseconds. The share can grow only by pages that become resident or by pages that
are copied, and each copy is a page fault; so the last exact figure and these two cheap numbers give an upper bound,
and only a bound above the limit asks for a new exact figure.

Files are not counted: they are page cache, and the kernel takes them back when it wants to.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from registry.limits import proc

_REPORT_S: Final = 1.0


class Footprint:
    """One group's memory.

    Attributes:
        bytes: what the group has now, an estimate between exact figures.
        peak: the largest value seen.
        inherited: by pid, what it had when it was added; used only where the kernel tells no fair shares.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.peak = 0
        self.inherited: dict[int, int] = {}
        self._exact: int | None = None
        self._resident = 0  # these three: at the time of the last exact figure
        self._faults = 0
        self._at = 0.0

    def update(self, faults: Mapping[int, int], limit: int, now: float, *, swapping: bool = False) -> bool:
        """Take a sample; True when the group is over `limit` for certain.

        Args:
            faults: page faults so far of each living member, by pid.
            limit: in bytes.
            now: monotonic seconds.
            swapping: whether this machine has pages in swap; then resident memory is no upper bound.
        """
        members = list(faults)
        resident, faulted = sum(map(proc.resident_bytes, members)), sum(faults.values())
        grown = max(0, resident - self._resident)
        if self._exact is None:
            bound, estimate = resident, resident
        else:
            bound = self._exact + grown + max(0, faulted - self._faults) * proc.PAGE
            estimate = max(0, self._exact + resident - self._resident)
        if not swapping:
            bound = min(bound, resident)
        over = bound > limit and sum(map(proc.unshared_bytes, members)) > limit
        stale = self._exact is None or (now - self._at > _REPORT_S and abs(estimate - self._exact) > limit // 20)
        if over or stale:
            estimate = self._measure(members, resident, faulted, now)
        self.bytes = estimate
        self.peak = max(self.peak, estimate)
        return estimate > limit and over

    def _measure(self, members: Sequence[int], resident: int, faulted: int, now: float) -> int:
        total = 0
        for pid in members:
            share = proc.proportional_bytes(pid)
            total += share if share is not None else self._unshared(pid)
        self._exact, self._resident, self._faults, self._at = total, resident, faulted, now
        return total

    def _unshared(self, pid: int) -> int:
        return max(0, proc.unshared_bytes(pid) - self.inherited.get(pid, 0))
