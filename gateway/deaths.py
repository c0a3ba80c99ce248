"""Deaths of a version's children: how many in a row, how long to wait before the next start, when to stop trying."""

from collections import Counter
from typing import Final

from gateway.table import LastDeath

_LONGEST_PAUSE_S: Final = 10.0
_REMEMBERED: Final = 16  # dead children whose first answer may still be told


class Deaths:
    """Counts those without an answer since the child's start; an answer to any caller starts the count anew."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self.while_loading = 0  # by memory, in a row
        self.by_cause: Counter[str] = Counter()
        self.last: LastDeath | None = None
        self._children: dict[int, None] = {}

    @property
    def pause_s(self) -> float:
        """0 after the first, then 0.1 s, doubling to 10 s."""
        return 0.0 if self.in_a_row < 2 else min(_LONGEST_PAUSE_S, 0.1 * 2 ** (self.in_a_row - 2))

    def note(self, death: LastDeath | None, *, sound: bool) -> None:
        """One more. `sound`: the child had answered, or had lived for long."""
        self.in_a_row = 0 if sound else self.in_a_row + 1
        if death is not None:
            self.last = death
            self.by_cause[death.cause] += 1

    def remember(self, child: int) -> None:
        """The news of its first answer may come after that of its death."""
        self._children = dict.fromkeys([*list(self._children)[1 - _REMEMBERED :], child])

    def answered(self, child: int) -> bool:
        """A dead child had answered. False: not one of these."""
        if child not in self._children:
            return False
        self.start_anew()
        return True

    def start_anew(self) -> None:
        """An answer was given, or something changed that may mend it."""
        self.in_a_row = self.while_loading = 0
