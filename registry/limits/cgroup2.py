"""Limits by control groups of version 2, in the part of the tree that was delegated to us.

A group that hands controllers to its children may hold no processes itself. So where we start in a group that we
may divide, we first move into a leaf, ``fitserve.supervisor-…``, and give everything back at the end.
"""

import errno
import logging
import os
import re
import time
from pathlib import Path
from typing import Final

from registry.errors import LimitsUnavailable
from registry.limits import cgroup
from registry.limits.base import Enforcement, Usage
from registry.limits.cgroup_groups import CgroupBackend, CgroupGroup, Graveyard, stale
from registry.limits.probe import probe
from registry.resources import ResourceConfiguration

log = logging.getLogger(__name__)

CONTROLLERS: Final = frozenset({"cpu", "memory"})
_WELCOME: Final = frozenset({"pids"})
LEAF: Final = "fitserve.supervisor"
SCOPE: Final = re.compile(r"fitserve.*\.scope")
_LEAF_NAME: Final = re.compile(re.escape(LEAF) + r"-(\d+)-(\d+)-(\d+)")


class Cgroup2(CgroupBackend["Cgroup2Group"]):
    """The back end."""

    enforcement: Enforcement = "cgroup2"

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self._base: Path | None = None
        self._leaf: Path | None = None
        self._enabled: frozenset[str] = frozenset()
        self._reason: str | None = None

    def available(self) -> str | None:
        if self._base is None:
            self._reason = self._prepare() or probe(self)
            if self._reason:
                self.close()
        return self._reason

    def _new(self, name: str, limits: ResourceConfiguration) -> "Cgroup2Group":
        if self._base is None:
            raise LimitsUnavailable(self.enforcement, self._reason or "it was not looked for")
        return Cgroup2Group(name, limits, self._base / self._names.new(name), self._graveyard)

    def close(self) -> None:
        super().close()
        if self._base is not None:
            self._give_back(self._base)
        self._base = self._leaf = None

    def clean_stale(self) -> int:
        base = self._base or own_base()
        if base is None:
            return 0
        left = list(stale(base, self._names))
        for folder in left:
            Cgroup2Group(folder.name, ResourceConfiguration(), folder, self._graveyard).close()
        for leaf in base.glob(f"{LEAF}-*"):
            found = _LEAF_NAME.fullmatch(leaf.name)
            if found and cgroup.owner_is_gone(*map(int, found.groups())) and not cgroup.members(leaf):
                self._graveyard.bury([leaf])
        return len(left)

    def _prepare(self) -> str | None:
        """Make our own group ready to be divided; gives the reason when it cannot be."""
        found = cgroup.here("")
        if found is None:
            return "no hierarchy of version 2 is mounted where this process can see it"
        mount, base = found[0], own_base()
        if base is None or not base.is_dir():
            return "the group of this process cannot be seen from here"
        if mount.read_only:
            return f"{mount.point} is mounted read-only, as in a container without privileges"
        if not os.access(base / "cgroup.procs", os.W_OK) or not os.access(base, os.W_OK):
            return f"{base} is not ours to write (no delegation)"
        missing = CONTROLLERS - words(base / "cgroup.controllers")
        if missing:
            return f"no {' and '.join(sorted(missing))} controller is free in {base}"
        if reason := belongs_to_systemd(mount.point, base):
            return reason
        try:
            self._divide(base)
        except OSError as e:
            self._give_back(base)
            return f"{base} cannot be divided: {cgroup.why(e)}"
        self._base = base
        return None

    def _divide(self, base: Path) -> None:
        wanted = CONTROLLERS | (_WELCOME & words(base / "cgroup.controllers"))
        wanted -= words(base / "cgroup.subtree_control")
        for attempt in range(10):
            if not wanted:
                return
            if (base / "cgroup.type").exists():  # all but the real root, which may hold both
                self._move_to_leaf(base)
            try:
                cgroup.write(base / "cgroup.subtree_control", " ".join(f"+{c}" for c in sorted(wanted)))
            except OSError as e:
                if e.errno != errno.EBUSY or attempt == 9:  # busy: somebody forked just before it was moved
                    raise
                continue
            self._enabled = wanted
            return

    def _move_to_leaf(self, base: Path) -> None:
        if not cgroup.members(base):
            return
        self._leaf = base / f"{LEAF}-{self._names.owner}"
        self._leaf.mkdir(exist_ok=True)
        move_all(base, self._leaf)

    def _give_back(self, base: Path) -> None:
        """Undo `_divide`, unless others have come to rely on it."""
        if self._leaf is None and not self._enabled:
            return
        others = [f for f in base.iterdir() if f.is_dir() and f != self._leaf]
        if others:
            log.info("%s stays divided: %d other groups are in it", base, len(others))
            return
        try:
            if self._enabled:
                cgroup.write(base / "cgroup.subtree_control", " ".join(f"-{c}" for c in sorted(self._enabled)))
            if self._leaf is not None:
                move_all(self._leaf, base)
                self._graveyard.bury([self._leaf])
                self._graveyard.close()
        except OSError as e:
            log.info("%s stays divided: %s", base, cgroup.why(e))
        self._enabled, self._leaf = frozenset(), None


