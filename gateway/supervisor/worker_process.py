"""Scoring children and their nurseries as the supervisor sees them: start, orders, events, log, end.

Knows no models, limits or restarts: `supervisor` decides, this carries out. All of it runs on the supervisor's main thread, in
its loop.
"""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from gateway import worker
from gateway.supervisor.log_tail import LogPipe, LogTail
from gateway.supervisor.reaper import Exit, Reaper, become_subreaper, kill_tree
from gateway.supervisor.worker_client import ScoringClient, ScoringError
from gateway.worker.process_setup import THREAD_VARIABLES
from gateway.worker.wire import NOTE

__all__ = [
    "ChildFailed",
    "ChildHandle",
    "Exit",
    "LogTail",
    "Nursery",
    "NurseryFailed",
    "Reaper",
    "ScoringClient",
    "ScoringError",
    "become_subreaper",
    "clean_environment",
    "start_child",
]

WORKER: Final = Path(worker.__file__).resolve().parent  # what runs in the model's own Python
READY_TIMEOUT_S: Final = 120.0  # a cold disk and scikit-learn
HELLO_TIMEOUT_S: Final = 30.0
_MOST_SAID: Final = 64 * 2**20  # of one message; a description with a million names of columns has a third of it
_AT_ONCE: Final = 16  # pieces that are read before the loop gets its turn

#: What models may see of the supervisor's environment; secrets have other names.
ENVIRONMENT: Final = frozenset(
    (
        *(
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "LANG",
            "LANGUAGE",
            "TZ",
            "TZDIR",
            "TMPDIR",
            "LD_LIBRARY_PATH",
            "VIRTUAL_ENV",
        ),
        # Which kernels compute, and so the last bits of an answer: a model answers as it did where it was fitted.
        *("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES"),
    )
)


class ChildFailed(Exception):
    """A child did not come to life. `kind`: digest, load or memory as it said itself, else died or timeout."""

    def __init__(self, kind: str, reason: str, exit: Exit | None = None) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.exit = kind, reason, exit


class NurseryFailed(Exception):
    """No child can be forked; the message says why. `start_child` still works."""


def clean_environment(
    variables: Mapping[str, str] | None = None, environ: Mapping[str, str] = os.environ, threads: int = 1
) -> dict[str, str]:
    """The environment of nurseries and children: an allow-list, the model environment's own `variables`, thread counts."""
    kept = {name: value for name, value in environ.items() if name in ENVIRONMENT or name.startswith("LC_")}
    kept.update(variables or {})
    kept.update({name: str(threads) for name in THREAD_VARIABLES})
    return {name: value for name, value in kept.items() if not name.startswith("FITSERVE_")}


