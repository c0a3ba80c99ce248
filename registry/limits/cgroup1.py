"""Limits by control groups of version 1: each controller has a hierarchy of its own, or shares one with another."""

import errno
import itertools
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.limits import cgroup
from registry.limits.base import Enforcement, Usage
from registry.limits.cgroup_groups import CgroupBackend, CgroupGroup, Graveyard, stale
from registry.limits.guard_process import GUARD
from registry.limits.probe import probe
from registry.resources import ResourceConfiguration

log = logging.getLogger(__name__)

_NEEDED: Final = ("memory", "cpu", "cpuacct")
_WELCOME: Final = ("freezer", "pids")
_FREEZE_S: Final = 0.1


class Cgroup1(CgroupBackend["Cgroup1Group"]):
    enforcement: Enforcement = "cgroup1"

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self._watch = OomWatch()
        self._bases: dict[str, Path] = {}
        self._reason: str | None = "not tried yet"

    def available(self) -> str | None:
        if not self._bases:
            self._reason = self._find() or probe(self)
            if self._reason:
                self.close()
        return self._reason

    def _new(self, name: str, limits: ResourceConfiguration) -> "Cgroup1Group":
        return Cgroup1Group(name, limits, self._hierarchies(self._names.new(name)), self._graveyard, self._watch)

    def close(self) -> None:
        super().close()
        self._watch.close()

    def clean_stale(self) -> int:
        bases = self._bases or {c: found[1] for c in _NEEDED + _WELCOME if (found := cgroup.here(c))}
        names = {folder.name for base in set(bases.values()) for folder in stale(base, self._names)}
        for name in names:
            hierarchies = {c: base / name for c, base in bases.items() if (base / name).is_dir()}
            Cgroup1Group(name, ResourceConfiguration(), hierarchies, self._graveyard, self._watch).close()
        return len(names)

    def _find(self) -> str | None:
        """Look where the controllers are; gives a reason when one of them is of no use."""
        for controller in _NEEDED + _WELCOME:
            found = cgroup.here(controller)
            wanted = controller in _NEEDED
            if found is None:
                if wanted:
                    return f"the {controller} controller is not mounted as version 1"
                continue
            mount, folder = found
            if mount.read_only or not os.access(folder, os.W_OK):
                if wanted:
                    return f"{folder} is {'mounted read-only' if mount.read_only else 'not ours to write'}"
                continue
            self._bases[controller] = folder
        return None

    def _hierarchies(self, folder: str) -> dict[str, Path]:
        return {controller: base / folder for controller, base in self._bases.items()}


class Cgroup1Group(CgroupGroup):
    """One group: a folder of the same name in each hierarchy."""

    enforcement: Enforcement = "cgroup1"

    def __init__(
        self,
        name: str,
        limits: ResourceConfiguration,
        hierarchies: dict[str, Path],
        graveyard: Graveyard,
        watch: "OomWatch",
    ) -> None:
        super().__init__(name, limits, list(dict.fromkeys(hierarchies.values())), graveyard)
        self._at = hierarchies
        self._watch = watch
        self._overfull = 0  # times that a new limit was below what it had

    def make(self) -> None:
        for folder in self._folders:
            folder.mkdir()
        self._limit_memory(self.limits.memory_bytes)
        self._watch.add(self._at["memory"], self.kill)

    def expect(self, pid: int) -> Sequence[str]:
        GUARD.mark(pid, 0)
        return [str(folder / "tasks") for folder in self._folders]

    def set_cpu(self, cores: float | None) -> None:
        allowed, period = cgroup.quota(cores) if cores is not None else (-1, 100_000)
        folder = self._at["cpu"]
        cgroup.write(folder / "cpu.cfs_quota_us", -1)  # a quota and a period that do not fit are refused
        cgroup.write(folder / "cpu.cfs_period_us", period)
        cgroup.write(folder / "cpu.cfs_quota_us", allowed)

    def set_memory(self, limit_bytes: int) -> None:
        deadline = time.monotonic() + 1.0
        for attempt in itertools.count():
            try:
                self._limit_memory(limit_bytes)
                return
            except OSError as e:
                if e.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
            if attempt == 0:  # more is in use than can be freed: as in version 2, that is the end of the group
                self._overfull += 1
                self.kill()
            time.sleep(0.005)

    def usage(self) -> Usage:
        memory, cpu = self._at["memory"], self._at["cpu"]
        files = sum(cgroup.fields(memory / "memory.stat", b"total_inactive_file", b"total_active_file"))
        return Usage(
            memory_bytes=max(0, cgroup.number(memory / "memory.usage_in_bytes") - files),
            memory_peak_bytes=cgroup.number(memory / "memory.max_usage_in_bytes"),
            cpu_seconds=cgroup.number(self._at["cpuacct"] / "cpuacct.usage") / 1e9,
            throttled_seconds=cgroup.fields(cpu / "cpu.stat", b"throttled_time")[0] / 1e9,
            oom_kills=oom_kills(memory) + self._overfull,
        )

    def kill(self) -> None:
        """What is frozen forks no more; without a freezer we kill until nobody is left to fork."""
        frozen = "freezer" in self._at and self._freeze()
        cgroup.kill_all(self._folders[0])
        if frozen:
            self._thaw()
            cgroup.kill_all(self._folders[0])

    def close(self) -> None:
        if not self.closed and "memory" in self._at:
            self._watch.remove(self._at["memory"])
        super().close()

    def _limit_memory(self, limit: int) -> None:
        """The limit with swap must never be the smaller one, so the order depends on the direction."""
        plain, swap = (self._at["memory"] / f"memory.{kind}limit_in_bytes" for kind in ("", "memsw."))
        files = [plain] if not swap.exists() else [plain, swap] if limit < cgroup.number(plain) else [swap, plain]
        for file in files:
            cgroup.write(file, limit)
        if len(files) == 1:
            cgroup.write(plain.with_name("memory.swappiness"), 0)

    def _freeze(self) -> bool:
        state = self._at["freezer"] / "freezer.state"
        try:
            cgroup.write(state, "FROZEN")
            deadline = time.monotonic() + _FREEZE_S
            while b"FROZEN" not in state.read_bytes() and time.monotonic() < deadline:
                time.sleep(0.001)
        except OSError:
            return False
        return True

    def _thaw(self) -> None:
        try:
            cgroup.write(self._at["freezer"] / "freezer.state", "THAWED")
        except FileNotFoundError:
            return


