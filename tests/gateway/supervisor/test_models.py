"""Models in the supervisor without processes: who makes room for whom, and that nobody waits for ever."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from gateway.ipc.control import Message
from gateway.ipc.routing_table import Publisher, RoutingTable
from gateway.rundir.version_log import VersionLog
from gateway.settings import Settings
from gateway.supervisor import requirements, version
from gateway.supervisor.admission import Admission
from gateway.supervisor.models import ModelManager
from gateway.supervisor.reaper import Exit
from gateway.supervisor.replicas import Child, OnDeath, ReplicaSet, StartFailed
from gateway.supervisor.status import version_status
from gateway.supervisor.version_state import VersionState
from gateway.supervisor.worker_process import ChildHandle
from registry.inference import INFERENCE
from registry.limits.none import UnlimitedGroup
from registry.records import TRAINED_IN, Artifact, Json, ModelVersion, ServiceRecord
from registry.resources import GB, ResourceConfiguration
from tests.waiting import until

MODEL = Artifact(digest="0" * 64, size=1000, kind="file", name="model.joblib", format="joblib")


class Handle:
    """A child without a process."""

    def __init__(self) -> None:
        self.pid = 0
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    @property
    def alive(self) -> bool:
        return not self.exited.done()


class Group(UnlimitedGroup):
    """Its children end when it is killed."""

    def __init__(self, name: str, limits: ResourceConfiguration) -> None:
        super().__init__(name, limits)
        self.handles: list[Handle] = []
        self.killed = asyncio.Event()

    def kill(self) -> None:
        self.killed.set()
        for handle in self.handles:
            if handle.alive:
                handle.exited.set_result(Exit(signal=9))


class QuickLauncher:
    """Starts everything at once, but for the versions in `held`, whose preparing takes until their event is set.

    Golden rows are recorded in the environment `home` only.
    """

    def __init__(self, home: str | None = None) -> None:
        self.home = home
        self.held: dict[str, asyncio.Event] = {}
        self.preparing: list[str] = []
        self.environments: list[str | None] = []
        self.answers_of: set[str] = set()
        self.numbers = itertools.count(1)

    async def open_replicas(
        self, version: VersionState, key: str, admit: Callable[[], Awaitable[None]], on_death: OnDeath
    ) -> ReplicaSet:
        self.preparing.append(version.id)
        self.environments.append(version.record.environment)
        if version.id in self.held:
            await self.held[version.id].wait()
        await admit()
        return ReplicaSet(version.id, Group(key, version.limits), version.limits, version.size, on_death)

    async def start_child(self, version: VersionState, replicas: ReplicaSet) -> Child:
        handle = Handle()
        if version.record.environment == self.home:
            self.answers_of.add(version.record.id)
        cast(Group, replicas.group).handles.append(handle)
        return Child(next(self.numbers), cast(ChildHandle, handle), "/nowhere", {})

    async def prove(self, version: VersionState, replicas: ReplicaSet, child: Child) -> None:
        child.proved = True

    def recorded(self, record: ModelVersion) -> bool:
        return record.id in self.answers_of

    def forget_replicas(self, replicas: ReplicaSet) -> None:
        pass

    def close_log(self, version: VersionState) -> None:
        pass


class Nobody:
    """No HTTP process is there to be told."""

    def publish(self, message: Message) -> None:
        pass

    async def released(self, children: Collection[int], revision: int, timeout: float) -> bool:
        return True


def record(name: str, memory_in_gb: float) -> ModelVersion:
    limits = ResourceConfiguration(memory_in_gb=memory_in_gb)
    return ModelVersion(
        name=name, version=1, created_time=datetime.now(UTC), artifact=MODEL, resource_configuration=limits
    )


def test_a_version_that_moves_to_another_environment_gives_way_to_one_that_is_asked_for() -> None:
    async def story() -> None:
        launcher = QuickLauncher()
        models = ModelManager(Settings(), launcher, Admission(2 * GB, GB), Publisher(), Nobody())
        mover, asked = record("mover", 0.6), record("asked", 0.7)
        models.reconcile([mover], "mover")
        moving = models.version("mover", 1)
        await until(lambda: moving.state == "live", "the first model is live")
        launcher.held["mover:1"] = asyncio.Event()
        models.reconcile([replace(mover, environment="1" * 64)], "mover")
        await until(lambda: len(launcher.preparing) == 2, "its environment is being prepared")

        models.reconcile([replace(mover, environment="1" * 64), asked], "mover")
        other = models.version("asked", 1)
        other.start(urgent=True)
        async with asyncio.timeout(5):
            assert await other.live()
        assert moving.state == "idle"
        await models.close()

    asyncio.run(story())


def test_an_unloaded_model_is_started_by_nobody_until_it_is_loaded_or_has_a_new_version() -> None:
    async def story() -> None:
        models = ModelManager(Settings(), QuickLauncher(), Admission(4 * GB, GB), Publisher(), Nobody())
        first = record("off", 0.5)
        models.reconcile([first], "off")
        version = models.version("off", 1)
        await until(lambda: version.state == "live", "it is live")
        async with asyncio.timeout(5):
            await models.model("off").unload()
        assert (version.entry().state, version.replicas) == ("unloaded", None)
        version.start(urgent=True)
        assert not await version.live()
        models.reconcile([replace(first, resource_configuration=ResourceConfiguration(memory_in_gb=0.6))], "off")
        assert version.entry().state == "unloaded"
        models.model("off").load()
        async with asyncio.timeout(5):
            assert await version.live()

        await models.model("off").unload()
        models.reconcile([first, replace(first, version=2)], "off")
        await until(lambda: models.models["off"].live == 2, "the new version answers")
        assert version.entry().state == "idle"
        await models.close()

    asyncio.run(story())


def test_who_waits_for_a_version_that_is_stopped_before_it_began_hears_so() -> None:
    async def story() -> None:
        models = ModelManager(
            Settings(start="first-use"), QuickLauncher(), Admission(2 * GB, GB), Publisher(), Nobody()
        )
        models.reconcile([record("short", 0.5)], "short")
        version = models.version("short", 1)
        version.start(urgent=True)
        waiting = asyncio.create_task(version.live())
        await asyncio.sleep(0)
        version.stop()
        async with asyncio.timeout(5):
            assert not await waiting
        await models.close()

    asyncio.run(story())


def test_children_leave_the_table_before_they_are_ended_also_after_an_error_of_ours() -> None:
    class OneChild(QuickLauncher):
        started = 0

        async def start_child(self, version: VersionState, replicas: ReplicaSet) -> Child:
            self.started += 1
            if self.started == 2:
                raise RuntimeError("nobody expected this")
            return await super().start_child(version, replicas)

    class Reader(Nobody):
        def __init__(self) -> None:
            self.table = RoutingTable()
            self.left: list[bool] = []

        def publish(self, message: Message) -> None:
            self.table.apply(message)

        async def released(self, children: Collection[int], revision: int, timeout: float) -> bool:
            self.left.append(not self.table.children() & set(children))
            return await super().released(children, revision, timeout)

    async def story() -> None:
        reader = Reader()
        models = ModelManager(Settings(), OneChild(), Admission(2 * GB, GB), Publisher(), reader)
        models.reconcile([replace(record("twins", 0.5), settings={"children": 2})], "twins")
        version = models.version("twins", 1)
        await until(lambda: version.state == "failed" and version.replicas is None, "it has failed")
        await until(lambda: reader.left, "its child is ended")
        assert reader.left == [True]
        await models.close()

    asyncio.run(story())


def test_a_replica_set_that_an_error_of_ours_keeps_from_starting_gives_its_memory_back() -> None:
    class FailsLater(QuickLauncher):
        forgotten = 0

        async def start_child(self, version: VersionState, replicas: ReplicaSet) -> Child:
            if len(self.preparing) == 2:
                raise RuntimeError("nobody expected this")
            return await super().start_child(version, replicas)

        def forget_replicas(self, replicas: ReplicaSet) -> None:
            self.forgotten += 1

    async def story() -> None:
        launcher, admission = FailsLater(), Admission(2 * GB, GB)
        models = ModelManager(Settings(), launcher, admission, Publisher(), Nobody())
        small = record("small", 0.4)
        models.reconcile([small], "small")
        version = models.version("small", 1)
        await until(lambda: version.state == "live", "it is live")
        models.reconcile([replace(small, environment="1" * 64)], "small")
        await until(lambda: version.state == "failed" and version.replicas is None, "it has failed")
        await until(lambda: launcher.forgotten == 2, "both replica sets are closed")
        assert admission.free == GB
        await models.close()

    asyncio.run(story())


def test_what_did_not_fit_ahead_starts_when_memory_is_free_again() -> None:
    async def story() -> None:
        models = ModelManager(Settings(), QuickLauncher(), Admission(2 * GB, GB), Publisher(), Nobody())
        large, small = record("large", 0.8), record("small", 0.6)
        models.reconcile([large], None)
        await until(lambda: models.version("large", 1).state == "live", "the first is live")
        models.reconcile([large, small], None)
        version = models.version("small", 1)
        await until(lambda: version.crowded_out and not version.wanted, "it does not fit")
        models.reconcile([small], None)
        await until(lambda: version.state == "live", "it is live without having been asked for")
        await models.close()

    asyncio.run(story())


def test_a_child_that_dies_as_it_joins_leaves_the_replicas_before_it_serving() -> None:
    class DiesAtOnce(QuickLauncher):
        async def start_child(self, version: VersionState, replicas: ReplicaSet) -> Child:
            child = await super().start_child(version, replicas)
            if len(self.preparing) == 2:
                cast(Handle, child.handle).exited.set_result(Exit(code=3))
            return child

    async def story() -> None:
        admission = Admission(2 * GB, GB)
        models = ModelManager(Settings(), DiesAtOnce(), admission, Publisher(), Nobody())
        small = record("small", 0.4)
        models.reconcile([small], "small")
        version = models.version("small", 1)
        await until(lambda: version.state == "live", "it is live")
        before = version.replicas
        models.reconcile([replace(small, environment="1" * 64)], "small")
        await until(lambda: "not in force" in str(version.reason), "it was tried")
        assert (version.state, version.replicas, len(version.children)) == ("live", before, 1)
        assert admission.promised == version.limits.memory_bytes
        await models.close()

    asyncio.run(story())


def test_a_child_that_dies_while_it_is_proved_does_not_leave_its_version_waiting_for_what_it_started() -> None:
    """Something that the model started may keep the proof's connection open: the group is ended, as it is outside of a proof."""

    class Lingers(QuickLauncher):
        async def prove(self, version: VersionState, replicas: ReplicaSet, child: Child) -> None:
            child.proved = True
            await cast(Group, replicas.group).killed.wait()

    async def story() -> None:
        models = ModelManager(Settings(), Lingers(), Admission(2 * GB, GB), Publisher(), Nobody())
        models.reconcile([record("small", 0.4)], "small")
        version = models.version("small", 1)
        await until(lambda: version.children and version.children[0].proved, "the proof has begun")
        first = version.children[0]
        cast(Handle, first.handle).exited.set_result(Exit(code=3))
        await until(lambda: version.children not in ([], [first]), "another child")
        await models.close()

    asyncio.run(story())


