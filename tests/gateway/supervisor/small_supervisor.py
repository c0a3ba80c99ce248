"""As much of a supervisor as tests of the HTTP process need: real children (`stub_child`), a real control channel, no limits."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from gateway.ipc.control import ControlPeer, Message, encode
from gateway.ipc.routing_table import ChildAddress, LastDeath, ModelEntry, Publisher, ServiceEntry, VersionEntry
from gateway.schema.infer import schema_for
from gateway.settings import Settings
from tests.waiting import until

COMMAND = (sys.executable, "-m", "gateway.http.process")
ROOT = Path(__file__).parents[3]
DESCRIPTION = {"methods": ["predict", "transform", "kneighbors"], "kind": "array", "n_features": 2, "class": "Double"}


class StubChild:
    """One process of `stub_child`."""

    def __init__(self, number: int, path: str, process: asyncio.subprocess.Process) -> None:
        self.id, self.path, self.process = number, path, process

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)


class SmallSupervisor:
    """Starts children, publishes tables, restarts what dies (unless `restart` is off), answers "want" and "status".

    ``wanted`` counts the requests to start a version; `refuse_want` is (sentence, kind) to refuse them with.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.publisher = Publisher()
        self.entries: dict[str, dict[int, VersionEntry]] = {}
        self.live: dict[str, int | None] = {}
        self.default: str | None = None
        self.default_service: str | None = None
        self.services: list[ServiceEntry] = []
        self.keys: frozenset[str] | None = None
        self.children: dict[int, StubChild] = {}
        self.peer = ControlPeer(self._message, lambda _: None)
        self.notes: list[Message] = []
        self.wanted: list[tuple[str, int]] = []
        self.refuse_want: tuple[str, str] | None = None
        self.restart = True
        self.memory_death: tuple[float, float] | None = None  # (limit, peak): what the next death is said to be of
        self.spares = 0  # children kept ready, so that a restart takes no time
        self._spare: list[StubChild] = []
        self._ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._started: list[StubChild] = []
        self._published: set[str] = set()

    async def add(
        self, name: str, version: int = 1, *, live: bool = True, children: int = 1, publish: bool = True, **fields: Any
    ) -> None:
        """A version with that many children, in force when this returns unless told otherwise."""
        addresses = tuple([await self._spawn(name, version) for _ in range(children)])
        fields = {"state": "live", "description": DESCRIPTION, "schema": schema_for(DESCRIPTION)} | fields
        entry = VersionEntry(name=name, version=version, children=addresses, **fields)
        self.entries.setdefault(name, {})[version] = entry
        if live or name not in self.live:
            self.live[name] = version if live else None
        self.default = self.default or name
        if publish:
            await self.publish()

    def change(self, name: str, version: int = 1, **changes: Any) -> None:
        entry = self.entries[name][version]
        fields = {field: getattr(entry, field) for field in entry.__dataclass_fields__}
        self.entries[name][version] = VersionEntry(**(fields | changes))

    async def publish(self) -> None:
        """Send what changed, and wait until it is acknowledged (once the process listens to us)."""
        models: dict[str, ModelEntry | None] = dict.fromkeys(self._published - set(self.entries))
        self._published = set(self.entries)
        models |= {
            name: ModelEntry(name=name, latest=max(versions), live=self.live[name], versions=dict(versions))
            for name, versions in self.entries.items()
        }
        message = self.publisher.update(models, self.default, self.keys, self.services, self.default_service)
        if message is not None and self.peer.connected:
            self.peer.send_line(encode(message))
            await until(lambda: self.peer.revision >= self.publisher.revision, "acknowledged")

    async def connect(self) -> socket.socket:
        """Connect our end; gives the other one."""
        ours, theirs = socket.socketpair()
        await self.peer.connect(ours)
        self.peer.send_line(encode(self.publisher.whole()))
        return theirs

    async def end(self, child: int) -> None:
        """As the supervisor ends a retired child."""
        self.children.pop(child).kill()

    async def close(self) -> None:
        self._closing = True
        self.peer.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for child in self._started:
            child.kill()
            await child.process.wait()

    def noted(self, op: str) -> list[Message]:
        return [note for note in self.notes if note["op"] == op]

    async def _spawn(self, name: str, version: int) -> ChildAddress:
        child = self._spare.pop() if self._spare else await self._process()
        self.children[child.id] = child
        self._start(self._watch(child, name, version))
        return ChildAddress(child.id, child.path)

    async def _process(self) -> StubChild:
        number = next(self._ids)
        path = str(self.folder / f"c{number}")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.gateway.dataplane.stub_child", path, "double"),
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        child = StubChild(number, path, process)
        self._started.append(child)
        assert process.stdout is not None
        await process.stdout.readline()
        return child

    async def _refill(self) -> None:
        while len(self._spare) < self.spares:
            self._spare.append(await self._process())

    async def _watch(self, child: StubChild, name: str, version: int) -> None:
        """Tell of a death, and start another child."""
        status = await child.process.wait()
        if self._closing or self.children.pop(child.id, None) is None:
            return
        entry = self.entries[name][version]
        left = tuple(address for address in entry.children if address.id != child.id)
        death = LastDeath(f"signal {-status}" if status < 0 else f"exit {status}", "it died")
        if self.memory_death is not None:
            death = LastDeath("memory", "it grew", *self.memory_death)
        state = "live" if left else "starting" if self.restart else "idle"
        self.change(name, version, children=left, last_death=death, state=state)
        await self.publish()
        if self.restart:
            await self.start(name, version)
            await self._refill()

    async def start(self, name: str, version: int) -> None:
        address = await self._spawn(name, version)
        entry = self.entries[name][version]
        self.change(name, version, children=(*entry.children, address), state="live", last_death=None)
        await self.publish()

    def _message(self, peer: ControlPeer, message: Message) -> None:
        self.notes.append(message)
        if message["op"] == "want":
            self._start(self._want(peer, message))
        elif message["op"] == "load":
            peer.answer(message, None)
        elif message["op"] == "unload":
            self._start(self._unload(peer, message))
        elif message["op"] == "status":
            peer.answer(message, {"pids": [child.process.pid for child in self.children.values()], "restarts": 0})
        elif message["op"] == "stuck":
            self.children[message["child"]].kill()

    async def _want(self, peer: ControlPeer, message: Message) -> None:
        self.wanted.append((message["model"], message["version"]))
        if self.refuse_want is not None:
            peer.refuse(message, *self.refuse_want)
            return
        if not self.entries[message["model"]][message["version"]].children and not self.restart:
            await self.start(message["model"], message["version"])
        peer.answer(message, {"state": "live"})

    async def _unload(self, peer: ControlPeer, message: Message) -> None:
        for version in self.entries[message["model"]]:
            self.change(message["model"], version, children=(), state="unloaded", reason="until load")
        await self.publish()
        peer.answer(message, None)

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@contextlib.asynccontextmanager
async def small_supervisor() -> AsyncIterator[SmallSupervisor]:
    with tempfile.TemporaryDirectory(prefix="fs") as folder:
        supervisor = SmallSupervisor(Path(folder))
        try:
            yield supervisor
        finally:
            await supervisor.close()


class HttpServer:
    """A real HTTP process with its supervisor."""

    def __init__(self, supervisor: SmallSupervisor, process: asyncio.subprocess.Process, port: int) -> None:
        self.supervisor, self.process, self.port = supervisor, process, port
        self.url = f"http://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def http_process(
    supervisor: SmallSupervisor, command: Sequence[str] = COMMAND, stderr: Any = None, **settings: Any
) -> AsyncIterator[HttpServer]:
    """Started with what the supervisor has published so far."""
    theirs = await supervisor.connect()
    with theirs, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(512)
        port = listening.getsockname()[1]
        arguments = ["--control-fd", str(theirs.fileno()), "--listen-fd", str(listening.fileno())]
        arguments += ["--settings", json.dumps(Settings(**settings).to_json())]
        process = await asyncio.create_subprocess_exec(
            *(*command, *arguments),
            stderr=stderr,
            pass_fds=(theirs.fileno(), listening.fileno()),
            cwd=ROOT,
            env=os.environ | {"PYTHONWARNINGS": "error"},
        )
    try:
        await until(lambda: supervisor.peer.ready or process.returncode is not None, "the HTTP process's start")
        yield HttpServer(supervisor, process, port)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
