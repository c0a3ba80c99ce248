"""The HTTP processes: started, sent the routing table, restarted when they die, drained at the end. They share one
socket."""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from gateway.dataplane.counters import merged
from gateway.ipc.control import ControlPeer, Message, all_released, encode
from gateway.ipc.routing_table import Publisher
from gateway.settings import Settings
from gateway.supervisor.reaper import Exit, Reaper
from registry.errors import OperatorError

log = logging.getLogger("fitserve.supervisor")

#: ``-P``: a folder called ``registry`` where the gateway is started must not hide ours.
COMMAND: Final = (sys.executable, "-P", "-m", "gateway.http.process")
_FIRST_ATTEMPTS: Final = 3
_LONGEST_PAUSE_S: Final = 5.0
_SECRETS: Final = ("FITSERVE_KEY", "FITSERVE_KEY_FILE")


class HttpProcessFailed(OperatorError):
    """No HTTP process accepted connections in the first attempts. The message says how the last one ended."""


class HttpProcess:
    """One HTTP process with its control channel."""

    def __init__(self, pid: int, exited: "asyncio.Future[Exit]", peer: ControlPeer) -> None:
        self.pid = pid
        self.exited = exited
        self.peer = peer


class HttpProcesses:
    """Keeps as many HTTP processes running as the settings say.

    Args:
        listening: the bound socket that all of them accept from.
        on_message: gets their requests and notes, with the peer to answer.
        command: what is started, before ``--control-fd N --listen-fd M --settings JSON``.
    """

    def __init__(
        self,
        settings: Settings,
        listening: socket.socket,
        publisher: Publisher,
        on_message: Callable[[ControlPeer, Message], None],
        reaper: Reaper,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._settings = settings
        self._listening = listening
        self._publisher = publisher
        self._on_message = on_message
        self._reaper = reaper
        self._command = tuple(command)
        self._alive: dict[int, HttpProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._stopping = False
        self._gone: dict[str, Any] = {}  # last known counters of processes that have ended
        self._failure: str | None = None  # how the last of several processes ended that were never ready

    @property
    def pids(self) -> list[int]:
        return sorted(process.pid for process in self._alive.values())

    async def start(self) -> None:
        """Returns when every process accepts connections.

        Raises:
            HttpProcessFailed: one died `_FIRST_ATTEMPTS` times before it ever did.
        """
        for number in range(self._settings.http_processes):
            self._keepers.append(asyncio.create_task(self._keep(number)))
        while not self._all_ready():
            if self._failure is not None:
                raise HttpProcessFailed(self._failure)
            await self._change()

    def publish(self, message: Message) -> None:
        """Send the same bytes to all processes that already have a table."""
        line = encode(message)
        for process in self._alive.values():
            if process.peer.since:
                process.peer.send_line(line)

    async def released(self, children: Collection[int], revision: int, timeout: float) -> bool:
        """Wait until no process has a frame outstanding on these children, which left the table with `revision`.

        False: the time was over before that.
        """
        try:
            async with asyncio.timeout(timeout):
                while not all(all_released(self._peers(), child, revision) for child in children):
                    await self._change()
        except TimeoutError:
            return False
        return True

    async def acknowledged(self, revision: int) -> None:
        """Wait until every process answers by this revision of the table, or a later one."""
        while not all(peer.acknowledged(revision) for peer in self._peers()):
            await self._change()

    async def counted(self, timeout: float) -> dict[str, Any]:
        """The counters of all processes, including ended ones; the last known ones of a process that does not answer
        in time."""
        peers = self._peers()
        if peers:
            await asyncio.wait([asyncio.ensure_future(peer.count()) for peer in peers], timeout=timeout)
        return merged([self._gone, *(peer.counted for peer in peers)])

    async def drain(self, timeout: float) -> None:
        """Ask all to finish what they accepted; what still runs after `timeout` seconds is killed."""
        self._stopping = True
        processes = list(self._alive.values())
        for process in processes:
            process.peer.drain()
        if processes:
            await asyncio.wait([process.exited for process in processes], timeout=timeout)
        self.kill()
        if self._keepers:
            await asyncio.wait(self._keepers)

    def kill(self) -> None:
        """End all at once."""
        self._stopping = True
        for process in self._alive.values():
            if not process.exited.done():
                log.warning("HTTP process %d did not finish in time, killed", process.pid)
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        for keeper in self._keepers:
            keeper.cancel()

    def _all_ready(self) -> bool:
        return len(self._alive) == self._settings.http_processes and all(peer.ready for peer in self._peers())

    def _peers(self) -> list[ControlPeer]:
        return [process.peer for process in self._alive.values()]

    async def _change(self) -> None:
        """Wait until a process acknowledged a table, got ready or died.

        Each waiter clears the event itself, between its check and its wait, so that none misses a change.
        """
        self._changed.clear()
        await self._changed.wait()

    async def _keep(self, number: int) -> None:
        """Keep one process running until `drain` or `kill`."""
        failures = 0
        while not self._stopping:
            ready, how = await self._one(number)
            if self._stopping:
                return
            failures = 0 if ready else failures + 1
            if failures >= _FIRST_ATTEMPTS:
                self._failure = how
            self._changed.set()
            log.error("%s; starting another", how)
            await asyncio.sleep(min(_LONGEST_PAUSE_S, 0.1 * 2 ** (failures - 1)) if failures else 0)

    async def _one(self, number: int) -> tuple[bool, str]:
        """Start a process and wait for its end; gives whether it ever accepted connections, and how it ended."""
        try:
            process = await self._spawn(number)
        except OSError as error:  # no memory or no process is available now; that may change
            return False, f"the HTTP process could not be started: {error.strerror or error}"
        end = await asyncio.shield(process.exited)
        del self._alive[number]
        self._gone = merged([self._gone, _without_waiting(process.peer.counted)])
        process.peer.close()
        if process.peer.ready:
            return True, f"HTTP process {process.pid} {end}"
        return False, f"the HTTP process {end} before it accepted a connection; its output above says why"

    async def _spawn(self, number: int) -> HttpProcess:
        """Called in the supervisor's main thread: the parent-death signal of the new process follows this thread."""
        ours, theirs = socket.socketpair()
        listening = self._listening.fileno()
        arguments = ["--control-fd", str(theirs.fileno()), "--listen-fd", str(listening)]
        arguments += ["--settings", json.dumps(self._settings.to_json())]
        environ = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        try:
            with theirs:
                pid, exited = self._reaper.spawn(
                    [*self._command, *arguments],
                    env=environ,
                    pass_fds=(theirs.fileno(), listening),
                    start_new_session=True,  # Ctrl-C reaches the supervisor alone, which drains
                )
        except OSError:
            ours.close()
            raise
        peer = ControlPeer(self._on_message, lambda _: self._changed.set())
        process = self._alive[number] = HttpProcess(pid, exited, peer)
        await peer.connect(ours)
        peer.greet(self._publisher.whole())
        log.info("HTTP process %d started", pid)
        return process


def _without_waiting(counted: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing waits in a process that has ended."""
    return {name: {**of, "waiting": 0, "waiting_bytes": 0} for name, of in counted.items()}
