"""Restart back-off: deaths of a version's children in a row, the pause before the next start, and when to stop trying.

A child may die because of the one request that it computes. So if a version is known to answer others, such deaths
only delay the next start a little, and never lead to quarantine.
"""

from collections import Counter
from typing import Final

from gateway.ipc.routing_table import LastDeath

_LONGEST_PAUSE_S: Final = 10.0
_LONGEST_PAUSE_OVER_REQUESTS_S: Final = 1.0
_REMEMBERED: Final = 16  # dead children about which reports may still come


class RestartBackoff:
    """Counts deaths of children that had answered no caller; an answer to any caller resets the count."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self.over_requests = 0  # of those in a row: a request was being computed
        self.while_loading = 0  # by memory, in a row
        self.by_cause: Counter[str] = Counter()
        self.last: LastDeath | None = None
        self._children: dict[int, bool] = {}  # dead ones: whether theirs was over a request

    @property
    def pause_s(self) -> float:
        """0 after the first death, then 0.1 s, doubling up to 10 s; up to 1 s if only requests are the cause."""
        if self.in_a_row < 2:
            return 0.0
        unasked = self.in_a_row - self.over_requests
        longest = _LONGEST_PAUSE_S if unasked > 1 else _LONGEST_PAUSE_OVER_REQUESTS_S
        return min(longest, 0.1 * 2.0 ** min(self.in_a_row - 2, 10))

    def against(self, *, proven: bool) -> int:
        """Deaths in a row that count against the version. `proven`: it is known to answer, so requests may be the
        cause."""
        return self.in_a_row - self.over_requests if proven else self.in_a_row

    def note(self, death: LastDeath | None, *, sound: bool = False, child: int | None = None) -> None:
        """One more.

        Args:
            sound: the child had answered, or had lived for long.
            child: the number of a child that served; reports about it may come later.
        """
        if sound:
            self.start_anew()
        else:
            self.in_a_row += 1
            if child is not None:
                self._children = {**dict(list(self._children.items())[1 - _REMEMBERED :]), child: False}
        if death is not None:
            self.last = death
            self.by_cause[death.cause] += 1

    def answered(self, child: int) -> bool:
        """A late report: a dead child had answered. False: the child is not known here."""
        if child not in self._children:
            return False
        self.start_anew()
        return True

    def over_request(self, child: int) -> bool:
        """A late report: a dead child had been computing a request. False: the child is not known here."""
        if self._children.get(child) is not False:
            return False
        self._children[child] = True
        self.over_requests += 1
        return True

    def start_anew(self) -> None:
        """Reset: an answer was given, or something changed that may have removed the cause."""
        self.in_a_row = self.over_requests = self.while_loading = 0
        self._children.clear()