class ChildHandle:
    """One scoring child. `exited` is done when it has ended and been reaped; `events` were heard before.

    Order of calls: `hello`, then (after it has joined its group) `go`, then `send("serve")`; `send("exit")` or `kill` ends it.
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
        """Its pid, when it is adopted and waits for `go`; it has allocated nothing of its own yet.

        Raises:
            ChildFailed: it ended, or said nothing in time.
        """
        message = await self._awaited(self._hello, timeout, "start")
        self.pid, self.threads = int(message["pid"]), message["threads"]
        return self.pid

    async def go(self, order: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Let it load: `order` as in child.py, with ``artifact, digest, format, listen, methods`` at least. Its description.

        Raises:
            ChildFailed: with the child's own sentence, or how it ended, or that it took longer than `timeout` seconds.
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
        """Have it find shorter ways to its answers, while it answers. By method: path, gain and number of its way.

        Args:
            known: what an earlier child found with the same bytes in the same environment.

        Raises:
            ChildFailed: it ended, or took longer than `timeout` seconds.
        """
        self.send("prove", known=known)
        message = await self._awaited(self._proved, timeout, "prove shorter ways")
        scoring: dict[str, Any] = message["scoring"]
        return scoring

    def send(self, op: str, **values: Any) -> None:
        """A control message; lost when the child has ended, of which `exited` tells."""
        with contextlib.suppress(OSError):
            self._control.sendall(json.dumps({"op": op, **values}).encode() + b"\n")

    def kill(self) -> None:
        """SIGKILL to it and to what it started. Safe at any time."""
        if self.alive:
            kill_tree(self.pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)  # just forked, it may lead no group yet

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
            self._readable()  # its last words may still lie in the socket
        if event.done():
            return event.result()
        if self.exited.done():
            end = self.exited.result()
            kind = "memory" if end.out_of_memory else "died"
            raise ChildFailed(kind, f"its process {end} before it could {what}", end)
        raise ChildFailed("timeout", f"it did not {what} within {timeout:g} s")

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
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
                    self._heard(line)
            elif len(self._buffer) > _MOST_SAID:
                self._distrust()

    def _heard(self, line: bytearray) -> None:
        try:
            message = json.loads(line)
            future = self._expected.get(message["event"])
        except (ValueError, LookupError, TypeError):
            self._distrust()
            return
        if future is not None and not future.done():
            future.set_result(message)

    def _distrust(self) -> None:
        """What a model loaded can say anything here; nothing of it may cost the supervisor its memory or its time."""
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
            pid, control, pipe, exited = _spawn(
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
            ours, theirs, pipe = _ends(socket.SOCK_STREAM, log)
        except OSError as error:
            raise NurseryFailed(f"there is nothing to talk to a child with: {error.strerror}") from None
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
                self.kill()  # the next one may answer
            raise NurseryFailed(str(error) or f"the nursery did not answer within {timeout:g} s") from None
        except BaseException:  # nobody wants it any more; it ends when it finds its control socket closed
            ours.close()
            pipe.close()
            raise
        finally:
            self._answers.pop(number, None)
        return ChildHandle(event["pid"], ours, pipe, log, self._reaper.watch(event["pid"]))

    async def bring(self, imports: Iterable[str], timeout: float = READY_TIMEOUT_S) -> None:
        """Have modules imported that models will need, and a child wait that has them.

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
        """End it in good order."""
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
                await asyncio.sleep(0.001)  # it has many requests before it; each takes it a millisecond
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


def start_child(
    python: Path | str,
    reaper: Reaper,
    *,
    variables: Mapping[str, str] | None = None,
    threads: int = 1,
    log: LogTail | None = None,
) -> ChildHandle:
    """A child in a fresh interpreter, without a nursery: slower and larger, but the same in all that it says and does.

    Raises:
        OSError: `python` could not be started.
    """
    log = log or LogTail()
    environment = clean_environment(variables, threads=threads)
    pid, control, pipe, exited = _spawn("child.py", python, reaper, socket.SOCK_STREAM, environment, log)
    return ChildHandle(pid, control, pipe, log, exited)


def _spawn(
    file: str, python: Path | str, reaper: Reaper, kind: int, environment: Mapping[str, str], log: LogTail
) -> "tuple[int, socket.socket, LogPipe, asyncio.Future[Exit]]":
    ours, theirs, pipe = _ends(kind, log)
    try:
        with theirs:
            arguments = [str(python), "-I", str(WORKER / file), "--control-fd", str(theirs.fileno())]
            pid, exited = reaper.spawn(
                [*arguments, "--supervisor-pid", str(os.getpid())],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdout=pipe.writing,
                stderr=pipe.writing,
                start_new_session=True,  # Ctrl-C in a terminal is for the supervisor alone
            )
    except OSError:
        ours.close()
        pipe.close()
        raise
    pipe.close_writing()
    return pid, ours, pipe, exited


def _ends(kind: int, log: LogTail) -> tuple[socket.socket, socket.socket, LogPipe]:
    """Both ends of a control socket, and a pipe for what is printed. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    try:
        return ours, theirs, LogPipe(log)
    except OSError:
        ours.close()
        theirs.close()
        raise


def can_fork_children() -> bool:
    """Whether nurseries work here: they need Linux."""
    return sys.platform.startswith("linux") and become_subreaper()