@dataclass
class _Watched:
    folder: Path
    kill: Callable[[], None]
    control: int  # descriptor of memory.oom_control
    kills: int  # counted so far


class OomWatch:
    """Ends the rest of a group when the kernel has killed one of its processes for memory.

    Version 2 does that by itself (memory.oom.group). Here the kernel rings an event when it is about to kill.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, _Watched] = {}
        self._epoll: select.epoll | None = None
        self._thread: threading.Thread | None = None
        self._stop = -1

    def add(self, folder: Path, kill: Callable[[], None]) -> None:
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        control = os.open(folder / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            cgroup.write(folder / "cgroup.event_control", f"{event} {control}")
        except OSError as e:
            log.info(
                "no event for memory kills (%s): the first process to be killed will be missed alone", cgroup.why(e)
            )
            os.close(event)
            os.close(control)
            return
        with self._lock:
            self._watched[event] = _Watched(folder, kill, control, oom_kills(folder))
            self._start().register(event, select.EPOLLIN)

    def remove(self, folder: Path) -> None:
        with self._lock:
            for event, watched in list(self._watched.items()):
                if watched.folder == folder:
                    self._start().unregister(event)
                    del self._watched[event]
                    os.close(event)
                    os.close(watched.control)

    def close(self) -> None:
        with self._lock:
            folders = [watched.folder for watched in self._watched.values()]
        for folder in folders:
            self.remove(folder)
        if self._thread is not None and self._epoll is not None:
            os.eventfd_write(self._stop, 1)
            self._thread.join()
            self._epoll.close()
            os.close(self._stop)
            self._thread = self._epoll = None

    def _start(self) -> select.epoll:
        if self._epoll is None:
            self._epoll = select.epoll()
            self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._epoll.register(self._stop, select.EPOLLIN)
            self._thread = threading.Thread(target=self._run, args=(self._epoll,), name="fitserve-oom", daemon=True)
            self._thread.start()
        return self._epoll

    def _run(self, epoll: select.epoll) -> None:
        while True:
            for event, _ in epoll.poll():
                if event == self._stop:
                    return
                with self._lock:
                    watched = self._watched.get(event)
                    if watched is not None:
                        os.eventfd_read(event)
                if watched is not None:
                    self._finish(watched)

    @staticmethod
    def _finish(watched: _Watched) -> None:
        """Wait for the kernel's kill, which follows at once, and do the rest."""
        deadline = time.monotonic() + 1.0
        while oom_kills(watched.folder) <= watched.kills:
            if time.monotonic() > deadline or not watched.folder.exists():
                return
            time.sleep(0.001)
        watched.kills = oom_kills(watched.folder)
        watched.kill()


def oom_kills(memory: Path) -> int:
    return cgroup.fields(memory / "memory.oom_control", b"oom_kill")[0]
