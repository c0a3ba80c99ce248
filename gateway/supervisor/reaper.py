"""Reaps the supervisor's children in one place: those it started, those it adopted, and what these left behind.

A process that calls `become_subreaper` adopts orphans, so nobody else may wait for single pids (no
`asyncio.subprocess`, no `Popen.wait`): everything is started through, or watched by, one `Reaper`.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.worker.process_setup import OUT_OF_MEMORY

PR_SET_CHILD_SUBREAPER: Final = 36
_UNCLAIMED: Final = 256  # exits that are remembered for a later `watch`


@dataclass(frozen=True)
class Exit:
    """How a process ended: `code` or `signal`, the other is None. Both None: unknown."""

    code: int | None = None
    signal: int | None = None

    @property
    def out_of_memory(self) -> bool:
        """It reported itself that it ran out of memory. Whether a SIGKILL was an OOM kill, the limit group knows."""
        return self.code == OUT_OF_MEMORY

    def __str__(self) -> str:
        if self.signal is not None:
            return f"was killed by signal {self.signal} ({_signal_name(self.signal)})"
        return "ended" if self.code is None else f"exited with code {self.code}"


def become_subreaper() -> bool:
    """Called in the supervisor: orphans below this process become its children. False where the kernel cannot (not
    Linux)."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


class Reaper:
    """Collects every dead child on each SIGCHLD, however many died since the last one.

    Use inside a running loop on the main thread: ``reaper = Reaper(); reaper.start(); ...; reaper.stop()``.
    """

    def __init__(self) -> None:
        self._watched: dict[int, tuple[asyncio.Future[Exit], subprocess.Popen[bytes] | None]] = {}
        self._unclaimed: OrderedDict[int, Exit] = OrderedDict()

    def start(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self.reap)
        self.reap()

    def stop(self) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)

    def watch(self, pid: int) -> "asyncio.Future[Exit]":
        """Done when the child or adopted grandchild `pid` has ended; at once when it has ended already."""
        if pid in self._watched:
            return self._watched[pid][0]
        future: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        gone = self._unclaimed.pop(pid, None)
        if _is_child(pid):
            self._watched[pid] = (future, None)
        else:
            future.set_result(gone or Exit())
        return future

    def spawn(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stdout: int | None = None,
        stderr: int | None = None,
        preexec: Callable[[], None] | None = None,
        **options: Any,
    ) -> "tuple[int, asyncio.Future[Exit]]":
        """Start a program; gives its pid and its end. Call on the main thread: a parent-death signal follows the
        thread.

        Raises:
            OSError: it could not be started.
        """
        process = subprocess.Popen(
            arguments,
            env=env,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            preexec_fn=preexec,  # noqa: PLW1509 - the supervisor has no other threads that hold locks at a fork
            **options,
        )
        future: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._watched[process.pid] = (future, process)
        return process.pid, future

    def reap(self) -> None:
        """Collect all that ended. Called by the loop on SIGCHLD; safe to call at any time."""
        while True:
            try:
                pid = _next_dead()
                if pid in self._watched:
                    kill_tree(pid)  # also what it started, before its pid can be reused
                pid, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._ended(pid, status)

    def _ended(self, pid: int, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        end = Exit(code=code) if code >= 0 else Exit(signal=-code)
        future, process = self._watched.pop(pid, (None, None))
        if process is not None:
            process.returncode = code  # so that it neither waits nor warns
        if future is None:
            self._unclaimed[pid] = end
            if len(self._unclaimed) > _UNCLAIMED:
                self._unclaimed.popitem(last=False)
        elif not future.done():
            future.set_result(end)


def kill_tree(pid: int) -> None:
    """SIGKILL to the session leader `pid` and what stayed in its process group. Nothing when it has gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _next_dead() -> int:
    """Pid of a child that has ended and is not yet reaped; -1 (any) if there is none or the system cannot tell."""
    if not hasattr(os, "waitid"):
        return -1
    found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return -1 if found is None else found.si_pid


def _is_child(pid: int) -> bool:
    """Whether it is a child, dead or alive. Where the system cannot tell, assume so."""
    if not hasattr(os, "waitid"):
        return True
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