def test_what_the_machine_did_not_give_is_asked_for_again() -> None:
    """No process, no descriptor: that says nothing of the model, and may be otherwise a moment later."""

    class Poor(QuickLauncher):
        tries = 0

        async def start_child(self, version: VersionState, replicas: ReplicaSet) -> Child:
            self.tries += 1
            if self.tries < 3:
                raise StartFailed("machine", "python could not be started: Resource temporarily unavailable")
            return await super().start_child(version, replicas)

    async def story() -> None:
        models = ModelManager(Settings(), Poor(), Admission(2 * GB, GB), Publisher(), Nobody())
        models.reconcile([record("small", 0.4)], "small")
        await until(lambda: models.version("small", 1).state == "live", "it is live")
        await models.close()

    asyncio.run(story())


def test_what_was_live_and_cannot_be_loaded_again_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "QUARANTINE_S", 0.01)

    class Away(QuickLauncher):
        tries = 0

        async def start_child(self, version: VersionState, replicas: ReplicaSet) -> Child:
            self.tries += 1
            if self.tries in (2, 3):
                raise StartFailed("load", "the stored model cannot be read: Stale file handle")
            return await super().start_child(version, replicas)

    async def story() -> None:
        launcher = Away()
        models = ModelManager(Settings(), launcher, Admission(2 * GB, GB), Publisher(), Nobody())
        models.reconcile([record("small", 0.4)], "small")
        version = models.version("small", 1)
        await until(lambda: version.children, "it is live")
        cast(Handle, version.children[0].handle).exited.set_result(Exit(signal=9))
        await until(lambda: launcher.tries == 4 and version.state == "live", "it is live again")
        await models.close()

    asyncio.run(story())


