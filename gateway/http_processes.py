"""The HTTP processes: started, given the table, restarted when they die, drained at the end. They share one socket."""

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from gateway.control import ControlPeer, Message, all_released, encode
from gateway.settings import Settings
from gateway.table import Publisher
from registry.errors import OperatorError

log = logging.getLogger("fitserve.supervisor")

#: ``-P``: a folder called ``registry`` where the gateway is started must not hide ours.
COMMAND: Final = (sys.executable, "-P", "-m", "gateway.http.process")
_FIRST_ATTEMPTS: Final = 3
_LONGEST_PAUSE_S: Final = 5.0
_SECRETS: Final = ("FITSERVE_KEY", "FITSERVE_KEY_FILE")


class HttpProcessFailed(OperatorError):
    def __init__(self, how: str) -> None:
        super().__init__(f"the HTTP process ended ({how}) before it accepted a connection; its output above says why")


class Exits(Protocol):
    """What tells that a process that we started has ended."""

    def watch(self, pid: int, on_exit: Callable[[int], None]) -> None:
        """`on_exit` gets the status as `os.waitstatus_to_exitcode` gives it: negative for a signal."""


class HttpProcess:
    """One of them, with its control channel."""

    def __init__(self, number: int, process: subprocess.Popen[bytes], peer: ControlPeer) -> None:
        self.number = number
        self.pid = process.pid
        self.process = process
        self.peer = peer
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()


class HttpProcesses:
    """As many as the settings say.

    Args:
        listening: the bound socket that all of them accept from.
        on_message: gets what they ask and note, with the peer to answer.
        exits: tells when a process ended.
        command: what is started, before ``--control-fd N --listen-fd M --settings JSON``.
    """

    def __init__(
        self,
        settings: Settings,
        listening: socket.socket,
        publisher: Publisher,
        on_message: Callable[[ControlPeer, Message], None],
        exits: Exits,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._settings = settings
        self._listening = listening
        self._publisher = publisher
        self._on_message = on_message
        self._exits = exits
        self._command = tuple(command)
        self._alive: dict[int, HttpProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._stopping = False
        self._failure: str | None = None  # how one ended that was never ready

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
        """The same bytes to all that have been greeted."""
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
                process.process.kill()
        for keeper in self._keepers:
            keeper.cancel()

    def _all_ready(self) -> bool:
        return len(self._alive) == self._settings.http_processes and all(peer.ready for peer in self._peers())

    def _peers(self) -> list[ControlPeer]:
        return [process.peer for process in self._alive.values()]

    async def _change(self) -> None:
        """Wait until some process acknowledged something, got ready or died."""
        self._changed.clear()
        await self._changed.wait()

    def _note_change(self) -> None:
        # Waiters clear the event themselves before they wait, so none misses a change between look and wait.
        self._changed.set()

    async def _keep(self, number: int) -> None:
        """Have one process running until told to stop."""
        failures = 0
        while not self._stopping:
            process = await self._spawn(number)
            status = await process.exited
            del self._alive[number]
            process.peer.close()
            if self._stopping:
                return
            how = f"signal {-status}" if status < 0 else f"exit {status}"
            failures = 0 if process.peer.ready else failures + 1
            if failures >= _FIRST_ATTEMPTS:
                self._failure = how
            self._note_change()
            log.error("HTTP process %d ended (%s), starting another", process.pid, how)
            await asyncio.sleep(min(_LONGEST_PAUSE_S, 0.1 * 2 ** (failures - 1)) if failures else 0)

    async def _spawn(self, number: int) -> HttpProcess:
        """Called in the supervisor's main thread: the parent-death signal of the new process follows this thread."""
        ours, theirs = socket.socketpair()
        listening = self._listening.fileno()
        arguments = ["--control-fd", str(theirs.fileno()), "--listen-fd", str(listening)]
        arguments += ["--settings", json.dumps(self._settings.to_json())]
        environ = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        with theirs:
            popen = subprocess.Popen(
                [*self._command, *arguments],
                pass_fds=(theirs.fileno(), listening),
                stdin=subprocess.DEVNULL,
                env=environ,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which drains
            )
        peer = ControlPeer(self._on_message, lambda _: self._note_change())
        process = HttpProcess(number, popen, peer)
        self._alive[number] = process
        self._exits.watch(popen.pid, lambda status: self._exited(process, status))
        await peer.connect(ours)
        peer.greet(self._publisher.whole())
        log.info("HTTP process %d started", popen.pid)
        return process

    def _exited(self, process: HttpProcess, status: int) -> None:
        process.process.returncode = status  # reaped elsewhere: Popen must not wait for it
        if not process.exited.done():
            process.exited.set_result(status)
