"""A fork server ("nursery") of one environment, as the supervisor sees it: start, fork requests, end.

It runs on the supervisor's main thread, in its loop.
"""

import asyncio
import contextlib
import itertools
import json
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.supervisor.log_tail import LogPipe, LogTail
from gateway.supervisor.reaper import Exit, Reaper
from gateway.supervisor.spawn import clean_environment, open_channel, spawn
from gateway.supervisor.worker_process import HELLO_TIMEOUT_S, ChildHandle

READY_TIMEOUT_S: Final = 120.0  # a cold disk and scikit-learn


class NurseryFailed(Exception):
    """No child can be forked; the message says why. `start_child` still works."""


class Nursery:
    """A Python of one environment with scikit-learn imported, from which children are forked. Needs `become_subreaper`.

    ``nursery = await Nursery.start(python, reaper)``; `ready` holds what it said of its versions.
    """

    def __init__(self, pid: int, control: socket.socket, pipe: LogPipe, log: LogTail, exited: "asyncio.Future[Exit]"):
        self.pid, self.log, self.exited = pid, log, exited
        self.ready: dict[str, Any] = {}
        self._control, self._pipe = control, pipe
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._reaper: Reaper
        control.setblocking(False)
        asyncio.get_running_loop().add_reader(control, self._readable)
        exited.add_done_callback(self._on_exit)

    @classmethod
    async def start(
        cls,
        python: Path | str,
        reaper: Reaper,
        *,
        variables: Mapping[str, str] | None = None,
        log: LogTail | None = None,
        timeout: float = READY_TIMEOUT_S,
    ) -> "Nursery":
        """Start one in the interpreter `python` and wait until it can fork.

        Raises:
            NurseryFailed: it cannot be started here; with the last line it printed.
        """
        log = log or LogTail()
        try:
            pid, control, pipe, exited = spawn(
                "nursery.py", python, reaper, socket.SOCK_SEQPACKET, clean_environment(variables), log
            )
        except OSError as error:
            raise NurseryFailed(f"{python} could not be started: {error.strerror}") from None
        nursery = cls(pid, control, pipe, log, exited)
        nursery._reaper = reaper
        await asyncio.wait((nursery._ready, exited), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not nursery._ready.done():
            nursery.kill()
            last = log.lines(1)
            raise NurseryFailed(f"the nursery did not start{': ' + last[0] if last else ''}")
        nursery.ready = nursery._ready.result()
        return nursery

    @property
    def alive(self) -> bool:
        return not self.exited.done()

    async def fork(
        self, *, log: LogTail | None = None, imports: Iterable[str] = (), timeout: float = HELLO_TIMEOUT_S
    ) -> ChildHandle:
        """A new child that waits for its `go`.

        Args:
            log: gets what it prints.
            imports: modules that the model will need; those of scikit-learn and its like are imported before the fork.

        Raises:
            NurseryFailed: the nursery died, does not answer and is ended for it, or may not fork (it has threads).
        """
        log = log or LogTail()
        try:
            ours, theirs, pipe = open_channel(socket.SOCK_STREAM, log)
        except OSError as error:
            raise NurseryFailed(f"no control socket for a child could be made: {error.strerror}") from None
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = json.dumps({"op": "fork", "id": number, "imports": list(imports)}).encode()
        try:
            with theirs:
                await self._send(message, [theirs.fileno(), pipe.writing])
            pipe.close_writing()
            event = await asyncio.wait_for(answer, timeout)
            if event["event"] != "forked":
                raise NurseryFailed(event["reason"])
        except (OSError, TimeoutError, NurseryFailed) as error:
            ours.close()
            pipe.close()
            if isinstance(error, TimeoutError):
                self.kill()  # a new one may answer
            raise NurseryFailed(str(error) or f"the nursery did not answer within {timeout:g} s") from None
        except BaseException:  # cancelled: the child ends when it finds its control socket closed
            ours.close()
            pipe.close()
            raise
        finally:
            self._answers.pop(number, None)
        return ChildHandle(event["pid"], ours, pipe, log, self._reaper.watch(event["pid"]))

    async def bring(self, imports: Iterable[str], timeout: float = READY_TIMEOUT_S) -> None:
        """Have it import modules that models will need, and fork a child ahead that has them.

        Raises:
            NurseryFailed: the nursery died, or does not answer and is ended for it.
        """
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            await self._send(json.dumps({"op": "import", "id": number, "imports": list(imports)}).encode(), [])
            event = await asyncio.wait_for(answer, timeout)
            if event["event"] != "imported":
                raise NurseryFailed(event["reason"])
        except (OSError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                self.kill()
            raise NurseryFailed(str(error) or f"the nursery did not answer within {timeout:g} s") from None
        finally:
            self._answers.pop(number, None)

    def kill(self) -> None:
        """End it; its children live on."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 9)

    async def close(self) -> None:
        """End it in an orderly way."""
        self._close_control()
        try:
            await asyncio.wait_for(asyncio.shield(self.exited), 2.0)
        except TimeoutError:
            self.kill()
            await self.exited

    async def _send(self, message: bytes, descriptors: list[int]) -> None:
        while True:
            try:
                socket.send_fds(self._control, [message], descriptors)
            except BlockingIOError:
                await asyncio.sleep(0.001)  # its socket is full of requests, each of which takes it a millisecond
            else:
                return

    def _readable(self) -> None:
        while self._control.fileno() >= 0:
            try:
                data = self._control.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close_control()
                return
            message = json.loads(data)
            future = self._ready if message["event"] == "ready" else self._answers.get(message["id"])
            if future is not None and not future.done():
                future.set_result(message)

    def _on_exit(self, exited: "asyncio.Future[Exit]") -> None:
        self._readable()
        self._close_control()
        self._pipe.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result({"event": "refused", "reason": f"the nursery {exited.result()}"})

    def _close_control(self) -> None:
        if self._control.fileno() >= 0:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
