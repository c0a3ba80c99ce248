"""Footprint: how much memory a group of processes has to itself, measured as rarely as is safe.

What a process has to itself after it was forked from a nursery takes milliseconds to find out (the kernel walks its
page tables); what it has at all takes microseconds. The former can grow only by new pages or by pages that are copied,
and each copy is a page fault; so the last exact figure and these two cheap numbers give an upper bound, and only a
bound above the limit asks for a new exact figure.

Files are not counted: they are page cache, and the kernel takes them back when it wants to. Nor is what a process
inherited and still shares: a control group would not charge for it either.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from registry.limits import proc

_REPORT_S: Final = 1.0
_TRUST_S: Final = 0.5


class Footprint:
    """One group's memory.

    Attributes:
        bytes: what the group has now, an estimate between exact figures.
        peak: the largest value seen.
        inherited: by pid, what each process had when it was added; processes that these started are not in it.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.peak = 0
        self.inherited: dict[int, int] = {}
        self._exact: int | None = None
        self._there = 0  # these three: at the time of the last exact figure
        self._faults: Mapping[int, int] = {}
        self._at = 0.0
        self._foreign = 0  # the fair part of what is shared with processes outside

    def update(self, faults: Mapping[int, int], limit: int, now: float) -> bool:
        """Take a sample; True when the group is over `limit` for certain.

        Args:
            faults: page faults so far of each living member, by pid.
            limit: in bytes.
            now: monotonic seconds.
        """
        members = list(faults)
        there = sum(map(proc.memory_bytes, members))
        if self._exact is None:
            bound = estimate = there
        else:
            copied = sum(number - self._faults.get(pid, 0) for pid, number in faults.items())
            bound = self._exact + max(0, there - self._there) + copied * proc.PAGE
            estimate = max(0, self._exact + there - self._there)
        age = now - self._at
        over = min(bound, there) > limit
        # One fault may bring many pages (huge ones), so where it decides the bound is not believed for long.
        doubtful = there > limit and age > _TRUST_S
        stale = self._exact is None or (age > _REPORT_S and abs(estimate - self._exact) > limit // 20)
        exact = over or doubtful or stale
        if exact:
            estimate = self._measure(members, there, faults, now)
        self.bytes = estimate
        self.peak = max(self.peak, estimate)
        return exact and estimate > limit

    def _measure(self, members: Sequence[int], there: int, faults: Mapping[int, int], now: float) -> int:
        shares = {pid: proc.share(pid) for pid in members}
        total = sum(share.fair if share else self._unshared(pid) for pid, share in shares.items())
        # Processes that were added share with their nursery only; what they fork shares with them, and counts.
        if self.inherited.keys() >= set(members):
            self._foreign = sum(share.fair - share.own for share in shares.values() if share)
        total = max(0, total - self._foreign)
        self._exact, self._there, self._faults, self._at = total, there, faults, now
        return total

    def _unshared(self, pid: int) -> int:
        return max(0, proc.memory_bytes(pid) - self.inherited.get(pid, 0))
