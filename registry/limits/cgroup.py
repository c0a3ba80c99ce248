"""What the two versions of control groups have in common: where they are, how groups are named, filled, and removed."""

import contextlib
import itertools
import logging
import os
import re
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.limits import proc

log = logging.getLogger(__name__)

_SHORTEST_US: Final = 20_000  # of a period: short ones make short pauses
_LONGEST_US: Final = 100_000
_LEAST_QUOTA_US: Final = 5_000  # the kernel hands out slices of this size


# where


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo that is a cgroup hierarchy."""

    version: int
    point: Path
    root: str  # the part of the hierarchy that is seen at `point`
    controllers: frozenset[str]  # version 1 only
    read_only: bool


def mounts(mountinfo: str) -> list[Mount]:
    """The cgroup hierarchies in the text of ``/proc/self/mountinfo``."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(), right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            read_only = "ro" in fields[5].split(",") or "ro" in options.split(",")
            controllers = frozenset(options.split(",")) if kind == "cgroup" else frozenset()
            found.append(
                Mount(1 + (kind == "cgroup2"), Path(_plain(fields[4])), _plain(fields[3]), controllers, read_only)
            )
    return found


def own_paths(cgroup: str) -> dict[str, str]:
    """Controller → path from the text of ``/proc/self/cgroup``; version 2 is the controller ``""``."""
    paths = {}
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def locate(controller: str, found: Iterable[Mount], paths: dict[str, str]) -> tuple[Mount, Path] | None:
    """The mount of a controller and the folder of our own group in it; None when it cannot be seen from here."""
    path = paths.get(controller)
    for mount in found:
        if path is None or (controller not in mount.controllers if controller else mount.version != 2):
            continue
        root = mount.root.rstrip("/")
        inside = path[len(root) :].strip("/")
        if (path + "/").startswith(root + "/") and ".." not in inside.split("/"):
            return mount, mount.point / inside
    return None


def here(controller: str) -> tuple[Mount, Path] | None:
    """`locate` for this process, now."""
    try:
        return locate(controller, mounts(_text("/proc/self/mountinfo")), own_paths(_text("/proc/self/cgroup")))
    except OSError:
        return None


# names


class Names:
    """Folder names that say whose they are: ``<prefix>-<pid namespace>-<pid>-<start time>-<number>-<group>``."""

    def __init__(self, prefix: str) -> None:
        self.namespace = _namespace()
        self.owner = f"{self.namespace}-{os.getpid()}-{proc.start_time(os.getpid()) or 0}"
        self.prefix = prefix
        self._numbers = itertools.count(1)
        self._pattern = re.compile(re.escape(prefix) + r"-(\d+)-(\d+)-(\d+)-.*")

    def new(self, name: str) -> str:
        return f"{self.prefix}-{self.owner}-{next(self._numbers)}-{name[:100]}"

    def is_stale(self, folder: str) -> bool:
        """Whether it was made by a supervisor that is gone. What another pid namespace made is left alone."""
        found = self._pattern.fullmatch(folder)
        return bool(found) and owner_is_gone(*map(int, found.groups()))  # type: ignore[union-attr]


def owner_is_gone(namespace: int, pid: int, started: int) -> bool:
    return namespace == _namespace() and proc.start_time(pid) != started


# files


def write(path: Path, value: object) -> None:
    """One value into one kernel file; raises OSError that names the file."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    except OSError as e:
        raise OSError(e.errno, e.strerror, str(path)) from None
    finally:
        os.close(fd)


def number(path: Path) -> int:
    """The number in a file; 0 where there is none, and for ``max``."""
    try:
        text = proc.read(str(path)).strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0


def fields(path: Path, *names: bytes) -> list[int]:
    """The numbers of these names in a file of ``name number`` lines; 0 for what is not there."""
    try:
        text = b"\n" + proc.read(str(path))
    except OSError:
        return [0] * len(names)
    found = []
    for name in names:  # these files are long, and few of their lines are wanted
        at = text.find(b"\n" + name + b" ")
        found.append(int(text[at + len(name) + 2 :].partition(b"\n")[0]) if at >= 0 else 0)
    return found


def members(folder: Path) -> list[int]:
    try:
        text = proc.read(str(folder / "cgroup.procs"), 1 << 20)
    except OSError:
        return []
    return [int(pid) for pid in text.split() if pid != b"0"]  # 0: of another pid namespace


def kill_all(folder: Path, seconds: float = 1.0) -> None:
    """SIGKILL to each member until none is new: whoever has one pending forks no more."""
    killed: set[int] = set()
    deadline = time.monotonic() + seconds
    while (fresh := set(members(folder)) - killed) and time.monotonic() < deadline:
        for pid in fresh:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= fresh


def quota(cores: float) -> tuple[int, int]:
    """(quota, period) in microseconds for that many cores; periods are as short as the kernel does well."""
    period = min(max(int(_LEAST_QUOTA_US / cores), _SHORTEST_US), _LONGEST_US)
    return max(int(cores * period), 1000), period


def why(error: OSError) -> str:
    """An error of a kernel file as part of a sentence."""
    return f"{error.filename or 'a control file'}: {error.strerror}"


def _namespace() -> int:
    """The number of our pid namespace: pids of another one say nothing here."""
    return os.stat("/proc/self/ns/pid").st_ino


def _text(path: str) -> str:
    return proc.read(path, 1 << 20).decode("utf-8", "surrogateescape")


def _plain(field: str) -> str:
    """mountinfo writes blanks as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), field)
