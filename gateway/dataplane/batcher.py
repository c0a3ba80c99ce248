"""Adaptive batching: requests wait, travel in frames, and their answers go back to their callers. Knows no HTTP, JSON
or sockets.

There is one `VersionQueue` per model version, and no timer: requests that arrive while a child computes share its next
frame, a child has at most two frames outstanding, and a request that finds a child idle is sent at once. Each request
has a future that is resolved once, whatever happens to the other requests of its frame:

- requests whose client is gone or whose deadline has passed are dropped when a frame is formed;
- when a child refuses a frame, its requests are sent again one by one, so that only the faulty one fails;
- when a child dies, the requests of the frame that it computed are sent again alone, at most `MAX_DEATHS` times. A
  lone request that exceeded the memory limit fails at once. The child records the frame's number in shared memory
  (`Link.computed`), since other HTTP processes use it too.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.dataplane.batch_policy import BatchPolicy
from gateway.dataplane.collate import join, settle_alone, splits
from gateway.dataplane.counters import FrameCounters
from gateway.dataplane.frame import Frame, Link, Refusal
from gateway.dataplane.latency import ServiceTimeEstimator
from gateway.dataplane.request_queue import KeyedQueues, Load, Pending
from gateway.errors import (
    BoundlessAnswer,
    DeadlineExceeded,
    InputRejected,
    MemoryLimitExceeded,
    ModelDied,
    ModelFailed,
    NotInTime,
    UnknownMethod,
    redact_paths,
)
from gateway.ipc.routing_table import VersionEntry
from gateway.types import FrameResult, ScoreResult
from registry.errors import FitserveError

log = logging.getLogger("fitserve.http")

MAX_FRAMES: Final = 2
MAX_DEATHS: Final = 3
DEADLINE_SHARE: Final = 0.8  # of a deadline; a request that is expected to take longer is refused
CHECK_FROM: Final = (
    16  # outstanding requests from which that is checked; behind fewer, a short deadline may still be met
)
CAUSE_WAIT_S: Final = 3.0  # how long a lone request waits for the supervisor to report what its child died of


@dataclass(slots=True)
class Suspended:
    """A lone request whose child died over it. It waits until the time `until` for the supervisor to report the cause.

    `otherwise`: the error if the cause was not memory; None: send it again, if it may be sent again.
    """

    pending: Pending
    child: int
    until: float
    otherwise: FitserveError | None = None


class QueueHost(Protocol):
    """What a queue needs of the process it lives in."""

    loop: asyncio.AbstractEventLoop

    def wake(self, queue: "VersionQueue") -> None:
        """Call `queue.tick` every few milliseconds from now on, until it gives False."""

    def stuck(self, child: int) -> None: ...

    def released(self) -> None:
        """A retired child is no longer in use."""


class VersionQueue:
    """The requests that wait for one version, and the connections to its children.

    Requests enter by `submit`. The owner connects and retires links, and passes on their events (`answered`, `lost`).
    """

    def __init__(self, entry: VersionEntry, policy: BatchPolicy, load: Load, host: QueueHost) -> None:
        self.entry, self.policy, self.load = entry, policy, load
        self._host = host
        self._loop = host.loop
        self.links: list[Link] = []
        self.retired: list[Link] = []
        self._queues = KeyedQueues(load)
        self._suspended: list[Suspended] = []
        self._leaving: set[int] = set()  # children that end themselves; their last frame was answered
        self._unbatchable = set(policy.alone)
        self._flush_due = False
        self._awake = False
        self._last_batch = 0
        self._next_deadline = float("inf")
        self._next_id = secrets.randbits(48)  # two processes should never give a child frames with the same id
        self.answers = 0  # successful requests since the start
        self.frames = 0
        self.counters = FrameCounters()
        self._service_time = ServiceTimeEstimator()

    # requests

    def submit(self, pending: Pending) -> None:
        """Accept a request; its future is resolved later, or before this returns.

        Raises:
            QueueFull: too much waits for this model already.
            NotInTime: the answer is expected after the deadline.
        """
        if self.load.requests or self.load.nbytes:
            self.load.check(self.entry.name, pending.request.nbytes)
            self._check_time(pending)
        self._next_deadline = min(self._next_deadline, pending.deadline)
        if not self._awake:
            self._awake = True
            self._host.wake(self)
        if not self.policy.batching or pending.request.method in self._unbatchable:
            pending.isolate()
        if self._last_batch <= 1 and not self._queues.turn:
            link = self._free_link()
            if link is not None and not link.frames:
                self._send(link, [pending], pending.request.n_rows)
                return
        self._queues.add(pending)
        if not self._flush_due:
            self._flush_soon()

    def _check_time(self, pending: Pending) -> None:
        frames, rows = len(self._queues.turn) + 1, self._queues.rows + pending.request.n_rows
        requests = self.load.requests
        for link in self.links:
            for frame in link.frames:
                frames += 1
                rows += frame.rows
                requests += len(frame.batch)
        if not self.links or requests < CHECK_FROM:
            return  # how long a start takes is not known
        wait_s = self._service_time.seconds(frames, rows) / len(self.links)
        if wait_s * 1000 > DEADLINE_SHARE * pending.timeout_ms:
            raise NotInTime(self.entry.name, wait_s, pending.timeout_ms)

    @property
    def waiting(self) -> bool:
        return bool(self._queues.turn or self._suspended)

    def _flush_soon(self) -> None:
        # At the end of the loop's turn, so that other requests of this turn share the frame.
        self._flush_due = True
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        queues, policy = self._queues, self.policy
        while queues.turn:
            link = self._free_link()
            if link is None:
                return
            batch, rows = queues.take(policy.rows, policy.nbytes)
            if batch:
                self._send(link, batch, rows)
        self._release_retired()

    def _free_link(self) -> Link | None:
        """The child with the fewest outstanding frames, if it may take one more. Retired ones only finish waiting
        requests."""
        best, fewest = None, MAX_FRAMES
        for link in self.links or self.retired:
            if len(link.frames) < fewest:
                best, fewest = link, len(link.frames)
        return best

    def _send(self, link: Link, batch: list[Pending], rows: int) -> None:
        try:
            self._form(link, batch, rows)
        except Exception as error:  # they have left the queue: nothing else would resolve their futures
            log.exception("a frame of %s could not be formed", self.entry.name)
            for pending in batch:
                pending.fail(error)

    def _form(self, link: Link, batch: list[Pending], rows: int) -> None:
        self._last_batch = len(batch)
        request = batch[0].request
        try:
            inputs = join([pending.request for pending in batch])
        except FitserveError as error:  # raised for lone requests only
            batch[0].fail(error)
            return
        if inputs is None:
            self._queues.put_back(pending for pending in batch if self._stands_alone(pending))
            self._flush_soon()
            return
        now = self._loop.time()
        frame = Frame(self._next_id, batch, rows, now)
        self._next_id += 1
        self.frames += 1
        link.send(frame, request.method, inputs, request.checked)
        oldest = batch[0]  # counted after sending, to keep it off the critical path
        self.counters.batch.add(len(batch))
        self.counters.wait.add(max(0.0, now - oldest.deadline + oldest.timeout_ms / 1000))

    def _stands_alone(self, pending: Pending) -> bool:
        """Make an array of this request's rows, so that it shares frames only with arrays of the same type and
        width."""
        try:
            settle_alone(pending.request)
        except FitserveError as error:
            pending.fail(error)
            return False
        if not pending.alone:
            pending.key = pending.request.key or pending
        return True

    # events of the connections

    def answered(self, link: Link, frame: Frame, answer: FrameResult | Refusal) -> None:
        """`frame` was answered; it is no longer in ``link.frames``."""
        if isinstance(answer, FrameResult):
            self._deliver(frame, answer)
            self.counters.compute.add(answer.exec_ns / 1e9)
            self._service_time.learn(frame.rows, self._loop.time() - frame.sent_at)
        else:
            self._refused(link, frame, answer)
        if link.frames:
            link.frames[0].sent_at = self._loop.time()  # its turn starts now
        if self._queues.turn:
            self._flush()
        else:
            self._release_retired()

    def _deliver(self, frame: Frame, result: FrameResult) -> None:
        batch = frame.batch
        if len(batch) == 1:
            self.answers += 1
            if not batch[0].answer.done():
                batch[0].answer.set_result(ScoreResult(result, 0, -1))
            return
        uneven = batch[0].request.method == "decision_path" and isinstance(
            result.output, tuple
        )  # the second part holds tree offsets
        if uneven or not splits(result.output, frame.rows):
            self._unbatchable.add(batch[0].request.method)
            self._retry_alone(batch)
            return
        self.answers += len(batch)
        start = 0
        for pending in batch:
            stop = start + pending.request.n_rows
            if not pending.answer.done():
                pending.answer.set_result(ScoreResult(result, start, stop))
            start = stop

    def _retry_alone(self, batch: Collection[Pending]) -> None:
        for pending in batch:
            pending.isolate()
        self._queues.put_back(batch)

    def _refused(self, link: Link, frame: Frame, refusal: Refusal) -> None:
        if refusal.kind in {"memory", "large"}:  # the child ends itself, or its connection is dropped
            self._leaving.add(link.id)
            self.links = [other for other in self.links if other is not link]
        if len(frame.batch) > 1:
            self._retry_alone(frame.batch)
        elif refusal.kind == "memory":
            error = MemoryLimitExceeded(self.entry.name, self.entry.memory_in_gb)  # the supervisor knows the peak
            self._suspended.append(Suspended(frame.batch[0], link.id, self._loop.time() + CAUSE_WAIT_S / 4, error))
        else:
            frame.batch[0].fail(self._error_of(refusal))

    def _error_of(self, refusal: Refusal) -> FitserveError:
        if refusal.kind == "input":
            return InputRejected(redact_paths(refusal.message), refusal.type)
        if refusal.kind == "large":
            return BoundlessAnswer(self.entry.name, int(refusal.message))
        if refusal.kind == "method":
            return UnknownMethod(refusal.message, (self.entry.description or {}).get("methods", ()))
        return ModelFailed(self.entry.name)

    def asked(self, link: Link, frames: Sequence[Frame]) -> bool:
        """Whether a child lost with these `frames` outstanding was computing one, or had run out of memory over a
        request."""
        return link.id in self._leaving or self._begun(link, frames) is not None

    def lost(self, link: Link, frames: Sequence[Frame]) -> None:
        """The connection broke; `frames` were outstanding, the oldest first."""
        self.links = [other for other in self.links if other is not link]
        self.retired = [other for other in self.retired if other is not link]
        begun = self._begun(link, frames)
        self._leaving.discard(link.id)
        for frame in reversed(frames):
            if frame is not begun:  # it cannot be the cause
                self._queues.put_back(frame.batch)
        if begun is not None:
            self._isolate_suspects(link.id, begun)
        if self._queues.turn:
            self._flush()

    def _begun(self, link: Link, frames: Sequence[Frame]) -> Frame | None:
        """Which of these `frames` a lost child may have died over."""
        if link.id in self._leaving or not frames:
            return None
        number = link.computed
        if number is None:
            return frames[0]
        return next((frame for frame in frames if frame.id == number), None)

    def _isolate_suspects(self, child: int, frame: Frame) -> None:
        """The child died over this frame: from now on send its requests alone."""
        lone = len(frame.batch) == 1
        for pending in frame.batch:
            pending.deaths += 1
            pending.isolate()
        if lone and not frame.batch[0].answer.done():
            last = ModelDied(self.entry.name) if frame.batch[0].request.once else None
            self._suspended.append(Suspended(frame.batch[0], child, self._loop.time() + CAUSE_WAIT_S, last))
            self._resolve_suspended(None)
        else:
            self._queues.put_back(frame.batch)

    def _resolve_suspended(self, now: float | None) -> None:
        """Decide about lone requests whose child died, once the supervisor reports the cause or the wait is over."""
        entry, suspended = self.entry, self._suspended
        alive = {child.id for child in entry.children}
        self._suspended = []
        for item in suspended:
            pending = item.pending
            death = None if item.child in alive else entry.last_death
            if death is not None and death.cause == "memory":
                limit = death.limit_gb or entry.memory_in_gb
                pending.fail(MemoryLimitExceeded(entry.name, limit, death.peak_gb))
            elif item.otherwise is None and pending.deaths >= MAX_DEATHS:
                pending.fail(ModelDied(entry.name))
            elif death is not None or (now is not None and now >= item.until):
                if item.otherwise is None:
                    self._queues.put_back([pending])
                else:
                    pending.fail(item.otherwise)
            else:
                self._suspended.append(item)
        if self._queues.turn and not self._flush_due:
            self._flush_soon()

    # calls of the owner

    def connected(self, link: Link) -> None:
        self.links.append(link)
        self._flush()

    def retire(self, link: Link) -> None:
        """Send no new requests there, except those bound to this version."""
        self.links = [other for other in self.links if other is not link]
        self.retired.append(link)
        self._release_retired()

    def update(self, entry: VersionEntry, policy: BatchPolicy) -> None:
        self.entry, self.policy = entry, policy
        self._unbatchable = set(policy.alone)
        if self._suspended:
            self._resolve_suspended(None)

    def refuse(self, error: Callable[[Pending], BaseException | None]) -> None:
        """Fail waiting requests with what `error` gives for each; None keeps one waiting. Suspended requests that must
        not be sent again fail with their own error."""

        def keep(pending: Pending) -> bool:
            reason = error(pending)
            if reason is not None:
                pending.fail(reason)
            return reason is None

        self._queues.clear(keep)
        suspended, self._suspended = self._suspended, []
        for item in suspended:
            reason = error(item.pending)
            if reason is None:
                self._suspended.append(item)
            else:
                item.pending.fail(item.otherwise or reason)

    def busy(self) -> list[int]:
        """Retired children that are still in use here."""
        if self.waiting and not self.links:
            return [link.id for link in self.retired]
        return [link.id for link in self.retired if link.frames]

    def _release_retired(self) -> None:
        if not self.retired or (self.waiting and not self.links):
            return
        idle = [link for link in self.retired if not link.frames]
        if idle:
            self.retired = [link for link in self.retired if link.frames]
            for link in idle:
                link.close()
            self._host.released()

    # time

    def tick(self, now: float) -> bool:
        """Expire requests past their deadline, and detect stuck children. False: nothing is outstanding or waiting."""
        if now >= self._next_deadline:
            self._expire(now)
        if self._suspended:
            self._resolve_suspended(now)
        outstanding = False
        for link in [*self.links, *self.retired]:
            if link.frames:
                outstanding = True
                frame = link.frames[0]
                if not frame.stuck and now - frame.sent_at > self.policy.max_compute_s:
                    self._stuck(link, frame)
        self._awake = outstanding or self.waiting
        return self._awake

    def _stuck(self, link: Link, frame: Frame) -> None:
        frame.stuck = True
        if len(frame.batch) == 1:
            frame.batch[0].fail(DeadlineExceeded(self.policy.max_compute_s * 1000))
        self._host.stuck(link.id)

    def _expire(self, now: float) -> None:
        soonest = float("inf")

        def keep(pending: Pending) -> bool:
            nonlocal soonest
            if pending.answer.done():
                return False
            if pending.deadline <= now:
                pending.answer.set_exception(DeadlineExceeded(pending.timeout_ms))
                return False
            soonest = min(soonest, pending.deadline)
            return True

        if any(pending.deadline <= now for pending in self._queues):
            self._queues.clear(keep)
        for pending in self._queues:
            soonest = min(soonest, pending.deadline)
        self._suspended = [item for item in self._suspended if keep(item.pending)]
        for link in [*self.links, *self.retired]:
            for frame in link.frames:
                for pending in frame.batch:
                    keep(pending)
        self._next_deadline = soonest
