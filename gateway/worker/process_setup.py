"""Process setup of scoring children and the nursery: session, signals, limits, threads, parent death, exit.

Runs inside the model's own Python (3.6 and later), beside child.py, with the standard library alone.
"""

import ctypes
import faulthandler
import gc
import os
import resource
import signal
import socket
import sys
import time
from typing import Dict, NoReturn, Optional, Sequence

#: Exit code of a child that ran out of memory, as of a process that the kernel ended for it.
OUT_OF_MEMORY = 137


def enter(doors: "Sequence[str]") -> None:
    """Join the limit group by writing to these files, in order; this process has one thread. Raises OSError."""
    for door in doors:
        fd = os.open(door, os.O_WRONLY)
        try:
            os.write(fd, b"0")
        finally:
            os.close(fd)


def confine(rlimits: "Dict[str, int]") -> None:
    """Disable core dumps, which would hold callers' data, and set the limits that the supervisor sent.

    ``RLIMIT_X_EXTRA`` means that much beyond the current use, which is known for RLIMIT_DATA only.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, value in rlimits.items():
        if name.endswith("_EXTRA"):
            name, value = name[: -len("_EXTRA")], value + data_bytes()
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(number, (value, value))


def data_bytes() -> int:
    """Size of this process's private writable mappings, which is what RLIMIT_DATA limits."""
    with open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)


def name_threads(threads: int) -> bool:
    """For libraries that are loaded from now on, and for processes that the model starts. True when that is a change."""
    before = [os.environ.get(name) for name in THREAD_VARIABLES]
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    return before != [str(threads)] * len(before)


def limit_threads(threads: int) -> None:
    """For libraries that are loaded already; takes 10 ms. Without threadpoolctl they keep the one thread they started with."""
    try:
        import threadpoolctl
    except ImportError:
        return
    threadpoolctl.threadpool_limits(threads)


def listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(64)
    return listener


def freeze() -> None:
    """Exclude all current objects from garbage collection: they live as long as the process."""
    gc.collect()
    if hasattr(gc, "freeze"):  # Python 3.7
        gc.freeze()


def thread_count() -> "Optional[int]":
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return None


def settle() -> None:
    """Detach from terminal and session, reset signal handlers, and write output line by line."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for fd, name in ((1, "stdout"), (2, "stderr")):
        # By lines, as what a model prints should be in its log when it dies.
        setattr(sys, name, open(fd, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False))
    faulthandler.enable(sys.stderr)
    _be_killed_first()


def _be_killed_first() -> None:
    """Make the OOM killer prefer this process to the gateway."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass  # not Linux, or not allowed: then all are equal


def die_with(parent: int, patience: float = 10.0) -> None:
    """Wait until `parent` is this process's parent, then be killed when it dies. Linux; ends this process where it cannot."""
    deadline = time.monotonic() + patience
    while os.getppid() != parent:
        if time.monotonic() > deadline:
            sys.stderr.write("the supervisor did not adopt this process\n")
            leave(1)
        time.sleep(0.0002)
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(1, signal.SIGKILL, 0, 0, 0) != 0:  # PR_SET_PDEATHSIG
            leave(1)
        if os.getppid() != parent:
            leave(1)


def leave(code: int) -> NoReturn:
    """Exit without the clean-up handlers of Python and of libraries: after a fork they belong to another process."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # the log has gone
    os._exit(code)


def memory_bytes(before: int = 0) -> int:
    """A quick estimate of this process's private memory; the exact figure costs 5 ms with so many mappings.

    The larger of: small pages touched since the start or the fork, and the growth of `resident` since `before`.
    """
    touched = resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize()
    return max(touched, resident() - before)


def resident() -> int:
    """Anonymous resident memory in bytes, shared with the nursery or not; 0 if the kernel does not report it."""
    try:
        with open("/proc/self/status") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)
    except OSError:
        return 0