def test_versions_that_were_overtaken_while_they_started_do_not_stay() -> None:
    """Many registrations in a row would hold the memory of all of them."""

    async def story() -> None:
        launcher, admission = QuickLauncher(), Admission(4 * GB, GB)
        models = ModelManager(Settings(), launcher, admission, Publisher(), Nobody())
        records = [replace(record("m", 0.5), version=number) for number in (1, 2, 3, 4)]
        launcher.held["m:2"], launcher.held["m:3"], launcher.held["m:4"] = (
            asyncio.Event(),
            asyncio.Event(),
            asyncio.Event(),
        )
        models.reconcile(records[:1], None)
        await until(lambda: models.models["m"].live == 1, "the first answers")
        for known in (2, 3, 4):
            models.reconcile(records[:known], None)
            await until(lambda known=known: f"m:{known}" in launcher.preparing, "it is prepared")  # type: ignore[misc]
        models.version("m", 3).used()
        for held in ("m:3", "m:2"):
            launcher.held[held].set()
            await until(lambda held=held: models.version("m", int(held[-1])).state == "live", "live")  # type: ignore[misc]
        launcher.held["m:4"].set()
        states = lambda: [models.version("m", number).state for number in (1, 2, 3, 4)]  # noqa: E731
        await until(lambda: states() == ["idle", "idle", "live", "live"], "only what is asked for")
        assert admission.promised == GB
        await models.close()

    asyncio.run(story())


