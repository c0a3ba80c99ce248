"""Limits without cgroups: what a default container allows.

Memory: each process bounds its own data segment (`Group.rlimits`), and a thread here looks at the whole group every
100 ms, adds up what it has to itself whenever it ran long enough to have come near the limit, and kills it when it is
past. The same look counts its processes and threads. CPU: the group is pinned to as many
CPUs as its limit rounds up to, and stopped and continued (SIGSTOP, SIGCONT) so that what it uses on average is the
limit. Both are measured, so being late by a few milliseconds is made good afterwards.

A thread, not a process: it can never outlive or lose the supervisor, and it holds the interpreter for some tens of
microseconds at a time, while nothing in the supervisor is urgent. Should the supervisor die without a word, stopped
children die by their parent-death signal and all else by `registry.limits.guard`, the only other process.

Not covered: files in /dev/shm that nobody maps, and processes that take off their mark on purpose.
"""

import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Final

from registry.errors import LimitsUnavailable
from registry.limits import guard, proc
from registry.limits.base import Enforcement, Usage
from registry.limits.cpu_affinity import Pins
from registry.limits.duty_cycle import DutyCycle
from registry.limits.footprint import Footprint
from registry.limits.guard_process import GUARD
from registry.resources import ResourceConfiguration

log = logging.getLogger(__name__)

SAMPLE_S: Final = 0.1
_GROWING_S: Final = 0.02
_SURELY_S: Final = 0.3
_BYTES_PER_CPU_NS: Final = 16  # nobody fills memory faster than 16 GB per second of CPU
_SEARCH_S: Final = 0.08
_TIDY_S: Final = 1.0
_ALLOCATOR_SLACK: Final = 64 << 20  # reserved by thread stacks and allocators, and never touched


class Watchdog:
    """The back end; one per supervisor. Its thread and its guard start with the first group."""

    enforcement: Enforcement = "watchdog"

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.pins = Pins(available_cpus())
        self.mark_limit = GUARD.limit
        self.owner = GUARD.owner
        self._groups: dict[int, WatchdogGroup] = {}
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._strangers: set[int] = set()
        self._newest_pid = b""
        self._search_due = self._searched = self._tidied = 0.0

    def available(self) -> str | None:
        if not sys.platform.startswith("linux"):
            return "it needs Linux"
        if not self.mark_limit:
            return "this system does not let one process set resource limits of another (prlimit)"
        if proc.start_time(os.getpid()) is None:
            return "/proc is not mounted, or does not show this process"
        return None

    def create(self, name: str, limits: ResourceConfiguration, *, tasks: int | None = None) -> "WatchdogGroup":
        if reason := self.available():
            raise LimitsUnavailable(self.enforcement, reason)
        with self.lock:
            group = WatchdogGroup(self, GUARD.new_number(), name, limits, tasks)
            self._groups[group.number] = group
            self._start()
        self.wake()
        return group

    def close(self) -> None:
        with self.lock:
            groups = list(self._groups.values())
        for group in groups:
            group.close()
        self._closed = True
        self.wake()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        GUARD.leave(self)

    def clean_stale(self) -> int:
        """Kills what carries the mark of a supervisor that is gone. Its guard has done so already, as a rule."""
        if not self.mark_limit:
            return 0
        stale = {mark for pid, mark in guard.marked(self.mark_limit) if guard.alive(pid) and not _owner_lives(mark)}
        return sum(1 for mark in stale if guard.kill_marked(self.mark_limit, mark, ~0))

    # for the groups

    def wake(self) -> None:
        """Have the thread look at the groups now."""
        self._wake.set()

    def forget(self, group: "WatchdogGroup") -> None:
        with self.lock:
            self._groups.pop(group.number, None)
            self.pins.drop(group.number)

    def find_members(self, *, at_once: bool = False) -> None:
        """Find processes that members started since the last look. The lock is held."""
        now = time.monotonic()
        if not at_once:
            if now < self._search_due:
                return
            self._search_due = now + _SEARCH_S
            newest = proc.newest_pid()
            if newest == self._newest_pid and now - self._searched < 5 * SAMPLE_S:
                return
            self._newest_pid = newest
        self._searched = now
        there = set(proc.pids())
        self._strangers &= there
        for pid in there - self._strangers:
            mark = guard.read_mark(self.mark_limit, pid)
            group = self._groups.get(mark & ~guard.OWNER_MASK) if mark & guard.OWNER_MASK == self.owner else None
            if group is not None:
                group.adopt(pid)
            else:
                self._strangers.add(pid)

    # the thread

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="fitserve-watchdog", daemon=True)
            self._thread.start()
        GUARD.keep(self)

    def _run(self) -> None:
        while not self._closed:
            try:
                wait = self._look()
            except Exception:
                # It must go on: without this thread nothing is limited, and what is stopped stays stopped.
                log.exception("the watchdog stumbled and goes on")
                wait = SAMPLE_S
            self._wake.wait(wait)
            self._wake.clear()

    def _look(self) -> float | None:
        """One look at every group that is due; gives the seconds until the next one is, None with no groups."""
        now = time.monotonic()
        with self.lock:
            if now - self._tidied > _TIDY_S:
                self._tidy(now)
            groups = list(self._groups.values())
        for group in groups:
            with self.lock:  # taken anew for each, so that nobody waits for all of them
                if time.monotonic() >= group.due:
                    group.look()
        return max(0.0, min(g.due for g in groups) - time.monotonic()) if groups else None

    def _tidy(self, now: float) -> None:
        """What need not be done often. The lock is held."""
        self._tidied = now
        self._strangers.clear()  # numbers of dead processes come back
        cores = {group.number: group.cores_used(now) for group in self._groups.values()}
        for number, cpus in self.pins.balance(cores).items():
            self._groups[number].pin(cpus)


