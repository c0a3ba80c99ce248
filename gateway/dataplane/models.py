"""All models of one HTTP process: queues and connections made from the routing table and updated with each message.

Requests for a version without a child wait here while the supervisor starts one. Knows no HTTP.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final

from gateway.dataplane.batch_policy import policy_for
from gateway.dataplane.batcher import VersionQueue
from gateway.dataplane.connection import ChildLink
from gateway.dataplane.frame import Frame, Refusal
from gateway.dataplane.request_queue import Load, Moved, Pending
from gateway.errors import DeadlineExceeded, ModelUnavailable, ModelUnloaded, StartRefused, redact_paths
from gateway.ipc.control import ControlClient, ControlError, Message
from gateway.ipc.routing_table import OF_SERVICE, STARTABLE, ChildAddress, ModelEntry, RoutingTable, VersionEntry
from gateway.settings import Settings
from gateway.types import FrameResult, Target
from registry.errors import FitserveError, ModelNotFound
from registry.records import Json

TICK_S: Final = 0.005
USED_EVERY_S: Final = 1.0
RECONNECT_S: Final = 0.5

log = logging.getLogger("fitserve.http")


class Version:
    """One version: its entry, what protocols need to know of it, and its queue. It exists as long as it is in the
    table."""

    def __init__(self, entry: VersionEntry, target: Target, queue: VersionQueue) -> None:
        self.entry, self.target, self.queue = entry, target, queue
        self.links: dict[int, ChildLink | None] = {}  # by child id; None: connecting, or found dead
        self.connecting = 0
        self.wanting = False
        self.reported = 0  # answers reported to the supervisor

    @property
    def open(self) -> bool:
        """It takes requests now. False for a version that is not loaded, or whose children all died."""
        return bool(self.queue.links)


class Model:
    """One model: `live` answers when no version is named; None until there is one."""

    def __init__(self, name: str, load: Load) -> None:
        self.name, self.load = name, load
        self.versions: dict[int, Version] = {}
        self.live: Version | None = None
        self.entry: ModelEntry | None = None
        self.waiters: dict[asyncio.Future[None], Version] = {}
        self.failures: Counter[str] = Counter()  # by "version status"; "-" where no version was reached

    def failed(self, number: int | None, status: int) -> None:
        """Count an error response."""
        version = self.live.entry.version if number is None and self.live is not None else number
        self.failures[f"{version or '-'} {status}"] += 1

    def counted(self) -> dict[str, Json]:
        """For `gateway.http.prometheus`, by way of the supervisor."""
        versions = {
            str(number): {"answers": version.queue.answers, **version.queue.counters.to_json()}
            for number, version in self.versions.items()
            if version.queue.frames
        }
        waiting = {"waiting": self.load.requests, "waiting_bytes": self.load.nbytes}
        return {**waiting, "failures": dict(self.failures), "versions": versions}

    def version(self, number: int | None) -> Version:
        """Raises ModelNotFound: the model or the version is not registered (any more)."""
        if self.entry is None:
            raise ModelNotFound(self.name)
        if number is None:
            return self.live or self.versions[self.entry.current.version]
        if number not in self.versions:
            raise ModelNotFound(self.name, number, sorted(self.versions))
        return self.versions[number]

    def wake(self) -> None:
        """Have those that wait for a child check again."""
        waiters, self.waiters = self.waiters, {}
        for future in waiters:
            if not future.done():
                future.set_result(None)


class ModelTable:
    """Applies tables, opens and retires connections, and runs the queues' timers.

    Args:
        control: a connected client, or one that is connected later.
        target_of: what protocols need to know of a version; called once per change of its entry.
        on_change: called with the names whose entry changed, after the change is in force.
    """

    def __init__(
        self,
        settings: Settings,
        control: ControlClient,
        target_of: Callable[[VersionEntry], Target],
        on_change: Callable[[Collection[str]], None] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.settings, self.control = settings, control
        self.table = RoutingTable()
        self.models: dict[str, Model] = {}
        self._target_of, self._on_change = target_of, on_change
        self._awake: set[VersionQueue] = set()
        self._used: dict[VersionQueue, Version] = {}
        self._by_queue: dict[VersionQueue, Version] = {}
        self._retiring: set[VersionQueue] = set()
        self._ticker: asyncio.TimerHandle | None = None
        self._reporter: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # the table

    def apply(self, message: Message) -> None:
        """Put a table message in force: for `ControlClient.on_table`."""
        changed = self.table.apply(message)
        for name in changed:
            entry = self.table.models.get(name)
            model = self.models.get(name)
            if entry is not None:
                self._update(model or self._new_model(name), entry)
            elif model is not None:
                self._remove(model)
        if self._on_change is not None:
            self._on_change(changed)

    def busy(self) -> list[int]:
        """Retired children that are still in use: for `ControlClient.busy`."""
        return [child for queue in self._retiring for child in queue.busy()]

    def _new_model(self, name: str) -> Model:
        share = max(1, self.settings.http_processes)
        requests = max(1, self.settings.queue_requests // share)
        model = self.models[name] = Model(name, Load(requests, int(self.settings.queue_mb * 1e6 / share)))
        return model

    def _update(self, model: Model, entry: ModelEntry) -> None:
        model.entry = entry
        for number, version_entry in entry.versions.items():
            version = model.versions.get(number)
            if version is None:
                model.versions[number] = version = self._new_version(model, version_entry)
            elif version.entry != version_entry:
                version.entry, version.target = version_entry, self._target(version_entry)
            self._connect_and_retire(model, version)
        model.live = None if entry.live is None else model.versions[entry.live]
        for number in [number for number in model.versions if number not in entry.versions]:
            self._drop(model, model.versions.pop(number))
        for version in model.versions.values():
            version.queue.update(version.entry, policy_for(self.settings, version.entry))
            self._settle(model, version)
        model.wake()

    def _new_version(self, model: Model, entry: VersionEntry) -> Version:
        queue = VersionQueue(entry, policy_for(self.settings, entry), model.load, self)
        version = self._by_queue[queue] = Version(entry, self._target(entry), queue)
        return version

    def _target(self, entry: VersionEntry) -> Target:
        """A registration or a model's description can hold anything; an error in it must not affect other models."""
        try:
            return self._target_of(entry)
        except Exception:
            log.exception("model %s:%d: its description is invalid and not used", entry.name, entry.version)
            return self._target_of(replace(entry, description=None, schema=None))

    def _connect_and_retire(self, model: Model, version: Version) -> None:
        wanted = {child.id: child for child in version.entry.children}
        for number in [number for number in version.links if number not in wanted]:
            link = version.links.pop(number)
            if link is not None:
                self._retiring.add(version.queue)
                version.queue.retire(link)
        for number, child in wanted.items():
            if number not in version.links:
                version.links[number] = None
                version.connecting += 1
                self._start(self._connect(model, version, child))

    def _settle(self, model: Model, version: Version) -> None:
        """Requests of a version that lost its children wait on, move to the live version, or fail with the reason."""
        queue = version.queue
        if not queue.waiting or queue.links or queue.retired or version.connecting:
            return
        live = model.live

        def verdict(pending: Pending) -> BaseException | None:
            if pending.movable and live is not None and live is not version:
                return Moved()
            return (
                None
                if version.entry.state in STARTABLE or version.entry.state == "live"
                else unavailable(version.entry)
            )

        queue.refuse(verdict)
        if queue.waiting:
            self._want(model, version)

    def _remove(self, model: Model) -> None:
        del self.models[model.name]
        model.entry = model.live = None
        for version in model.versions.values():
            self._drop(model, version)
        model.versions.clear()
        model.wake()

    def _drop(self, model: Model, version: Version) -> None:
        """The version was deleted: waiting requests fail, requests that were sent are still answered."""
        queue = version.queue
        _reject_waiting(model, version)
        for link in version.links.values():
            if link is not None:
                self._retiring.add(queue)
                queue.retire(link)
        version.links.clear()
        self._by_queue.pop(queue, None)
        self._used.pop(queue, None)

    # connections

    async def _connect(self, model: Model, version: Version, child: ChildAddress) -> None:
        queue = version.queue

        def answered(link: ChildLink, frame: Frame, answer: FrameResult | Refusal) -> None:
            if not link.answered_once and isinstance(answer, FrameResult):
                link.answered_once = True
                self.control.send("answered", child=link.id)
            queue.answered(link, frame, answer)

        def lost(link: ChildLink, frames: Sequence[Frame]) -> None:
            if child.id in version.links:
                version.links[child.id] = None
                self._connect_again_later(model, version, child)
            self.control.send("lost", child=child.id, asked=queue.asked(link, frames))
            queue.lost(link, frames)
            if queue not in self._by_queue:  # deleted in the meantime: no child will answer
                _reject_waiting(model, version)
            self._after_loss(queue)

        try:
            largest = int(self.settings.answer_limit_mb * 1e6)
            link = await ChildLink.open(child.id, child.socket, answered, lost, largest)
        except OSError:
            version.connecting -= 1
            self._connect_again_later(model, version, child)
            self.control.send("lost", child=child.id)
            return
        version.connecting -= 1
        if child.id not in version.links:  # retired in the meantime
            link.close()
            return
        version.links[child.id] = link
        queue.connected(link)
        model.wake()

    def _connect_again_later(self, model: Model, version: Version, child: ChildAddress) -> None:
        """A dead child leaves the table soon. One that stays is alive: connecting failed for another reason, such as
        too many open files."""

        def again() -> None:
            if child in version.entry.children and child.id in version.links:
                version.connecting += 1
                self._start(self._connect(model, version, child))

        self.loop.call_later(RECONNECT_S, again)

    def _after_loss(self, queue: VersionQueue) -> None:
        if not queue.retired and queue in self._retiring:
            self._retiring.discard(queue)
            self.control.ack()

    # requests that wait for a child

    async def opened(self, model: Model, number: int | None, deadline: float, timeout_ms: float, size: int) -> Version:
        """A version that takes requests, as soon as there is one. `size` counts against the bounds of the model's
        queue.

        Raises:
            ModelNotFound · ModelUnavailable · StartRefused · DeadlineExceeded · QueueFull
        """
        while True:
            if model.entry is None:
                model = self._successor(model)
            version = model.version(number)
            if version.open:
                return version
            if not version.connecting:
                if version.entry.state not in STARTABLE and version.entry.state != "live":
                    raise unavailable(version.entry)
                self._want(model, version)
            await self._wait(model, version, deadline, timeout_ms, size)

    def _successor(self, gone: Model) -> Model:
        """The model that answers for a service now, if the service's own copy is gone; else the one that is gone."""
        service = self.table.services.get(gone.name.partition(OF_SERVICE)[2])
        return gone if service is None else self.models.get(service.served_by, gone)

    async def _wait(self, model: Model, version: Version, deadline: float, timeout_ms: float, size: int) -> None:
        model.load.check(model.name, size)
        future: asyncio.Future[None] = self.loop.create_future()
        model.waiters[future] = version
        model.load.add(size)
        try:
            async with asyncio.timeout_at(deadline):
                await future
        except TimeoutError:
            raise DeadlineExceeded(timeout_ms) from None
        finally:
            model.waiters.pop(future, None)
            model.load.remove(size)

    def begin(self, model: Model, version: Version) -> None:
        """Have an idle version started, without waiting for it."""
        if version.entry.state in STARTABLE:
            self._want(model, version)

    def _want(self, model: Model, version: Version) -> None:
        if not version.wanting:
            version.wanting = True
            self._start(self._ask_for(model, version))

    async def _ask_for(self, model: Model, version: Version) -> None:
        try:
            await self.control.request("want", model=model.name, version=version.entry.version)
        except ControlError as refusal:
            error = _refused(model.name, refusal)
            if not version.open:
                version.queue.refuse(lambda _: error)
                for future in [future for future, of in model.waiters.items() if of is version]:
                    if not future.done():
                        future.set_exception(error)
        finally:
            version.wanting = False

    def counted(self) -> dict[str, Json]:
        """The counters of all models in this process: for `ControlClient.counted`."""
        return {name: model.counted() for name, model in self.models.items()}

    # the `QueueHost` of gateway.dataplane.batcher

    def wake(self, queue: VersionQueue) -> None:
        self._awake.add(queue)
        version = self._by_queue.get(queue)
        if version is not None:
            self._used[queue] = version
            if self._reporter is None:
                self._reporter = self.loop.call_later(USED_EVERY_S, self._report)
        if self._ticker is None:
            self._ticker = self.loop.call_later(TICK_S, self._tick)

    def stuck(self, child: int) -> None:
        self.control.send("stuck", child=child)

    def released(self) -> None:
        self._retiring = {queue for queue in self._retiring if queue.retired}
        self.control.ack()

    def _tick(self) -> None:
        now = self.loop.time()
        self._awake = {queue for queue in self._awake if queue.tick(now)}
        self._ticker = self.loop.call_later(TICK_S, self._tick) if self._awake else None

    def _report(self) -> None:
        """Report which versions answered since the last report, or still compute; stops when there are none."""
        used = []
        for queue, version in self._used.items():
            new = queue.answers - version.reported
            if new or queue in self._awake:
                version.reported = queue.answers
                used.append([version.entry.name, version.entry.version, new])
        self._used = {queue: version for queue, version in self._used.items() if queue in self._awake}
        if used:
            self.control.send("used", versions=used)
        self._reporter = self.loop.call_later(USED_EVERY_S, self._report) if self._used else None

    def _start(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Drop all connections and timers; waiting requests fail because the gateway is stopping."""
        for handle in (self._ticker, self._reporter):
            if handle is not None:
                handle.cancel()
        for task in self._tasks:
            task.cancel()
        for model in self.models.values():
            stopping = ModelUnavailable(model.name, "the gateway is stopping")
            for version in model.versions.values():
                version.queue.refuse(lambda _, error=stopping: error)  # type: ignore[misc]
                for link in version.links.values():
                    if link is not None:
                        link.abort()


def _reject_waiting(model: Model, version: Version) -> None:
    """Fail the requests that wait for a version that was deleted."""
    number = version.entry.version
    version.queue.refuse(lambda pending: Moved() if pending.movable else ModelNotFound(model.name, number))


def unavailable(entry: VersionEntry) -> FitserveError:
    """Why a version does not answer."""
    if entry.state == "unloaded":
        return ModelUnloaded(entry.name)
    reason = f"version {entry.version} is {entry.state}"
    return ModelUnavailable(entry.name, f"{reason}: {redact_paths(entry.reason)}" if entry.reason else reason)


def _refused(model: str, refusal: ControlError) -> FitserveError:
    if refusal.kind == "unloaded":
        return ModelUnloaded(model)
    sentence = redact_paths(str(refusal))
    return StartRefused(sentence) if refusal.kind == "does-not-fit" else ModelUnavailable(model, sentence)