class Cgroup2Group(CgroupGroup):
    enforcement: Enforcement = "cgroup2"

    def __init__(self, name: str, limits: ResourceConfiguration, folder: Path, graveyard: Graveyard) -> None:
        super().__init__(name, limits, [folder], graveyard)
        self._at = folder
        self._peak = 0  # for kernels before 5.19, which keep none

    def make(self) -> None:
        self._at.mkdir()
        for name, value in (("memory.swap.max", 0), ("memory.oom.group", 1)):
            if (self._at / name).exists():
                cgroup.write(self._at / name, value)
        self.set_memory(self.limits.memory_bytes)

    def set_cpu(self, cores: float | None) -> None:
        allowed, period = cgroup.quota(cores) if cores is not None else ("max", 100_000)
        cgroup.write(self._at / "cpu.max", f"{allowed} {period}")

    def set_memory(self, limit_bytes: int) -> None:
        cgroup.write(self._at / "memory.max", limit_bytes)

    def usage(self) -> Usage:
        at = self._at
        current = cgroup.number(at / "memory.current")
        files = sum(cgroup.fields(at / "memory.stat", b"inactive_file", b"active_file"))
        killed, group_killed = cgroup.fields(at / "memory.events", b"oom_kill", b"oom_group_kill")
        used, throttled = cgroup.fields(at / "cpu.stat", b"usage_usec", b"throttled_usec")
        self._peak = max(self._peak, current, cgroup.number(at / "memory.max") if killed else 0)
        return Usage(
            memory_bytes=max(0, current - files),
            memory_peak_bytes=cgroup.number(at / "memory.peak") or self._peak,
            cpu_seconds=used / 1e6,
            throttled_seconds=throttled / 1e6,
            oom_kills=group_killed or killed,
        )

    def kill(self) -> None:
        try:
            cgroup.write(self._at / "cgroup.kill", 1)
        except FileNotFoundError:  # the group is gone, or the kernel is older than 5.14
            self._freeze("1")
            cgroup.kill_all(self._at)
            self._freeze("0")

    def _freeze(self, value: str) -> None:
        try:
            cgroup.write(self._at / "cgroup.freeze", value)
        except FileNotFoundError:
            return


def own_base() -> Path | None:
    """The folder to divide: our own group, or the one above where another of us has already moved us to its leaf."""
    found = cgroup.here("")
    if found is None:
        return None
    folder = found[1]
    return folder.parent if _LEAF_NAME.fullmatch(folder.name) else folder


def words(path: Path) -> frozenset[str]:
    try:
        return frozenset(path.read_text().split())
    except OSError:
        return frozenset()


def move_all(source: Path, target: Path) -> None:
    """Move every process of a group, also those that are forked meanwhile; raises OSError."""
    deadline = time.monotonic() + 1.0
    while (there := cgroup.members(source)) and time.monotonic() < deadline:
        for pid in there:
            try:
                cgroup.write(target / "cgroup.procs", pid)
            except ProcessLookupError:
                continue


def belongs_to_systemd(mount: Path, base: Path) -> str | None:
    """A sentence when systemd manages this group and did not hand it over: dividing it would be undone one day."""
    if not Path("/run/systemd/system").is_dir() or base == mount:
        return None
    if SCOPE.fullmatch(base.name) or any(
        _attribute(base, name) == b"1" for name in ("user.delegate", "trusted.delegate")
    ):
        return None
    ours = os.geteuid() != 0 and base.stat().st_uid == os.geteuid()
    if ours and not any(part.startswith("user@") for part in base.parts):
        return None  # older systemd tells no user of a delegation, but hands over the folder
    return f"{base} is managed by systemd and not delegated"


def _attribute(folder: Path, name: str) -> bytes:
    try:
        return os.getxattr(folder, name)
    except OSError:
        return b""