class WatchdogGroup:
    """One group. Every method may be called from any thread."""

    enforcement: Enforcement = "watchdog"

    def __init__(
        self, backend: Watchdog, number: int, name: str, limits: ResourceConfiguration, tasks: int | None
    ) -> None:
        self.name, self.limits, self.number = name, limits, number
        self._most_tasks = sys.maxsize if tasks is None else tasks
        self._crowded = False
        self.due = 0.0
        self._backend = backend
        self._mark = guard.group_mark(backend.owner, number)
        self._memory_limit = limits.memory_bytes
        self._members: dict[int, _Member] = {}
        self._cpus = backend.pins.cpus
        self._duty: DutyCycle | None = None
        self._rested = 0.0  # of earlier duty cycles
        self._footprint = Footprint()
        self._oom_kills = 0
        self._ended_cpu_ns = 0  # of members that are gone and that no member waited for
        self._sampled = self._sample_due = 0.0
        self._sampled_cpu_ns = 0
        self._tidied = (time.monotonic(), 0)

    # the contract

    def add(self, pid: int) -> None:
        guard.write_mark(self._backend.mark_limit, pid, self._mark)
        with self._backend.lock:
            self._footprint.inherited[pid] = proc.memory_bytes(pid)
            self.adopt(pid)
            self._sampled = self._sample_due = self.due = 0.0
        self._backend.wake()

    def expect(self, pid: int) -> Sequence[str]:
        self.add(pid)
        return ()

    def rlimits(self) -> dict[str, int]:
        return {"RLIMIT_DATA_EXTRA": self._memory_limit + _ALLOCATOR_SLACK}

    def set_cpu(self, cores: float | None) -> None:
        with self._backend.lock:
            if self._duty is not None:
                self._rested += self._duty.rested_seconds
                if self._duty.resting:
                    self._signal(signal.SIGCONT)
                self._duty = None
            if cores is None:
                self._backend.pins.drop(self.number)
                self.pin(self._backend.pins.cpus)
            else:
                self.pin(self._backend.pins.take(self.number, math.ceil(cores)))
                self._duty = DutyCycle(cores, len(self._cpus), time.monotonic(), self._cpu_ns() / 1e9)
            self.due = 0.0
        self._backend.wake()

    def set_memory(self, limit_bytes: int) -> None:
        with self._backend.lock:
            self._memory_limit = limit_bytes
            self._sampled = self._sample_due = self.due = 0.0  # an idle group may be over it already
        self._backend.wake()

    def usage(self) -> Usage:
        with self._backend.lock:
            return Usage(
                memory_bytes=self._footprint.bytes,
                memory_peak_bytes=self._footprint.peak,
                cpu_seconds=self._cpu_ns() / 1e9,
                throttled_seconds=self._rested + (self._duty.rested_seconds if self._duty else 0.0),
                oom_kills=self._oom_kills,
            )

    def pids(self) -> Sequence[int]:
        with self._backend.lock:
            self._backend.find_members(at_once=True)
            return [pid for pid, member in self._members.items() if _lives(pid, member)]

    def kill(self) -> None:
        guard.kill_marked(self._backend.mark_limit, self._mark, ~0)

    def close(self) -> None:
        self.kill()
        self._backend.forget(self)

    # for the back end, which holds the lock

    def adopt(self, pid: int) -> None:
        """A process that carries this group's mark."""
        found = None if pid in self._members else proc.stat(pid)
        if found is None or not found.alive:
            return
        self._members[pid] = _Member(found.started)
        if self._cpus != self._backend.pins.cpus:
            proc.set_affinity(pid, self._cpus)
        if self._duty is not None and self._duty.resting:
            _signal(pid, signal.SIGSTOP)

    def pin(self, cpus: frozenset[int]) -> None:
        if cpus != self._cpus:
            self._cpus = cpus
            for pid in self._members:
                proc.set_affinity(pid, cpus)

    def cores_used(self, now: float) -> float:
        """On average since it was asked last."""
        (then, before), used = self._tidied, self._cpu_ns()
        self._tidied = (now, used)
        return (used - before) / 1e9 / max(now - then, 1e-3)

    def look(self) -> None:
        """Called in the thread: sample if it is time, then let the group run or rest."""
        now = time.monotonic()
        if now >= self._sample_due:
            self._sample(now)
        self.due = self._sample_due
        if self._duty is not None:
            was_resting = self._duty.resting
            self.due = min(self.due, now + self._duty.step(now, self._cpu_ns() / 1e9))
            if self._duty.resting != was_resting:
                self._signal(signal.SIGSTOP if self._duty.resting else signal.SIGCONT)

    def _sample(self, now: float) -> None:
        self._backend.find_members()
        self._sample_due = now + SAMPLE_S
        used = self._cpu_ns()
        ran = used - self._sampled_cpu_ns
        fits = self._footprint.bytes + ran * _BYTES_PER_CPU_NS <= self._memory_limit
        fits = fits and len(self._members) <= self._most_tasks
        if self._sampled and (ran == 0 or (fits and now - self._sampled < _SURELY_S)):
            return  # who did not run did not allocate, and who ran a little did not allocate much
        self._sampled = now
        faults = self._refresh()
        self._sampled_cpu_ns = max(self._cpu_ns(), used)
        self._ended_cpu_ns += self._sampled_cpu_ns - self._cpu_ns()
        before = self._footprint.bytes
        tasks = sum(member.threads for member in self._members.values())
        if tasks > self._most_tasks:
            if not self._crowded:  # once: they take a while to die
                log.warning("%s has %d processes and threads of %d and is killed", self.name, tasks, self._most_tasks)
            self._crowded = True
            self.kill()
            return
        self._crowded = False
        if self._footprint.update(faults, self._memory_limit, now):
            self._oom_kills += 1
            log.warning(
                "%s passed its memory limit of %d bytes with %d and is killed",
                self.name, self._memory_limit, self._footprint.bytes,
            )  # fmt: skip
            self.kill()
        elif self._footprint.bytes - before > self._memory_limit // 100:
            self._sample_due = now + _GROWING_S

    def _refresh(self) -> dict[int, int]:
        """Drop members that are gone; gives the page faults of the living."""
        faults = {}
        for pid, member in list(self._members.items()):
            found = proc.stat(pid)
            if found is None or found.started != member.started:
                del self._members[pid]
                self._footprint.inherited.pop(pid, None)
                continue
            member.children_cpu_ns = found.children_cpu_ns
            member.threads = found.threads if found.alive else 0
            if found.alive:
                faults[pid] = found.faults
        return faults

    def _cpu_ns(self) -> int:
        for pid, member in self._members.items():
            member.cpu_ns = max(member.cpu_ns, proc.cpu_ns(pid) or 0)
        return self._ended_cpu_ns + sum(m.cpu_ns + m.children_cpu_ns for m in self._members.values())

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._members:
            _signal(pid, number)


class _Member:
    """What is known of one process of a group."""

    __slots__ = ("children_cpu_ns", "cpu_ns", "started", "threads")

    def __init__(self, started: int) -> None:
        self.started = started
        self.cpu_ns = 0
        self.children_cpu_ns = 0
        self.threads = 1


def available_cpus() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}


def _lives(pid: int, member: _Member) -> bool:
    found = proc.stat(pid)
    return found is not None and found.alive and found.started == member.started


def _owner_lives(mark: int) -> bool:
    pid = guard.owner_pid(mark)
    started = proc.start_time(pid)
    return started is not None and guard.owner_mark(pid, started) == mark & guard.OWNER_MASK


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return
