"""What /proc tells of a process, read with as few system calls as there can be. Linux only."""

import os
import time
from typing import Final, NamedTuple

PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_NS_PER_TICK: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Stat(NamedTuple):
    """The part of ``/proc/<pid>/stat`` that is of use here."""

    state: str  # one letter; Z and X are dead
    parent: int
    process_group: int
    faults: int  # minor page faults: every copied or newly touched page is one
    cpu_ns: int
    children_cpu_ns: int  # of children that ended and were waited for
    threads: int
    started: int  # clock ticks after boot; with the pid it names a process for good

    @property
    def alive(self) -> bool:
        return self.state not in "ZX"


def read(path: str, size: int = 16384) -> bytes:
    """The first `size` bytes of a small kernel file; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def stat(pid: int) -> Stat | None:
    """None if the process does not exist."""
    try:
        text = read(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    f = text[text.rindex(b")") + 2 :].split()  # the name before it may hold anything, also spaces and brackets
    return Stat(
        state=f[0].decode(),
        parent=int(f[1]),
        process_group=int(f[2]),
        faults=int(f[7]),
        cpu_ns=(int(f[11]) + int(f[12])) * _NS_PER_TICK,
        children_cpu_ns=(int(f[13]) + int(f[14])) * _NS_PER_TICK,
        threads=int(f[17]),
        started=int(f[19]),
    )


def start_time(pid: int) -> int | None:
    found = stat(pid)
    return found.started if found else None


def cpu_ns(pid: int) -> int | None:
    """CPU time of all threads of a process, exact (``stat`` counts in hundredths of a second). None when it is gone."""
    try:
        # What clock_getcpuclockid(3) gives for a process; reading it costs less than opening a file.
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        found = stat(pid)  # kernels that are not Linux may not know such clocks
        return found.cpu_ns if found else None


def memory_bytes(pid: int) -> int:
    """Anonymous, shared-memory and swapped bytes: no files (they are page cache), inherited pages counted in full."""
    try:
        return _sum_lines(read(f"/proc/{pid}/status"), (b"RssAnon:", b"RssShmem:", b"VmSwap:"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


class Share(NamedTuple):
    """Anonymous, shared-memory and swapped bytes of a process; no files, which are page cache."""

    fair: int  # each page divided by the number of processes that have it
    own: int  # pages that no other process has, and the fair part of shared memory


def share(pid: int) -> Share | None:
    """None where the kernel does not tell (before 5.9, or another user's process). Walks the page tables: milliseconds."""
    try:
        text = read(f"/proc/{pid}/smaps_rollup")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    if b"Pss_Anon:" not in text:
        return None
    shared_memory, swapped = _sum_lines(text, (b"Pss_Shmem:",)), _sum_lines(text, (b"SwapPss:",))
    fair = _sum_lines(text, (b"Pss_Anon:",)) + shared_memory + swapped
    # Pages that a fork shares are the dirty ones among the shared; so are those of shared memory, hence the minimum.
    own = _sum_lines(text, (b"Anonymous:",)) - _sum_lines(text, (b"Shared_Dirty:",)) + shared_memory + swapped
    return Share(fair, fair if shared_memory else max(0, min(own, fair)))


def newest_pid() -> bytes:
    """Changes whenever a process or thread was made."""
    return read("/proc/loadavg").split()[-1]


def set_affinity(pid: int, cpus: frozenset[int]) -> None:
    """All threads of a process; a thread made meanwhile inherits from one that was or will be met here."""
    done: set[str] = set()
    try:
        while todo := set(os.listdir(f"/proc/{pid}/task")) - done:
            for tid in todo:
                try:
                    os.sched_setaffinity(int(tid), cpus)
                except ProcessLookupError:
                    continue
            done |= todo
    except (FileNotFoundError, ProcessLookupError):
        return


def _sum_lines(text: bytes, names: tuple[bytes, ...]) -> int:
    """Add up the ``Name:   123 kB`` lines with these names, in bytes."""
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(names))
