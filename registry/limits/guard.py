"""Marks that a group's processes carry, and the guard that ends marked processes when their supervisor is gone.

Without cgroups something else has to say which processes belong together, whatever they fork, exec, or leave behind.
A resource limit does: it is inherited by everything, survives ``setsid`` and a parent's death, and any process of the
same user can read it in a microsecond. `RLIMIT_RTTIME` concerns real-time threads only, so an absurdly large value
changes nothing and can carry a number.

This file also runs as a program of its own, with nothing but the standard library: ``python -I -S guard.py OWNER``.
It waits until its standard input ends, which the death of the supervisor brings about in any case, and then kills
all that carries OWNER's mark. So nothing stays stopped, or runs without a limit.
"""

import functools
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator

# mark = 01 (62 bits) | pid of the supervisor (22) | its start time (20) | number of the group (18)
_MAGIC = 1 << 60
_GROUP_BITS = 18
OWNER_MASK = ~((1 << _GROUP_BITS) - 1)


def owner_mark(pid: int, started: int) -> int:
    """What all marks of one supervisor have in common."""
    return _MAGIC | (pid & 0x3FFFFF) << 38 | (started & 0xFFFFF) << _GROUP_BITS


def group_mark(owner: int, number: int) -> int:
    return owner | (number & ~OWNER_MASK)


def owner_pid(mark: int) -> int:
    return (mark >> 38) & 0x3FFFFF


@functools.cache
def mark_limit() -> int | None:
    """The resource limit that carries our marks; None where there is none.

    That is on systems without prlimit, or where both limits are in use: whoever runs inside a group of another
    supervisor must leave that one's mark alone, and takes the second.
    """
    for name in ("RLIMIT_RTTIME", "RLIMIT_FSIZE"):  # gVisor lets nobody set the first; no file reaches 2**60 bytes
        limit = getattr(resource, name, None)
        if limit is None or not hasattr(resource, "prlimit"):
            continue
        now = resource.getrlimit(limit)
        if now[1] != resource.RLIM_INFINITY:
            continue
        try:
            resource.prlimit(os.getpid(), limit, now)
        except (OSError, ValueError):
            continue
        return int(limit)
    return None


def read_mark(limit: int, pid: int) -> int:
    """The mark of a process, 0 for none, or for one that is gone or another user's."""
    try:
        mark = resource.prlimit(pid, limit)[1]
    except (ProcessLookupError, PermissionError):
        return 0
    return mark if mark > 0 and mark >> 60 == 1 else 0


def write_mark(limit: int, pid: int, mark: int) -> None:
    """Raises ProcessLookupError or PermissionError."""
    resource.prlimit(pid, limit, (mark, mark))


def marked(limit: int) -> Iterator[tuple[int, int]]:
    """(pid, mark) of every process that carries one, zombies too."""
    return ((pid, mark) for pid, _, mark in _processes(limit) if mark)


def alive(pid: int) -> bool:
    """Whether it can still run: there, and not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().rpartition(b") ")[2][:1] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill_marked(limit: int, mark: int, mask: int, seconds: float = 5.0) -> int:
    """SIGKILL to all processes whose mark under `mask` is `mark`; gives how many there were.

    Whoever has a SIGKILL pending forks no more, so it is over when nothing new is found; twice, because one process
    that forks and ends, again and again, is easily missed once. Process groups that are wholly ours are killed at
    one stroke: there the kernel leaves no gap to fork through.
    """
    killed: set[int] = set()
    deadline, quiet = time.monotonic() + seconds, 0
    while quiet < 2 and time.monotonic() < deadline:
        ours, others = {}, set()
        for pid, process_group, found in _processes(limit):
            if found and found & mask == mark:
                ours[pid] = process_group
            else:
                others.add(process_group)
        for process_group in set(ours.values()) - others - {0, 1}:  # to kill(2), -0 and -1 mean far too many
            _kill(os.killpg, process_group)
        fresh = [pid for pid in ours if pid not in killed and alive(pid)]
        for pid in fresh:
            _kill(os.kill, pid)
        killed.update(fresh)
        quiet = 0 if fresh else quiet + 1
    return len(killed)


def _processes(limit: int) -> Iterator[tuple[int, int, int]]:
    """(pid, process group, mark) of all processes, zombies too."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            pid = int(name)
            try:
                yield pid, os.getpgid(pid), read_mark(limit, pid)
            except ProcessLookupError:
                continue


def _kill(send: Callable[[int, int], None], number: int) -> None:
    try:
        send(number, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def main() -> None:
    """Runs in a process of its own."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the supervisor, not before
    limit, owner = int(sys.argv[1]), int(sys.argv[2])
    while os.read(0, 4096):
        continue
    kill_marked(limit, owner, OWNER_MASK)


if __name__ == "__main__":
    main()
