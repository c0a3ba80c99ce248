"""Waiting requests: what is known of each, how many may wait, and which ones share the next frame. Knows no
children."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import QueueFull
from gateway.types import ScoreRequest, ScoreResult


class ClientGone(Exception):
    """The client disconnected before its rows were sent."""


class Moved(Exception):
    """The version lost its children before the rows were sent, and another version answers now: send it there."""


class Receiver(Protocol):
    """The part of `asyncio.Future` that a request's answer needs."""

    def done(self) -> bool: ...

    def set_result(self, result: ScoreResult, /) -> None: ...

    def set_exception(self, error: BaseException, /) -> None: ...


class Source(Protocol):
    """Where a request came from."""

    disconnected: bool


class Pending:
    """An accepted request on its way. `deadline` in the loop's time; `key` decides who may share a frame with it."""

    __slots__ = ("answer", "deadline", "deaths", "key", "movable", "request", "source", "timeout_ms")

    def __init__(
        self,
        request: ScoreRequest,
        answer: Receiver,
        deadline: float,
        timeout_ms: float,
        source: Source | None = None,
        movable: bool = True,
    ) -> None:
        self.request, self.answer, self.deadline, self.timeout_ms = request, answer, deadline, timeout_ms
        self.source, self.movable = source, movable
        self.key: Hashable = self if request.key is None else request.key
        self.deaths = 0

    @property
    def alone(self) -> bool:
        return self.key is self

    def isolate(self) -> None:
        """Do not let it share a frame from now on."""
        self.key = self

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(slots=True)
class Load:
    """How much waits for one model, all its versions together, and how much may."""

    max_requests: int
    max_bytes: int
    requests: int = 0
    nbytes: int = 0

    def check(self, model: str, nbytes: int) -> None:
        """Raises QueueFull. A request larger than the bound still passes when nothing else waits."""
        if self.requests >= self.max_requests:
            raise QueueFull(model, self.requests, self.max_requests)
        if self.nbytes and self.nbytes + nbytes > self.max_bytes:
            raise QueueFull(model, self.nbytes, self.max_bytes, "bytes")

    def add(self, nbytes: int) -> None:
        self.requests += 1
        self.nbytes += nbytes

    def remove(self, nbytes: int) -> None:
        self.requests -= 1
        self.nbytes -= nbytes


class KeyedQueues:
    """Waiting requests: one queue per key, served in turn, so that a busy key does not starve the others."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._lines: dict[Hashable, deque[Pending]] = {}
        self.turn: deque[Hashable] = deque()
        self.rows = 0  # of all that wait here

    def __iter__(self) -> Iterator[Pending]:
        return (pending for line in self._lines.values() for pending in line)

    def add(self, pending: Pending) -> None:
        line = self._lines.get(pending.key)
        if line is None:
            self._lines[pending.key] = line = deque()
            self.turn.append(pending.key)
        line.append(pending)
        self.rows += pending.request.n_rows
        self._load.add(pending.request.nbytes)

    def put_back(self, batch: Iterable[Pending]) -> None:
        """Put requests that were taken back at the front, in their order."""
        for pending in reversed(list(batch)):
            if pending.answer.done():
                continue
            line = self._lines.get(pending.key)
            if line is None:
                self._lines[pending.key] = line = deque()
                self.turn.appendleft(pending.key)
            line.appendleft(pending)
            self.rows += pending.request.n_rows
            self._load.add(pending.request.nbytes)

    def take(self, rows: int, nbytes: int) -> tuple[list[Pending], int]:
        """The next frame: requests of one key, up to the limits, at least one; and the sum of their rows."""
        while self.turn:
            key = self.turn.popleft()
            line = self._lines[key]
            batch, total = self._take_from(line, rows, nbytes)
            if line:
                self.turn.append(key)
            else:
                del self._lines[key]
            if batch:
                return batch, total
        return [], 0

    def _take_from(self, line: deque[Pending], rows: int, nbytes: int) -> tuple[list[Pending], int]:
        batch: list[Pending] = []
        total = size = 0
        load = self._load
        while line:
            pending = line[0]
            request = pending.request
            if batch and (total + request.n_rows > rows or size + request.nbytes > nbytes):
                break
            line.popleft()
            self.rows -= request.n_rows
            load.requests -= 1
            load.nbytes -= request.nbytes
            if pending.answer.done():
                continue
            if pending.source is not None and pending.source.disconnected:
                pending.answer.set_exception(ClientGone())
                continue
            batch.append(pending)
            total += request.n_rows
            size += request.nbytes
        return batch, total

    def clear(self, keep: Callable[[Pending], bool]) -> None:
        """Drop all for which `keep` is false; `keep` resolves their futures."""
        waiting = list(self)
        self._lines, self.turn, self.rows = {}, deque(), 0
        for pending in waiting:
            self._load.remove(pending.request.nbytes)
        for pending in waiting:
            if keep(pending):
                self.add(pending)
