"""One model version in the supervisor: a state machine between what should run and what does.

::

    idle ── start ──► preparing ──► starting ──► live ── stop ──► draining ──► idle
                          │             │  ▲       │
                          ▼             ▼  └ death ┘  (back-off; `quarantine_after` in a row without an answer: quarantined)
                        failed        failed

A task per version takes one step at a time and decides anew after each one. Whatever happens during a step is
therefore only recorded. What a step needs of the rest of the supervisor is behind
`gateway.supervisor.version_host.Host`.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Iterator
from typing import Any, Final

from gateway.ipc.routing_table import LastDeath, State
from gateway.supervisor.reaper import Exit
from gateway.supervisor.replicas import Child, ReplicaSet, StartFailed
from gateway.supervisor.requirements import check_size, needs_of
from gateway.supervisor.version_host import Host, NoRoomNow
from gateway.supervisor.version_state import RESTING, VersionState
from registry.errors import FitserveError
from registry.inference import content_of
from registry.records import ModelVersion
from registry.resources import ResourceConfiguration

log = logging.getLogger("fitserve.supervisor")

QUARANTINE_S: Final = 300.0
_INTERRUPTIBLE: Final = frozenset({"_open", "_fill", "_prove"})  # steps that `stop` cancels
_REPORT_DELAY_S: Final = 0.2  # HTTP processes report which request a child died over shortly after its death
_SOUND_AFTER_S: Final = 60.0  # a child that lived this long was sound, whether or not it had requests


class VersionController(VersionState):
    """See the module's docstring. Not thread-safe: use it in the supervisor's loop only."""

    def __init__(self, record: ModelVersion, host: Host, service: str | None = None) -> None:
        super().__init__(record, service)
        self._host = host
        self._refused: tuple[ResourceConfiguration, str] | None = None  # the change that could not be put in force
        self._wake = asyncio.Event()
        self._settled: list[asyncio.Future[None]] = []
        self._step: asyncio.Task[None] | None = None
        self._trying = False  # a second replica set is starting beside the one that serves
        self._closing = False
        self._loaded_at: float | None = None  # until the routing table with it was published
        self._timer: asyncio.TimerHandle | None = None
        self._driver = asyncio.create_task(self._drive(), name=f"version {self.id}")

    # intents: recorded at once, carried out by the version's task

    def start(self, *, urgent: bool = False) -> None:
        """Bring it to life. `urgent`: a caller waits, or the model is in use."""
        if self.state in RESTING or self.unloaded or self._closing:
            return
        self.urgent = self.urgent or urgent
        if not self.wanted:
            self.wanted = True
            self.crowded_out = False
            self.reason = None
            self._wake.set()

    def stop(self) -> None:
        """Stop it: drain it if it is live, cancel the start if it is starting."""
        self.wanted = self.urgent = False
        self._wake.set()
        if self._step is not None and (self._trying or self._step.get_name() in _INTERRUPTIBLE):
            self._step.cancel()

    def unload(self) -> None:
        """Stop it, and refuse to start it until `load`."""
        self.unloaded = True
        self.stop()
        self._host.changed(self)

    def load(self) -> None:
        """Allow it to be started again."""
        self.unloaded = False
        self._host.changed(self)

    async def live(self) -> bool:
        """Wait until it is live (True), or will not get live (False; `state` and `reason` say why)."""
        while self.wanted and self.state not in {"live", *RESTING}:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settled.append(future)
            await future
        return self.state == "live"

    async def stopped(self) -> None:
        """Wait until none of its processes runs, or it was started again."""
        while (self.replicas is not None or self.state == "draining") and not self.wanted:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settled.append(future)
            await future

    async def close(self) -> None:
        """Stop it for good; returns when none of its processes runs."""
        self._closing = True
        self.stop()
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.wait([self._driver])

    def kill(self) -> None:
        """End everything now."""
        self._closing = True
        self._driver.cancel()
        if self.replicas is not None:
            self.replicas.close()
            self.replicas = None

    def update(self, record: ModelVersion) -> None:
        """Take over the registry's new record of it."""
        before, self.record = self.record, record
        if needs_of(before) != needs_of(record):
            self._refused = None
            if self.state == "live":
                self.reason = None  # it explained the previous request
            self._recover()
        self._host.changed(self)

    def refuse(self, sentence: str) -> None:
        """The registry's record cannot be used: keep serving the live copy; mark anything else failed."""
        self._set_state("live" if self.state == "live" else "failed", sentence)

    def used(self, answers: int = 0) -> None:
        self.answers += answers
        self.last_used = time.monotonic()

    def child_answered(self, child: int) -> bool:
        """Record a child's first answer to a caller, also when its death was reported first. False: not a child of
        this version."""
        if self.replicas is None or child not in self.replicas.children:
            return self.backoff.answered(child)
        self.replicas.children[child].answered = True
        self.backoff.start_anew()
        return True

    def child_lost(self, child: int) -> bool:
        """Record that a child died while it computed a request, also when its death was reported first. False: not a
        child of this version."""
        if self.replicas is None or child not in self.replicas.children:
            return self.backoff.over_request(child)
        self.replicas.children[child].over_request = True
        return True

    def published(self) -> None:
        """Its entry was sent to the HTTP processes."""
        if self._loaded_at is not None:
            self.start_ms["published"] = (time.monotonic() - self._loaded_at) * 1000
            self._loaded_at = None

    # the version's own task

    async def _drive(self) -> None:
        while True:
            step = self._next_step()
            if step is None:
                if self._closing:
                    return
                await self._wake.wait()
                self._wake.clear()
                continue
            self._step = asyncio.create_task(step, name=getattr(step, "__name__", ""))
            try:
                await asyncio.wait([self._step])
            except asyncio.CancelledError:
                self._step.cancel()
                raise
            error = None if self._step.cancelled() else self._step.exception()
            if error is not None:  # a defect of the gateway; only this version is affected
                log.error("%s: unexpected %s", self.id, type(error).__name__, exc_info=error)
                self._fail("an internal error of the gateway; its log has the traceback")
            self._step = None

    def _next_step(self) -> Coroutine[Any, Any, None] | None:
        if self.replicas is not None and (not self.wanted or self.state in RESTING):
            return self._retire()
        if not self.wanted:
            if self.state in {"preparing", "starting"}:
                self._set_state("idle")
            self._wake_waiters()
            return None
        if self.state in RESTING:
            return None
        if self.replicas is None:
            return self._open()
        in_force = self.replicas.limits, self.replicas.wanted_size, self.content
        if self._asked != self._refused and (self.limits, self.size, content_of(self.record)) != in_force:
            return self._change_limits(self.replicas)
        if len(self.replicas.children) < self.replicas.size:
            return self._fill(self.replicas)
        unproved = next((child for child in self.replicas.children.values() if not child.proved), None)
        if unproved is not None:
            return self._prove(self.replicas, unproved)
        return None

    async def _open(self) -> None:
        self._set_state("preparing")
        try:
            check_size(self.id, self.record)
            self.content = content_of(self.record)
            self.replicas = await self._host.open_replicas(self, self.child_died)
        except NoRoomNow as error:
            self.wanted = self.urgent = False
            self.crowded_out = True
            self._set_state("idle", str(error))
        except FitserveError as error:
            self._fail(str(error))
        else:
            self._set_state("starting")

    async def _fill(self, replicas: ReplicaSet) -> None:
        """Start one of the missing children."""
        await asyncio.sleep(self.backoff.pause_s)
        if not replicas.children and self._gives_up:
            await asyncio.sleep(_REPORT_DELAY_S)  # for the report of what the last one died over
            if self._gives_up:
                self._quarantine()
                return
        if not replicas.children:
            replicas.group.set_cpu(None)  # a small CPU quota must not slow the start
        try:
            child = await self._host.start_child(self, replicas)
            if replicas.children or self._host.has_stand_in(self):  # nobody waits for it: prove it before it serves
                await self._host.prove(self, replicas, child)
        except StartFailed as error:
            self._not_started(replicas, error)
        else:
            if replicas.join(child):
                self._loaded(replicas)
            else:
                self._count_death(replicas, replicas.verdict(child.handle.exited.result()))

    async def _prove(self, replicas: ReplicaSet, child: Child) -> None:
        """Do the part of a start that callers need not wait for."""
        await self._host.prove(self, replicas, child)
        self._host.changed(self)

    async def _change_limits(self, replicas: ReplicaSet) -> None:
        """Change limits, number of children or environment without losing a request."""
        moved = (content := content_of(self.record)) != self.content
        if (
            not moved
            and replicas.can_change_limits(self.limits, self.size)
            and await self._change_limits_in_place(replicas)
        ):
            return
        try:
            with self._giving_up_when_stopped():
                new = await self._host.open_replicas(self, self.child_died)
        except NoRoomNow as error:  # old and new do not fit at the same time
            if moved:  # the new environment might give other answers; stopping the old one first could leave nothing
                self._keep_current(str(error))
                return
            log.info("%s: starts again with other limits", self.id)
            await self._retire()
            return
        except FitserveError as error:
            self._keep_current(str(error))
            return
        try:
            with self._giving_up_when_stopped():
                child = await self._host.start_child(self, new)
            if not new.join(child):
                raise StartFailed("died", new.verdict(child.handle.exited.result()).sentence)
        except StartFailed as error:
            await self._host.close_replicas(self, new)
            self._keep_current(str(error))
            return
        except BaseException:  # also a defect of ours must not leave the group and its promised memory behind
            await self._host.close_replicas(self, new)
            raise
        self.replicas, self.content = new, content
        self._loaded(new)
        await self._host.close_replicas(self, replicas)

    @contextlib.contextmanager
    def _giving_up_when_stopped(self) -> Iterator[None]:
        """Let `stop` cancel this: who stops this version to make room may hold the lock that the new replica set waits
        for."""
        self._trying = True
        try:
            yield
        finally:
            self._trying = False

    async def _change_limits_in_place(self, replicas: ReplicaSet) -> bool:
        try:
            await self._host.promise(self, replicas, self.limits)
        except NoRoomNow:
            return False
        replicas.change_limits(self.limits)
        log.info("%s: limits are now %g cores, %g GB", self.id, self.limits.cores, self.limits.memory_in_gb)
        self._host.changed(self)
        return True

    def _keep_current(self, sentence: str) -> None:
        """The requested change failed: keep serving as before, and say so."""
        self._refused = self._asked
        content = "scoring script" if self.record.settings.get("entry_script") else "environment"
        what = "limits" if content_of(self.record) == self.content else content
        log.error("%s: keeps its %s: %s", self.id, what, sentence)
        self._set_state(
            self.state, f"the {what} asked for {'are' if what == 'limits' else 'is'} not in force: {sentence}"
        )

    async def _retire(self) -> None:
        """Take the replica set out of the routing table, then end it once no HTTP process waits for it."""
        replicas, self.replicas = self.replicas, None
        assert replicas is not None
        if self.state not in RESTING:
            self._set_state("draining", self.reason)
        self._host.changed(self)
        await self._host.close_replicas(self, replicas)
        if self.state not in RESTING:
            self._set_state("starting" if self.wanted else "idle", self.reason)

    # what happens to children

    def child_died(self, replicas: ReplicaSet, child: Child, end: Exit) -> None:
        """A serving child has ended: `ReplicaSet`'s `on_death`."""
        death = replicas.verdict(end, child)
        log.warning("%s: child %d died: %s", self.id, child.pid, death.sentence)
        if replicas is not self.replicas:
            return
        if not replicas.children and (self._step is None or self._step.get_name() != "_fill"):
            replicas.kill()  # also what the child started; no other child is starting in this group
        steady = time.monotonic() - child.since > _SOUND_AFTER_S
        self._count_death(replicas, death, sound=child.answered or steady, child=child)
        self._wake.set()

    def _not_started(self, replicas: ReplicaSet, error: StartFailed) -> None:
        log.error("%s: not started: %s", self.id, error)
        if error.kind == "memory" and replicas.children:
            replicas.size = len(replicas.children)
            self.notes.append(f"{replicas.size} processes fit into the memory limit, not {replicas.wanted_size}")
        elif error.kind == "memory" and not self.backoff.while_loading:
            self.backoff.while_loading += 1
            self._count_death(replicas, error.death)
        elif error.kind in {"died", "machine"} or replicas.children:
            self._count_death(replicas, error.death)
        else:
            self._fail(str(error))

    def _count_death(
        self, replicas: ReplicaSet, death: LastDeath | None, *, sound: bool = False, child: Child | None = None
    ) -> None:
        self.backoff.note(death, sound=sound, child=None if child is None else child.id)
        if child is not None and child.over_request:
            self.backoff.over_request(child.id)
        if replicas.children:
            self._host.changed(self)
        else:
            self._set_state("starting")

    @property
    def _gives_up(self) -> bool:
        return self.backoff.against(proven=self.proven) >= self._host.settings.quarantine_after

    def _quarantine(self) -> None:
        count, death = self.backoff.in_a_row, self.backoff.last
        last = f", the last by {death.cause}" if death is not None else ""
        self._set_state("quarantined", f"{count} deaths in a row without an answer{last}; its log has the last lines")
        log.error("%s: quarantined after %d deaths", self.id, count)
        self._timer = asyncio.get_running_loop().call_later(QUARANTINE_S, self._try_again)

    def _try_again(self) -> None:
        """Make one attempt after the pause in quarantine."""
        before = self.backoff.in_a_row
        self._recover()
        self.backoff.in_a_row = before - 1

    def _recover(self) -> None:
        """Something changed that may have removed the cause: allow starts again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.backoff.start_anew()
        if self.state in RESTING:
            self._set_state("idle")
        self._wake.set()

    def _loaded(self, replicas: ReplicaSet) -> None:
        """A child joined the replica set."""
        if len(replicas.children) >= replicas.size:
            self.backoff.last = None
        if self.state != "live":
            self._loaded_at = time.monotonic()
        self.was_live = True
        self.urgent = False
        self.live_since = time.monotonic()
        self._set_state("live")

    def _fail(self, sentence: str) -> None:
        log.error("%s: failed: %s", self.id, sentence)
        self._set_state("failed", sentence)
        if self.was_live:  # it has answered before: the cause, such as a missing disk, may pass
            self._timer = asyncio.get_running_loop().call_later(QUARANTINE_S, self._recover)

    def _set_state(self, state: State, reason: str | None = None) -> None:
        if state != self.state:
            log.info("%s: %s", self.id, state)
        self.state, self.reason = state, reason
        self._wake_waiters()
        self._host.changed(self)

    def _wake_waiters(self) -> None:
        """Have `live` and `stopped` check again."""
        settled, self._settled = self._settled, []
        for future in settled:
            if not future.done():
                future.set_result(None)

    @property
    def _asked(self) -> tuple[ResourceConfiguration, str]:
        return self.limits, content_of(self.record)