def test_what_is_promised_is_what_is_asked_for_when_the_group_is_made() -> None:
    async def story() -> None:
        launcher, admission = QuickLauncher(), Admission(4 * GB, GB)
        models = ModelManager(Settings(), launcher, admission, Publisher(), Nobody())
        small = record("small", 0.4)
        launcher.held[small.id] = asyncio.Event()
        models.reconcile([small], "small")
        await until(lambda: launcher.preparing, "its preparing has begun")
        models.reconcile([record("small", 1.5)], "small")
        launcher.held[small.id].set()
        version = models.version("small", 1)
        await until(lambda: version.state == "live", "it is live")
        assert version.replicas is not None
        assert admission.promised == version.replicas.limits.memory_bytes == int(1.5 * GB)
        await models.close()

    asyncio.run(story())


ODD: list[object] = ["many", [2], {}, -3, 0, 10**9, float("inf"), float("nan")]
SIZES: list[tuple[float, object, int]] = [(64, None, 2), (2, None, 2), (0.5, None, 1), (64, 8, 8), (1, 3.0, 3)]


@pytest.mark.parametrize(("cores", "children", "size"), [*SIZES, *((1, odd, 1) for odd in ODD)])
def test_as_many_children_as_asked_for_else_as_the_machine_has_cores(
    monkeypatch: pytest.MonkeyPatch, cores: float, children: object, size: int
) -> None:
    monkeypatch.setattr(requirements, "machine_cores", lambda: 1.5)
    requirements.most_cores.cache_clear()

    async def story() -> None:
        models = ModelManager(Settings(), QuickLauncher(), Admission(2 * GB, GB), Publisher(), Nobody())
        limits = ResourceConfiguration(cpu=cores, memory_in_gb=0.5)
        models.reconcile(
            [replace(record("odd", 0.5), resource_configuration=limits, settings={"children": children})], "odd"
        )
        version = models.version("odd", 1)
        await until(lambda: len(version.children) == size, "all its children")
        assert version.size == size
        await models.close()

    try:
        asyncio.run(story())
    finally:
        requirements.most_cores.cache_clear()


def test_one_odd_record_keeps_no_other_from_being_served() -> None:
    async def story() -> None:
        table = RoutingTable()

        class Reader(Nobody):
            def publish(self, message: Message) -> None:
                table.apply(message)

        models = ModelManager(Settings(), QuickLauncher(), Admission(4 * GB, GB), Publisher(), Reader())
        turned, odd = record("turned", 0.5), replace(record("odd", 0.5), settings=cast(dict[str, Json], ["odd"]))
        now = datetime.now(UTC)
        service = ServiceRecord(name="none", models=(), created_time=now, updated_time=now)
        models.reconcile([turned], None)
        await until(lambda: models.version("turned", 1).state == "live", "it is live")
        models.reconcile([replace(turned, settings=odd.settings), odd, record("sound", 0.5)], None, [service])
        await until(lambda: (m := table.model("sound")) and m.current.state == "live", "the sound")
        assert models.version("turned", 1).state == "live"
        assert "cannot be used" in str(models.version("turned", 1).reason)
        await until(lambda: models.version("odd", 1).state == "failed", "the odd one has failed")
        models.reconcile([replace(record("sound", 0.5), tags={"a": "b"}), replace(odd, tags={"a": "b"})], None)
        assert models.version("odd", 1).state == "failed"
        await models.close()

    asyncio.run(story())


