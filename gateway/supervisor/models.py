"""All models in the supervisor: kept in step with the registry, published to the HTTP processes, and given memory.

Versions start ahead if their memory can be promised, or at first use. To make room for a requested version, the least
recently used of the idle ones are stopped.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, Protocol

from gateway.ipc.control import Message
from gateway.ipc.routing_table import OF_SERVICE, Publisher, ServiceEntry
from gateway.settings import Settings
from gateway.supervisor.admission import Admission, Candidate
from gateway.supervisor.baseline import BaselineRecorder
from gateway.supervisor.replicas import Child, OnDeath, ReplicaSet
from gateway.supervisor.served_model import ServedModel
from gateway.supervisor.services import OwnModel, read_services
from gateway.supervisor.version import VersionController
from gateway.supervisor.version_host import NoRoomNow
from gateway.supervisor.version_state import VersionState
from registry.errors import DoesNotFit, ModelNotFound
from registry.records import ModelVersion, ServiceRecord
from registry.resources import ResourceConfiguration

log = logging.getLogger("fitserve.supervisor")

_NAME_IN_KEY: Final = 100  # it becomes a file name, whose length is bounded
IN_USE_S: Final = 2.0  # HTTP processes report once a second which versions answered


class Launcher(Protocol):
    """Starts processes: see `gateway.supervisor.launcher.WorkerLauncher`."""

    async def open_replicas(
        self, version: VersionState, key: str, admit: Callable[[], Awaitable[None]], on_death: OnDeath
    ) -> ReplicaSet:
        """Prepare everything that a child needs, then await `admit`, then give an empty replica set."""

    async def start_child(self, version: VersionState, replicas: ReplicaSet) -> Child: ...
    async def prove(self, version: VersionState, replicas: ReplicaSet, child: Child) -> None: ...
    def recorded(self, record: ModelVersion) -> bool:
        """Whether golden rows of it were recorded."""

    def forget_replicas(self, replicas: ReplicaSet) -> None: ...
    def close_log(self, version: VersionState) -> None: ...


class TableReaders(Protocol):
    """Receives routing tables: see `gateway.supervisor.http_processes.HttpProcesses`."""

    def publish(self, message: Message) -> None: ...
    async def released(self, children: Collection[int], revision: int, timeout: float) -> bool: ...


class ModelManager:
    """The supervisor's models; the `Host` of their versions.

    Args:
        readers: the HTTP processes.
        keys: digests of the accepted keys, None when no key is required.
    """

    def __init__(
        self,
        settings: Settings,
        launcher: Launcher,
        admission: Admission,
        publisher: Publisher,
        readers: TableReaders,
        keys: frozenset[str] | None = None,
    ) -> None:
        self.settings = settings
        self.models: dict[str, ServedModel] = {}
        self.admission = admission
        self._launcher = launcher
        self._publisher = publisher
        self._readers = readers
        self.keys = keys
        self._default: str | None = None
        self._services: Sequence[ServiceEntry] = ()
        self._default_service: str | None = None
        self._dirty: set[str] = set()
        self._flush_due = False
        self._room = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._baselines = BaselineRecorder(self, launcher.recorded)
        self._closing: set[asyncio.Task[None]] = set()

    # the registry

    def reconcile(
        self, records: Sequence[ModelVersion], default: str | None, deployed: Sequence[ServiceRecord] = ()
    ) -> None:
        """Make the running set match these records. `default`, a service or a model, answers ``/score``."""
        self._services, own = read_services(deployed, records)
        means = next((service.model for service in self._services if service.name == default), None)
        self._default = default if means is None else means
        self._default_service = None if means is None else default
        wanted = {(record.name, record.version): record for record in records}
        for name, alone in own.items():
            runs = self._runs(name, alone)
            wanted |= {(name, number): alone.records[number] for number in runs}
            if runs:
                self._ask(name, alone)
        for (name, number), record in wanted.items():
            model = self.models.setdefault(name, ServedModel(name, self.settings))
            try:
                self._take(model, number, record)
            except Exception:  # one invalid record must not affect the other models
                log.exception("%s: its record cannot be used", record.id)
                if number in model.versions:
                    model.versions[number].refuse("its record cannot be used; the gateway's log has the traceback")
                elif not model.versions:
                    del self.models[name]
        for name, model in list(self.models.items()):
            for number in [number for number in model.versions if (name, number) not in wanted]:
                self._remove(model, model.versions.pop(number))
            named = {s.number for s in self._services if s.served_by == name and s.number is not None}
            model.pin(frozenset(named & model.versions.keys()))
        self.flush()

    def _take(self, model: ServedModel, number: int, record: ModelVersion) -> None:
        """Take over a record that is new or may have changed."""
        version = model.versions.get(number)
        if version is None:
            model.versions[number] = VersionController(record, self, model.service)
            for other in model.versions.values():
                other.load()
            self._mark(model.name)
        elif version.record != record:
            asked = version.record.resource_configuration, version.record.environment
            if asked != (record.resource_configuration, record.environment):
                model.forget_attempt(number)
            version.update(record)

    def _ask(self, name: str, own: OwnModel) -> None:
        """Set which version a service asks for of its own copy of a model."""
        model = self.models.setdefault(name, ServedModel(name, self.settings, own.service))
        if model.asked != own.asked:
            model.asked = own.asked
            self._mark(name)

    def _runs(self, name: str, own: OwnModel) -> list[int]:
        """All versions where the service follows the live one; else the one it names, and the one that answers until
        then."""
        if own.asked is None:
            return list(own.records)
        model = self.models.get(name)
        live = None if model is None else model.live
        return [number for number in own.records if number in {own.asked, live}]

    def _remove(self, model: ServedModel, version: VersionController) -> None:
        log.info("%s: deleted", version.id)
        if not model.versions:
            del self.models[model.name]
        self._mark(model.name)
        task = asyncio.create_task(self._close(version))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, version: VersionController) -> None:
        await version.close()
        self._launcher.close_log(version)

    # requests and reports of HTTP processes

    def of_services(self, name: str) -> list[ServedModel]:
        """The copies of that model that services with limits of their own run."""
        return [model for key, model in sorted(self.models.items()) if key.startswith(f"{name}{OF_SERVICE}")]

    def version(self, name: str, number: int | None) -> VersionController:
        """
        Raises:
            ModelNotFound
        """
        model = self.model(name)
        if number is None:
            number = model.entry().current.version
        if number not in model.versions:
            raise ModelNotFound(name, number, sorted(model.versions))
        return model.versions[number]

    def model(self, name: str) -> ServedModel:
        """
        Raises:
            ModelNotFound
        """
        if name not in self.models:
            raise ModelNotFound(name, known=sorted(self.models))
        return self.models[name]

    def child_owner(self, child: int) -> tuple[VersionController, Child] | None:
        for model in self.models.values():
            for version in model.versions.values():
                if version.replicas is not None and child in version.replicas.children:
                    return version, version.replicas.children[child]
        return None

    def child_answered(self, child: int) -> None:
        any(version.child_answered(child) for model in self.models.values() for version in model.versions.values())

    def child_lost(self, child: int) -> None:
        any(version.child_lost(child) for model in self.models.values() for version in model.versions.values())

    def used(self, name: str, number: int, answers: int) -> None:
        model = self.models.get(name)
        if model is not None and number in model.versions:
            model.versions[number].used(answers)

    # time

    def stop_idle(self) -> None:
        """Stop versions without requests for `idle_s`: on-demand ones, and with ``start = "first-use"`` all of them."""
        since = time.monotonic() - self.settings.idle_s
        for model in self.models.values():
            for number, version in model.versions.items():
                on_demand = number not in {model.live, *model.pinned} or self.settings.start == "first-use"
                idle = max(version.last_used, version.live_since) < since
                if version.state == "live" and on_demand and idle:
                    log.info("%s: idle for %g s, stopped", version.id, self.settings.idle_s)
                    version.stop()

    async def close(self) -> None:
        """Stop everything, each version drained."""
        versions = [version for model in self.models.values() for version in model.versions.values()]
        await asyncio.gather(*(version.close() for version in versions), *self._closing)

    def kill(self) -> None:
        for model in self.models.values():
            for version in model.versions.values():
                version.kill()
        self._baselines.kill()
        for task in self._closing:
            task.cancel()

    # Host, for the versions

    def changed(self, version: VersionState) -> None:
        self._mark(version.model)
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush_later)

    async def open_replicas(self, version: VersionState, on_death: OnDeath) -> ReplicaSet:
        asked = version.limits.memory_bytes
        self.admission.check(f"model {version.id}", asked)
        its_model = self.models.get(version.record.name)
        registered = None if its_model is None else its_model.versions.get(version.record.version)
        unrecorded = await self._baselines.before(version, registered)
        key = f"{version.model[:_NAME_IN_KEY]}-{version.record.version}-{next(self._numbers)}"
        try:
            replicas = await self._launcher.open_replicas(version, key, lambda: self._make_room(version, key), on_death)
        except BaseException:
            self.admission.release(key)
            self._close_log(version)
            raise
        replicas.unrecorded = unrecorded
        return replicas

    async def start_child(self, version: VersionState, replicas: ReplicaSet) -> Child:
        return await self._launcher.start_child(version, replicas)

    async def prove(self, version: VersionState, replicas: ReplicaSet, child: Child) -> None:
        await self._launcher.prove(version, replicas, child)

    def has_stand_in(self, version: VersionState) -> bool:
        model = self.models.get(version.model)
        live = None if model is None else model.live_version
        return live is not None and live is not version and live.state == "live"

    async def promise(self, version: VersionState, replicas: ReplicaSet, limits: ResourceConfiguration) -> None:
        try:
            self.admission.promise(replicas.key, f"model {version.id}", limits.memory_bytes)
        except DoesNotFit as error:
            raise NoRoomNow(str(error)) from None

    async def close_replicas(self, version: VersionState, replicas: ReplicaSet) -> None:
        children = list(replicas.children)
        self.flush()
        if children and not await self._readers.released(children, self._publisher.revision, self.settings.drain_s):
            log.warning("%s: still in use after %g s of draining, ended", version.id, self.settings.drain_s)
        await replicas.end()
        self._launcher.forget_replicas(replicas)
        self.admission.release(replicas.key)
        self._close_log(version)
        self._start_crowded_out()

    def _start_crowded_out(self) -> None:
        """Memory became free: start versions that did not fit before, the smallest first."""
        if self.settings.start != "ahead":
            return
        waiting = [v for model in self.models.values() for v in model.crowded_out()]
        free = self.admission.free
        for version in sorted(waiting, key=lambda v: v.limits.memory_bytes):
            free -= version.limits.memory_bytes
            if free >= 0:
                version.start()

    def _close_log(self, version: VersionState) -> None:
        if version.replicas is None:  # else another replica set still writes to it
            self._launcher.close_log(version)

    # publishing

    def flush(self) -> None:
        """Settle the changed models and publish their entries now."""
        dirty, self._dirty = self._dirty, set()
        for name in dirty & self.models.keys():
            model = self.models[name]
            model.settle()
            for number in model.left_behind():
                self._remove(model, model.versions.pop(number))
        entries = {}
        for name in dirty | self._dirty:
            try:
                entries[name] = self.models[name].entry() if name in self.models else None
            except Exception:  # the entries of the others must still be published
                log.exception("model %s: it cannot be published", name)
        self._dirty.clear()
        message = self._publisher.update(entries, self._default, self.keys, self._services, self._default_service)
        if message is not None:
            self._readers.publish(message)
        for name in entries.keys() & self.models.keys():
            for version in self.models[name].versions.values():
                version.published()

    def _flush_later(self) -> None:
        self._flush_due = False
        self.flush()

    def _mark(self, name: str) -> None:
        self._dirty.add(name)

    # room

    async def _make_room(self, version: VersionState, key: str) -> None:
        """Promise memory to a new group, stopping other versions where allowed. The limits may change meanwhile; those
        in force when this returns are promised.

        Raises:
            NoRoomNow: it does not fit beside what is promised.
            DoesNotFit: it replaces a running version, and both together do not fit.
        """
        what = f"model {version.id}"
        async with self._room:
            live = self.models[version.model].live_version if version.model in self.models else None
            replaced = live if live is not None and live is not version and live.replicas is not None else None
            if version.urgent or replaced is not None or version.replicas is not None:
                await self._evict(version.limits.memory_bytes, spared={version, replaced})
            crowded = version.limits.memory_bytes > self.admission.free
            if replaced is not None and crowded and self.settings.swap == "stop-first":
                log.info("%s: stopped first, it does not fit beside %s", replaced.id, version.id)
                self.models[version.model].live = version.record.version  # callers wait for the new one
                replaced.stop()
                await replaced.stopped()
            try:
                self.admission.promise(key, what, version.limits.memory_bytes)
            except DoesNotFit as error:
                if replaced is not None:
                    raise
                raise NoRoomNow(str(error)) from None

    async def _evict(self, asked: int, spared: Collection[VersionState | None]) -> None:
        """Stop the least recently used idle versions, if that makes enough room."""
        quiet = time.monotonic() - IN_USE_S
        idle = {
            version.replicas.key: version
            for model in self.models.values()
            for version in model.versions.values()
            if version.replicas is not None and version.state == "live" and version not in spared
            if version.last_used < quiet
        }
        candidates = [Candidate(key, v.limits.memory_bytes, v.last_used) for key, v in idle.items()]
        for candidate in self.admission.room_for(asked, candidates) or []:
            version = idle[candidate.key]
            log.info("%s: stopped to make room", version.id)
            version.stop()
            await version.stopped()
