"""Limits: a group holds all processes of one model version, or of one training run, inside one CPU and memory limit.

Both training and serving need this, so it lives on the ground floor beside the interpreters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from registry.resources import ResourceConfiguration

Enforcement = Literal["cgroup2", "cgroup1", "watchdog", "none"]


@dataclass(frozen=True)
class Usage:
    """What a group uses now and has used. Bytes and seconds."""

    memory_bytes: int = 0
    memory_peak_bytes: int = 0
    cpu_seconds: float = 0.0
    throttled_seconds: float = 0.0
    oom_kills: int = 0


class Group(Protocol):
    """One limited group of processes."""

    name: str
    limits: ResourceConfiguration
    enforcement: Enforcement

    def add(self, pid: int) -> None:
        """Called by the supervisor before the process allocates anything worth counting; its later children follow it.

        Raises:
            ProcessLookupError: it is gone.
        """

    def expect(self, pid: int) -> Sequence[str]:
        """`add` for a process that has one thread and waits for our word: the files into which it writes ``0`` to go in by itself,
        in that order. None: it is inside already.

        Moved by another, the kernel waits until no process anywhere forks or ends, which takes 5 to 20 ms; version 1 lets a
        thread move itself at once.

        Raises:
            ProcessLookupError: it is gone.
        """

    def rlimits(self) -> dict[str, int]:
        """What the process itself must set at its start, by name: ``{"RLIMIT_DATA_EXTRA": bytes}`` means its inherited
        data size plus that much. Empty where the kernel does the work."""

    def set_cpu(self, cores: float | None) -> None:
        """Start to hold the group to that many cores; None lifts the hold (a starting model is not slowed)."""

    def set_memory(self, limit_bytes: int) -> None:
        """Another limit from now on; a group that has more than that already is killed."""

    def usage(self) -> Usage: ...
    def pids(self) -> Sequence[int]: ...
    def kill(self) -> None:
        """SIGKILL to all of it, also to what its processes started."""

    def close(self) -> None:
        """Kill what is left and remove the group. Safe to call twice."""


class Backend(Protocol):
    """A way to hold limits. `available()` says None when it works here, else a sentence that says why not."""

    enforcement: Enforcement

    def available(self) -> str | None: ...
    def create(self, name: str, limits: ResourceConfiguration, *, tasks: int | None = None) -> Group:
        """A group; at most so many `tasks`, which are processes and threads. Past that no more can be made, or, where only we
        hold the limit, the group is killed.

        Raises:
            LimitsUnavailable
        """

    def close(self) -> None:
        """End all groups and leave nothing behind."""

    def clean_stale(self) -> int:
        """Remove groups that a killed supervisor left behind; gives their number."""
