"""Admission control: memory limits are promises, so their sum must stay below the machine's memory.

Pure bookkeeping in bytes; it starts and stops nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from registry.errors import DoesNotFit
from registry.resources import GB


@dataclass(frozen=True)
class Candidate:
    """A group that could be stopped to make room. It has `promised` bytes and was last used at `last_used`."""

    key: str
    promised: int
    last_used: float


class Admission:
    """Promised bytes by key (a group's name).

    Args:
        machine_bytes: memory of the machine, or of the container.
        reserve_bytes: the part that is never promised. At most half of the machine is kept back.
    """

    def __init__(self, machine_bytes: int, reserve_bytes: int) -> None:
        self.machine = machine_bytes
        self.total = machine_bytes - min(reserve_bytes, machine_bytes // 2)
        self._promised: dict[str, int] = {}

    @property
    def promised(self) -> int:
        return sum(self._promised.values())

    @property
    def free(self) -> int:
        return self.total - self.promised

    def check(self, what: str, asked: int) -> None:
        """
        Raises:
            DoesNotFit: `asked` is more than can ever be promised.
        """
        if asked > self.total:
            raise DoesNotFit(what, asked / GB, self.free / GB, self.total / GB)

    def promise(self, key: str, what: str, asked: int) -> None:
        """Take `asked` bytes for `key`, in place of what it may have now.

        Raises:
            DoesNotFit: the sum would be more than there is; nothing is changed.
        """
        if asked - self._promised.get(key, 0) > self.free:
            raise DoesNotFit(what, asked / GB, self.free / GB, self.total / GB)
        self._promised[key] = asked

    def release(self, key: str) -> None:
        """Release what was promised to `key`, if anything."""
        self._promised.pop(key, None)

    def room_for(self, asked: int, candidates: Iterable[Candidate]) -> list[Candidate] | None:
        """The least recently used candidates whose end makes `asked` bytes fit. None: not even the end of all would."""
        chosen: list[Candidate] = []
        free = self.free
        for candidate in sorted(candidates, key=lambda c: c.last_used):
            if free >= asked:
                break
            chosen.append(candidate)
            free += candidate.promised
        return chosen if free >= asked else None
