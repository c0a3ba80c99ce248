"""Frames: requests that travel to a worker together, and what a worker's connection does with them."""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from gateway.dataplane.collate import ReadyInputs
from gateway.dataplane.request_queue import Pending


class Frame:
    """Requests that travel together. `rows` is their sum; `sent_at` in the loop's time."""

    __slots__ = ("batch", "id", "rows", "sent_at", "stuck")

    def __init__(self, number: int, batch: list[Pending], rows: int, sent_at: float) -> None:
        self.id, self.batch, self.rows, self.sent_at = number, batch, rows, sent_at
        self.stuck = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error reply from a worker. `kind`: input, model, memory or method, as the worker says (see
    gateway.worker.scoring); large: the answer exceeds the size limit."""

    kind: str
    type: str
    message: str


class Link(Protocol):
    """A connection to one scoring child. `frames` are outstanding, the oldest first."""

    id: int
    frames: deque[Frame]

    @property
    def computed(self) -> int | None:
        """Id of the frame that the child began last, from any connection; also after its death. None: it cannot be
        read."""

    def send(self, frame: Frame, method: str, inputs: ReadyInputs, checked: bool) -> None: ...

    def close(self) -> None: ...
