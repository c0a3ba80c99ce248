"""A replica set: the scoring children of one model version, all of them in one limit group."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Literal

from gateway.ipc.routing_table import ChildAddress, LastDeath
from gateway.supervisor.reaper import Exit
from gateway.supervisor.worker_process import ChildHandle
from registry.errors import FitserveError
from registry.golden import Recording
from registry.limits.base import Group, Usage
from registry.records import Json
from registry.resources import GB, ResourceConfiguration
from registry.units import memory_text, peak_text

_KILLED: Final = 9
_REAP_S: Final = 5.0  # a process in an uninterruptible system call dies only when that returns
_SAME_OOM_S: Final = 2.0  # deaths by SIGKILL this soon after an out-of-memory kill belong to it

FailureKind = Literal["digest", "load", "memory", "died", "timeout", "golden", "machine"]


class StartFailed(FitserveError):
    """A child failed to start. The message is for people; `death` is set if the child died."""

    def __init__(self, kind: FailureKind, sentence: str, death: LastDeath | None = None) -> None:
        self.kind = kind
        self.death = death
        super().__init__(sentence)


class Child:
    """One scoring child.

    Attributes:
        answered: it gave a caller an answer; golden rows do not count.
        over_request: it was computing a caller's request when it died.
    """

    def __init__(self, number: int, handle: ChildHandle, socket: str, description: dict[str, Json]) -> None:
        self.id = number
        self.pid = handle.pid
        self.handle = handle
        self.socket = socket
        self.description = description
        self.recording: Recording | None = None  # its golden rows
        self.proved = False  # shortcuts and batching were proved, or the proof was given up
        self.answered = False
        self.over_request = False
        self.stuck = False  # killed because it computed too long
        self.since = time.monotonic()

    @property
    def address(self) -> ChildAddress:
        return ChildAddress(self.id, self.socket)


class ReplicaSet:
    """Children that share a limit group. It applies their limits and classifies their deaths.

    Args:
        what: the version's id, for sentences.
        size: how many children there should be.
        on_death: gets (replica set, child, how it ended) when a serving child has ended; the child has left `children` then.
    """

    def __init__(
        self,
        what: str,
        group: Group,
        limits: ResourceConfiguration,
        size: int,
        on_death: "OnDeath",
    ) -> None:
        self.what = what
        self.group = group
        self.limits = limits
        self.size = size
        self.wanted_size = size  # as requested; `size` is lowered when so many do not fit into the limit
        self.unrecorded: str | None = None  # why its children's answers must not become golden rows
        self.children: dict[int, Child] = {}
        self._on_death = on_death
        self._closed = False
        self._oom_kills = 0
        self._oom_at = float("-inf")

    @property
    def key(self) -> str:
        """Name of the group; no two replica sets ever have the same."""
        return self.group.name

    def join(self, child: Child) -> bool:
        """Have a loaded child serve. False: it has died in the meantime."""
        if not child.handle.alive:
            return False
        self.children[child.id] = child
        child.handle.exited.add_done_callback(lambda exited: self._ended(child, exited.result()))
        if len(self.children) == 1:
            self.group.set_cpu(self.limits.cores)
        return True

    def change_limits(self, limits: ResourceConfiguration) -> None:
        """Put other limits in force without a restart; only where the kernel enforces all of them."""
        self.limits = limits
        self.group.set_memory(limits.memory_bytes)
        self.group.set_cpu(limits.cores)

    def can_change_limits(self, limits: ResourceConfiguration, size: int) -> bool:
        """False where a restart is needed: threads and rlimits are fixed for a process's life, and less memory may be
        too little."""
        same = (limits.threads, size) == (self.limits.threads, self.wanted_size)
        return same and not self.group.rlimits() and limits.memory_bytes >= self.limits.memory_bytes

    def usage(self) -> Usage:
        return self.group.usage()

    def verdict(self, end: Exit, child: Child | None = None) -> LastDeath:
        """Classify a death, by how the child ended and by the group's memory events."""
        if child is not None and child.stuck:
            return LastDeath("stuck", f"model {self.what} computed for too long and is being restarted")
        usage = self.group.usage()
        now = time.monotonic()
        if usage.oom_kills > self._oom_kills:
            self._oom_kills, self._oom_at = usage.oom_kills, now
        if end.out_of_memory or (end.signal == _KILLED and now - self._oom_at < _SAME_OOM_S):
            limit, peak = self.limits.memory_in_gb, usage.memory_peak_bytes / GB
            sentence = f"model {self.what} exceeded its memory limit of {memory_text(limit)}{peak_text(limit, peak)} and is being restarted"
            return LastDeath("memory", sentence, limit, round(peak, 3))
        cause = f"exit {end.code}" if end.signal is None else f"signal {end.signal}"
        return LastDeath(cause, f"a process of model {self.what} ended ({cause}) and is being restarted")

    def kill(self) -> None:
        """SIGKILL to everything in the group, also what the children started. The group stays."""
        self.group.kill()

    async def end(self) -> None:
        """`close`, after its processes have ended and their memory is free."""
        self._closed = True
        exits = [child.handle.exited for child in self.children.values()]
        self.group.kill()
        if exits:
            await asyncio.wait(exits, timeout=_REAP_S)
        self.close()

    def close(self) -> None:
        """End everything and remove the group. Deaths are no longer reported."""
        self._closed = True
        self.children.clear()
        self.group.close()

    def _ended(self, child: Child, end: Exit) -> None:
        self.children.pop(child.id, None)
        if not self._closed:
            self._on_death(self, child, end)


OnDeath = Callable[[ReplicaSet, Child, Exit], None]
