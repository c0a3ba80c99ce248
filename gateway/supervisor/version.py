"""One model version in the supervisor: what should be, what is, and the next step from the one to the other.

::

    idle ── start ──► preparing ──► starting ──► live ── stop ──► draining ──► idle
                          │             │  ▲       │
                          ▼             ▼  └ death ┘  (back-off; `quarantine_after` in a row without an answer: quarantined)
                        failed        failed

A version's own task takes one step after the other and looks again after each, so that whatever happens in the meantime only
has to be noted. What a step needs of the machine is behind `Host`.
"""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from gateway.ipc.routing_table import OF_SERVICE, LastDeath, State, VersionEntry
from gateway.settings import Settings
from gateway.supervisor.backoff import RestartBackoff
from gateway.supervisor.reaper import Exit
from gateway.supervisor.replicas import Child, ReplicaSet, StartFailed
from gateway.supervisor.requirements import check_size, children_of, needs_of
from registry.errors import FitserveError
from registry.inference import content_of
from registry.records import Json, ModelVersion
from registry.resources import ResourceConfiguration
from registry.serving_environment import ServingEnvironment

log = logging.getLogger("fitserve.supervisor")

RESTING: Final = frozenset({"failed", "quarantined"})
UNLOADED: Final = "`load` of the Open Inference protocol starts it again"
QUARANTINE_S: Final = 300.0
_INTERRUPTIBLE: Final = frozenset({"_open", "_fill", "_prove"})  # steps that `stop` need not wait for
_PATH: Final = re.compile(r"(?<![\w.])/[\w.+-]+(?:/[\w.+-]*)+")  # callers are not told where things lie here
_NEWS_S: Final = 0.2  # HTTP processes tell what a child died over, a moment after its death
_STEADY_S: Final = 60.0  # a child that lived this long was sound, asked or not


class NoRoomNow(FitserveError):
    """Memory is promised to other models; `DoesNotFit`'s sentence."""


class Host(Protocol):
    """What a version needs of the supervisor."""

    settings: Settings

    def changed(self, version: "VersionController") -> None:
        """Its entry may differ from what was published."""

    async def open_replicas(self, version: "VersionController") -> ReplicaSet:
        """An empty replica set in a group of its own: interpreter ready, memory promised.

        Raises:
            NoRoomNow: the memory is promised to others.
            FitserveError: it can never be; the sentence says why.
        """

    async def start_child(self, version: "VersionController", replicas: ReplicaSet) -> Child:
        """A child of the replica set that has loaded the model and answered the golden rows rightly.

        Raises:
            StartFailed
        """

    async def prove(self, version: "VersionController", replicas: ReplicaSet, child: Child) -> None:
        """Find out how a loaded child may be asked; it answers meanwhile. Once for each child."""

    def has_stand_in(self, version: "VersionController") -> bool:
        """Another version answers for the model until this one does."""

    async def promise(self, version: "VersionController", replicas: ReplicaSet, limits: ResourceConfiguration) -> None:
        """Have memory promised to a running replica set under other limits.

        Raises:
            NoRoomNow
        """

    async def close_replicas(self, version: "VersionController", replicas: ReplicaSet) -> None:
        """End a replica set that is no longer in the version's entry, when nobody waits for its answers any more."""