OF_SERVICE, OF_RUN = "1" * 64, "2" * 64


def in_environment_of_its_own(name: str) -> ServiceRecord:
    own = {"script": None, "code": None, "environment": OF_SERVICE, "strict_python": False, "models": None}
    now = datetime.now(UTC)
    return ServiceRecord(name=name, models=("m:1",), created_time=now, updated_time=now, settings={INFERENCE: own})


@pytest.mark.parametrize("trained_in", [None, OF_RUN])
def test_a_service_in_another_environment_is_compared_with_what_the_model_answers_in_own_environment(
    trained_in: str | None,
) -> None:
    async def story() -> None:
        launcher = QuickLauncher(home=trained_in)
        models = ModelManager(Settings(start="first-use"), launcher, Admission(2 * GB, GB), Publisher(), Nobody())
        facts = {} if trained_in is None else {TRAINED_IN: {"environment": trained_in, "frozen": ["numpy==2.0.0"]}}
        models.reconcile([replace(record("m", 0.6), facts=facts)], "m", [in_environment_of_its_own("away")])
        version = models.version("m@away", 1)
        version.start()
        async with asyncio.timeout(5):
            assert await version.live()
        assert launcher.environments == [trained_in, OF_SERVICE]
        assert version.replicas is not None
        assert version.replicas.unrecorded is None
        assert models.admission.free == GB - version.limits.memory_bytes
        await models.close()

    asyncio.run(story())


def test_answers_away_from_home_are_never_taken_for_those_in_own_environment() -> None:
    async def story() -> None:
        launcher = QuickLauncher(home="nowhere")
        models = ModelManager(Settings(start="first-use"), launcher, Admission(2 * GB, GB), Publisher(), Nobody())
        models.reconcile([record("m", 0.6)], "m", [in_environment_of_its_own("away")])
        version = models.version("m@away", 1)
        version.start()
        async with asyncio.timeout(5):
            assert await version.live()
        assert version.replicas is not None
        assert "its own environment recorded no answers" in str(version.replicas.unrecorded)
        await models.close()

    asyncio.run(story())


def test_a_version_that_was_put_elsewhere_since_its_run_is_compared_with_the_run() -> None:
    async def story() -> None:
        launcher = QuickLauncher(home=OF_RUN)
        models = ModelManager(Settings(), launcher, Admission(2 * GB, GB), Publisher(), Nobody())
        moved = replace(record("m", 0.6), environment=OF_SERVICE, facts={TRAINED_IN: {"environment": OF_RUN}})
        models.reconcile([moved], "m")
        async with asyncio.timeout(5):
            assert await models.version("m", 1).live()
        assert launcher.environments == [OF_RUN, OF_SERVICE]
        await models.close()

    asyncio.run(story())


def test_more_cores_than_there_are_are_shown_as_what_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "machine_cores", lambda: 2.0)
    requirements.most_cores.cache_clear()

    async def story() -> None:
        models = ModelManager(Settings(), QuickLauncher(), Admission(4 * GB, GB), Publisher(), Nobody())
        many = replace(record("many", 0.5), resource_configuration=ResourceConfiguration(cpu=64))
        few = replace(record("few", 0.5), resource_configuration=ResourceConfiguration(cpu=1.5))
        models.reconcile([many, few], "many")
        version = models.version("many", 1)
        await until(lambda: version.state == "live", "it is live")
        told = version_status(version, VersionLog(Path("/nowhere"), "many", 1), "none")
        assert (told["limits"]["cpu"], told["limits"]["asked"]["cpu"]) == (2.0, 64.0)
        assert told["notes"] == ["64 cores are asked for; on this machine at most 2 are in force"]
        assert (version.entry().cpu, version.entry().cpu_in_force) == (64.0, 2.0)
        told = version_status(models.version("few", 1), VersionLog(Path("/nowhere"), "few", 1), "none")
        assert (told["limits"]["cpu"], told["notes"]) == (1.5, [])
        await models.close()

    try:
        asyncio.run(story())
    finally:
        requirements.most_cores.cache_clear()
