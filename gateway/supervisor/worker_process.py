"""A scoring child as the supervisor sees it: start, orders, events, log, end.

Knows no models, limits or restarts: `gateway.supervisor.version` decides, this carries out. It runs on the
supervisor's main thread, in its loop.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.supervisor.log_tail import LogPipe, LogTail
from gateway.supervisor.reaper import Exit, Reaper, kill_tree
from gateway.supervisor.spawn import clean_environment, spawn
from gateway.worker.wire import NOTE

HELLO_TIMEOUT_S: Final = 30.0
_LONGEST_MESSAGE: Final = 64 * 2**20  # a description with a million column names takes a third of it
_READS_PER_TURN: Final = 16  # of the loop


class ChildFailed(Exception):
    """A child failed before it served. `kind`: digest, load or memory as the child reports, else died or timeout."""

    def __init__(self, kind: str, reason: str, exit: Exit | None = None) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.exit = kind, reason, exit


class ChildHandle:
    """One scoring child. `exited` is done when it has ended and been reaped; its last messages were received before.

    Order of calls: `hello`, then (after it has joined its group) `go`, then `send("serve")`; `send("exit")` or `kill`
    ends it.
    """

    def __init__(self, pid: int, control: socket.socket, pipe: LogPipe, log: LogTail, exited: "asyncio.Future[Exit]"):
        self.pid, self.log, self.exited = pid, log, exited
        self.threads: int | None = None  # at its hello
        self.socket_path: str | None = None
        self.description: dict[str, Any] | None = None
        self._control, self._pipe = control, pipe
        self._buffer = bytearray()
        self._hello: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._loaded: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._proved: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._expected = {"hello": self._hello, "loaded": self._loaded, "failed": self._loaded, "proved": self._proved}
        control.setblocking(False)
        asyncio.get_running_loop().add_reader(control, self._readable)
        exited.add_done_callback(self._on_exit)

    @property
    def alive(self) -> bool:
        return not self.exited.done()

    async def hello(self, timeout: float = HELLO_TIMEOUT_S) -> int:
        """Wait until it is adopted and waits for `go`; gives its pid. It has allocated no memory of its own yet.

        Raises:
            ChildFailed: it ended, or did not report in time.
        """
        message = await self._awaited(self._hello, timeout, "start")
        self.pid, self.threads = int(message["pid"]), message["threads"]
        return self.pid

    async def go(self, order: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Have it load the model; gives its description. `order` is as in child.py, with at least ``artifact, digest,
        format, listen, methods``.

        Raises:
            ChildFailed: with the child's message, or how it ended, or that it took longer than `timeout` seconds.
        """
        self.socket_path = str(order["listen"])
        self.send("go", **order)
        message = await self._awaited(self._loaded, timeout, "load the model")
        if message["event"] == "failed":
            raise ChildFailed(message["kind"], message["reason"])
        description: dict[str, Any] = message["description"]
        self.description = description
        return description

    async def prove(self, known: Mapping[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Have it prove shortcuts while it answers; gives path, gain and number of the shortcut by method.

        Args:
            known: what an earlier child found with the same bytes in the same environment.

        Raises:
            ChildFailed: it ended, or took longer than `timeout` seconds.
        """
        self.send("prove", known=known)
        message = await self._awaited(self._proved, timeout, "prove its shortcuts")
        scoring: dict[str, Any] = message["scoring"]
        return scoring

    def send(self, op: str, **values: Any) -> None:
        """Send a control message; it is dropped if the child has ended."""
        with contextlib.suppress(OSError):
            self._control.sendall(json.dumps({"op": op, **values}).encode() + b"\n")

    def kill(self) -> None:
        """SIGKILL to it and to what it started. Safe at any time."""
        if self.alive:
            kill_tree(self.pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)  # just forked, it may not lead a process group yet

    async def end(self, grace: float = 1.0) -> Exit:
        """Ask it to finish its frames and exit; kill it after `grace` seconds."""
        self.send("exit")
        try:
            return await asyncio.wait_for(asyncio.shield(self.exited), grace)
        except TimeoutError:
            self.kill()
            return await self.exited

    async def _awaited(self, event: "asyncio.Future[dict[str, Any]]", timeout: float, what: str) -> dict[str, Any]:
        await asyncio.wait((event, self.exited), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if self.exited.done():
            self._readable()  # its last message may still be in the socket
        if event.done():
            return event.result()
        if self.exited.done():
            end = self.exited.result()
            kind = "memory" if end.out_of_memory else "died"
            raise ChildFailed(kind, f"its process {end} before it could {what}", end)
        raise ChildFailed("timeout", f"it did not {what} within {timeout:g} s")

    def _readable(self) -> None:
        for _ in range(_READS_PER_TURN):
            if self._control.fileno() < 0:
                return
            try:
                data = self._control.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close_control()
                return
            self._buffer += data
            if b"\n" in data:
                *lines, self._buffer = self._buffer.split(b"\n")
                for line in lines:
                    self._received(line)
            elif len(self._buffer) > _LONGEST_MESSAGE:
                self._drop()

    def _received(self, line: bytearray) -> None:
        try:
            message = json.loads(line)
            future = self._expected.get(message["event"])
        except (ValueError, LookupError, TypeError):
            self._drop()
            return
        if future is not None and not future.done():
            future.set_result(message)

    def _drop(self) -> None:
        """Kill a child that sends invalid messages: a model can write anything here, at the cost of the supervisor."""
        self._buffer.clear()
        self._close_control()
        self.kill()

    def _on_exit(self, _: object) -> None:
        self._readable()
        self._close_control()
        self._pipe.close()
        if self.socket_path is not None:
            for path in (self.socket_path, self.socket_path + NOTE):
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def _close_control(self) -> None:
        if self._control.fileno() >= 0:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()


def start_child(
    python: Path | str,
    reaper: Reaper,
    *,
    variables: Mapping[str, str] | None = None,
    threads: int = 1,
    log: LogTail | None = None,
) -> ChildHandle:
    """Start a child in a fresh interpreter, without a nursery: slower and larger, with the same protocol.

    Raises:
        OSError: `python` could not be started.
    """
    log = log or LogTail()
    environment = clean_environment(variables, threads=threads)
    pid, control, pipe, exited = spawn("child.py", python, reaper, socket.SOCK_STREAM, environment, log)
    return ChildHandle(pid, control, pipe, log, exited)