class VersionController:
    """See the module's text. `live()` and the attributes are for the supervisor's loop; nothing here is thread-safe."""

    def __init__(self, record: ModelVersion, host: Host, service: str | None = None) -> None:
        self.record = record
        self.service = service  # that it runs for alone, under limits of the service's own
        self.state: State = "idle"
        self.reason: str | None = None
        self.replicas: ReplicaSet | None = None
        self.wanted = False
        self.urgent = False  # somebody waits for it, so others may be stopped for it
        self.unloaded = False  # nobody but `load` may start it
        self.crowded_out = False  # it was to start, and did not fit beside what is promised
        self.was_live = False
        self.description: Mapping[str, Json] | None = None
        self.schema: Mapping[str, Json] | None = None
        self.golden: dict[str, Json] = {}
        self.unverified = False
        self.deaths = RestartBackoff()
        self.answers = 0
        self.last_used = 0.0  # time.monotonic()
        self.live_since = 0.0
        self.serving: ServingEnvironment | None = None  # decided when it is first prepared
        self.progress: str | None = None  # last line of the building of its interpreter
        self.notes: list[str] = []  # what a person should know, such as an unreadable sample
        self.start_ms: dict[str, float] = {}  # how long the phases of the last start took
        self.seen_time = datetime.now(UTC)
        self._host = host
        self._content: str | None = None  # that the replica set was opened for, see `registry.inference`
        self._refused: tuple[ResourceConfiguration, str] | None = None  # what could not be put in force
        self._wake = asyncio.Event()
        self._settled: list[asyncio.Future[None]] = []
        self._step: asyncio.Task[None] | None = None
        self._trying = False  # a replica set beside the one that serves
        self._closing = False
        self._loaded_at: float | None = None  # until the table that says so went out
        self._timer: asyncio.TimerHandle | None = None
        self._driver = asyncio.create_task(self._drive(), name=f"version {self.id}")

    # intents: noted at once, acted upon by the version's own task

    def start(self, *, urgent: bool = False) -> None:
        """It should be live. `urgent`: somebody waits, or the model is in use."""
        if self.state in RESTING or self.unloaded or self._closing:
            return
        self.urgent = self.urgent or urgent
        if not self.wanted:
            self.wanted = True
            self.crowded_out = False
            self.reason = None
            self._wake.set()

    def stop(self) -> None:
        """It should not run: drained if it is live, given up if it is only starting."""
        self.wanted = self.urgent = False
        self._wake.set()
        if self._step is not None and (self._trying or self._step.get_name() in _INTERRUPTIBLE):
            self._step.cancel()

    def unload(self) -> None:
        """It should not run, whoever asks for it, until `load`."""
        self.unloaded = True
        self.stop()
        self._host.changed(self)

    def load(self) -> None:
        """Whoever asks for it may start it again."""
        self.unloaded = False
        self._host.changed(self)

    async def live(self) -> bool:
        """Wait until it is live (True), or clearly not going to be (False; `state` and `reason` say why)."""
        while self.wanted and self.state not in {"live", *RESTING}:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settled.append(future)
            await future
        return self.state == "live"

    async def stopped(self) -> None:
        """Wait until nothing of it runs, or it was started again."""
        while (self.replicas is not None or self.state == "draining") and not self.wanted:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settled.append(future)
            await future

    async def close(self) -> None:
        """Stop it for good; returns when nothing of it runs."""
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
        """The registry has another record of it."""
        before, self.record = self.record, record
        if needs_of(before) != needs_of(record):
            self._refused = None
            if self.state == "live":
                self.reason = None  # it was about what had been asked for before
            self._recover()
        self._host.changed(self)

    def refuse(self, sentence: str) -> None:
        """The registry's record of it cannot be used: what is live goes on, anything else has failed."""
        self._become("live" if self.state == "live" else "failed", sentence)

    def used(self, answers: int = 0) -> None:
        self.answers += answers
        self.last_used = time.monotonic()

    def child_answered(self, child: int) -> bool:
        """Its first answer to a caller; also when the news of its death came first. False: not a child of this version."""
        if self.replicas is None or child not in self.replicas.children:
            return self.deaths.answered(child)
        self.replicas.children[child].answered = True
        self.deaths.start_anew()
        return True

    def child_lost(self, child: int) -> bool:
        """It was computing a request when it died; also when the news of its death came first. False: not a child of this
        version."""
        if self.replicas is None or child not in self.replicas.children:
            return self.deaths.over_request(child)
        self.replicas.children[child].over_request = True
        return True

    def published(self) -> None:
        """HTTP processes were told of its entry."""
        if self._loaded_at is not None:
            self.start_ms["published"] = (time.monotonic() - self._loaded_at) * 1000
            self._loaded_at = None

    # facts

    @property
    def id(self) -> str:
        return self.record.id if self.service is None else f"{self.record.id} of service {self.service}"

    @property
    def model(self) -> str:
        """Its model's name in the table."""
        name = self.record.name
        return name if self.service is None else f"{name}{OF_SERVICE}{self.service}"

    @property
    def limits(self) -> ResourceConfiguration:
        return self.record.resource_configuration

    @property
    def shown(self) -> tuple[State, str | None]:
        """State and reason as others are told."""
        if self.unloaded and self.state == "idle":
            return "unloaded", UNLOADED
        return self.state, self.reason

    @property
    def size(self) -> int:
        """How many children it should have."""
        return children_of(self.record)

    @property
    def rejected(self) -> bool:
        """It has never been live and will not get so by itself: another version should answer."""
        return self.state in RESTING and not self.was_live

    @property
    def proven(self) -> bool:
        """It is known to answer: callers, or its golden rows."""
        return self.answers > 0 or (self.was_live and not self.unverified)

    @property
    def children(self) -> list[Child]:
        return [] if self.replicas is None else list(self.replicas.children.values())

    def entry(self) -> VersionEntry:
        """It as HTTP processes see it."""
        record, limits = self.record, self.limits
        state, reason = self.shown
        return VersionEntry(
            name=self.model,
            version=record.version,
            state=state,
            reason=None if reason is None else _PATH.sub("…", reason),
            children=tuple(child.address for child in self.children),
            description=self.description,
            schema=self.schema,
            settings=dict(record.settings),
            framework=record.framework,
            framework_version=record.framework_version,
            created_time=record.created_time.isoformat(),
            model_description=record.description,
            tags=dict(record.tags),
            properties=dict(record.properties),
            cpu=limits.cores,
            memory_in_gb=limits.memory_in_gb or 0.0,
            unverified=self.unverified,
            last_death=self.deaths.last,
            content=content_of(record) if self.replicas is None else self._content or "",
        )

    # the version's own task

    async def _drive(self) -> None:
        while True:
            step = self._next()
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
            if error is not None:  # ours to mend, but only this version suffers
                log.error("%s: unexpected %s", self.id, type(error).__name__, exc_info=error)
                self._fail("an internal error of the gateway; its log has the traceback")
            self._step = None

    def _next(self) -> Coroutine[Any, Any, None] | None:
        if self.replicas is not None and (not self.wanted or self.state in RESTING):
            return self._retire()
        if not self.wanted:
            if self.state in {"preparing", "starting"}:
                self._become("idle")
            self._tell_waiters()
            return None
        if self.state in RESTING:
            return None
        if self.replicas is None:
            return self._open()
        in_force = self.replicas.limits, self.replicas.wanted_size, self._content
        if self._asked != self._refused and (self.limits, self.size, content_of(self.record)) != in_force:
            return self._relimit(self.replicas)
        if len(self.replicas.children) < self.replicas.size:
            return self._fill(self.replicas)
        unproved = next((child for child in self.replicas.children.values() if not child.proved), None)
        if unproved is not None:
            return self._prove(self.replicas, unproved)
        return None

    async def _open(self) -> None:
        self._become("preparing")
        try:
            check_size(self.id, self.record)
            self._content = content_of(self.record)
            self.replicas = await self._host.open_replicas(self)
        except NoRoomNow as error:
            self.wanted = self.urgent = False
            self.crowded_out = True
            self._become("idle", str(error))
        except FitserveError as error:
            self._fail(str(error))
        else:
            self._become("starting")

    async def _fill(self, replicas: ReplicaSet) -> None:
        """Start one child that is missing."""
        await asyncio.sleep(self.deaths.pause_s)
        if not replicas.children and self._hopeless:
            await asyncio.sleep(_NEWS_S)  # of what the last one died over
            if self._hopeless:
                self._quarantine()
                return
        if not replicas.children:
            replicas.group.set_cpu(None)  # a small quota must not slow a start
        try:
            child = await self._host.start_child(self, replicas)
            if replicas.children or self._host.has_stand_in(self):  # nobody waits: it comes when it is at its best
                await self._host.prove(self, replicas, child)
        except StartFailed as error:
            self._not_started(replicas, error)
        else:
            if replicas.join(child):
                self._loaded(replicas)
            else:
                self._count_death(replicas, replicas.verdict(child.handle.exited.result()))

    async def _prove(self, replicas: ReplicaSet, child: Child) -> None:
        """The rest of a start that callers did not have to wait for."""
        await self._host.prove(self, replicas, child)
        self._host.changed(self)

    async def _relimit(self, replicas: ReplicaSet) -> None:
        """Other limits, another number of children or another environment, without losing a request."""
        moved = (content := content_of(self.record)) != self._content
        if not moved and replicas.can_relimit(self.limits, self.size) and await self._relimit_in_place(replicas):
            return
        try:
            with self._giving_up_when_stopped():
                new = await self._host.open_replicas(self)
        except NoRoomNow as error:  # old and new do not fit together
            if moved:  # it might not answer rightly there, and then nothing would
                self._keep_as_it_is(str(error))
                return
            log.info("%s: starts again with other limits", self.id)
            await self._retire()
            return
        except FitserveError as error:
            self._keep_as_it_is(str(error))
            return
        try:
            with self._giving_up_when_stopped():
                child = await self._host.start_child(self, new)
            if not new.join(child):
                raise StartFailed("died", new.verdict(child.handle.exited.result()).sentence)
        except StartFailed as error:
            await self._host.close_replicas(self, new)
            self._keep_as_it_is(str(error))
            return
        except BaseException:  # also an error of ours: the group and the memory promised to it must not stay
            await self._host.close_replicas(self, new)
            raise
        self.replicas, self._content = new, content
        self._loaded(new)
        await self._host.close_replicas(self, replicas)

    @contextlib.contextmanager
    def _giving_up_when_stopped(self) -> Iterator[None]:
        """Whoever makes room by stopping this version may hold what the new replica set waits for."""
        self._trying = True
        try:
            yield
        finally:
            self._trying = False

    async def _relimit_in_place(self, replicas: ReplicaSet) -> bool:
        try:
            await self._host.promise(self, replicas, self.limits)
        except NoRoomNow:
            return False
        replicas.relimit(self.limits)
        log.info("%s: limits are now %g cores, %g GB", self.id, self.limits.cores, self.limits.memory_in_gb)
        self._host.changed(self)
        return True

    def _keep_as_it_is(self, sentence: str) -> None:
        """What was asked for cannot be had or held: what serves goes on."""
        self._refused = self._asked
        content = "scoring script" if self.record.settings.get("entry_script") else "environment"
        what = "limits" if content_of(self.record) == self._content else content
        log.error("%s: keeps its %s: %s", self.id, what, sentence)
        self._become(self.state, f"the {what} asked for {'are' if what == 'limits' else 'is'} not in force: {sentence}")

    async def _retire(self) -> None:
        """Take the replica set out of the table, then end it when no HTTP process waits for it."""
        replicas, self.replicas = self.replicas, None
        assert replicas is not None
        if self.state not in RESTING:
            self._become("draining", self.reason)
        self._host.changed(self)
        await self._host.close_replicas(self, replicas)
        if self.state not in RESTING:
            self._become("starting" if self.wanted else "idle", self.reason)

    # what happens to children

    def child_died(self, replicas: ReplicaSet, child: Child, end: Exit) -> None:
        """A serving child has ended: `ReplicaSet`'s `on_death`."""
        death = replicas.verdict(end, child)
        log.warning("%s: child %d died: %s", self.id, child.pid, death.sentence)
        if replicas is not self.replicas:
            return
        if not replicas.children and (self._step is None or self._step.get_name() != "_fill"):
            replicas.kill()  # what the child started; no next child is on its way already
        steady = time.monotonic() - child.since > _STEADY_S
        self._count_death(replicas, death, sound=child.answered or steady, child=child)
        self._wake.set()

    def _not_started(self, replicas: ReplicaSet, error: StartFailed) -> None:
        log.error("%s: not started: %s", self.id, error)
        if error.kind == "memory" and replicas.children:
            replicas.size = len(replicas.children)
            self.notes.append(f"{replicas.size} processes fit into the memory limit, not {replicas.wanted_size}")
        elif error.kind == "memory" and not self.deaths.while_loading:
            self.deaths.while_loading += 1
            self._count_death(replicas, error.death)
        elif error.kind in {"died", "machine"} or replicas.children:
            self._count_death(replicas, error.death)
        else:
            self._fail(str(error))

    def _count_death(
        self, replicas: ReplicaSet, death: LastDeath | None, *, sound: bool = False, child: Child | None = None
    ) -> None:
        self.deaths.note(death, sound=sound, child=None if child is None else child.id)
        if child is not None and child.over_request:
            self.deaths.over_request(child.id)
        if replicas.children:
            self._host.changed(self)
        else:
            self._become("starting")

    @property
    def _hopeless(self) -> bool:
        return self.deaths.against(proven=self.proven) >= self._host.settings.quarantine_after

    def _quarantine(self) -> None:
        count, death = self.deaths.in_a_row, self.deaths.last
        last = f", the last by {death.cause}" if death is not None else ""
        self._become("quarantined", f"{count} deaths in a row without an answer{last}; its log has the last lines")
        log.error("%s: quarantined after %d deaths", self.id, count)
        self._timer = asyncio.get_running_loop().call_later(QUARANTINE_S, self._try_again)

    def _try_again(self) -> None:
        """After a long pause in quarantine: one attempt."""
        before = self.deaths.in_a_row
        self._recover()
        self.deaths.in_a_row = before - 1

    def _recover(self) -> None:
        """Something changed that may mend it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.deaths.start_anew()
        if self.state in RESTING:
            self._become("idle")
        self._wake.set()

    def _loaded(self, replicas: ReplicaSet) -> None:
        """A child joined."""
        if len(replicas.children) >= replicas.size:
            self.deaths.last = None
        if self.state != "live":
            self._loaded_at = time.monotonic()
        self.was_live = True
        self.urgent = False
        self.live_since = time.monotonic()
        self._become("live")

    def _fail(self, sentence: str) -> None:
        log.error("%s: failed: %s", self.id, sentence)
        self._become("failed", sentence)
        if self.was_live:  # it could answer once: what is wrong, such as a disk that is away, may be mended
            self._timer = asyncio.get_running_loop().call_later(QUARANTINE_S, self._recover)

    def _become(self, state: State, reason: str | None = None) -> None:
        if state != self.state:
            log.info("%s: %s", self.id, state)
        self.state, self.reason = state, reason
        self._tell_waiters()
        self._host.changed(self)

    def _tell_waiters(self) -> None:
        """Let `live` and `stopped` look again."""
        settled, self._settled = self._settled, []
        for future in settled:
            if not future.done():
                future.set_result(None)

    @property
    def _asked(self) -> tuple[ResourceConfiguration, str]:
        return self.limits, content_of(self.record)
