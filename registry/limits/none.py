"""No limits, said honestly: what is left on systems that are not Linux."""

import os
import signal
from collections.abc import Sequence

from registry.limits.base import Enforcement, Usage
from registry.limits.guard_process import GUARD
from registry.resources import ResourceConfiguration


class Unlimited:
    enforcement: Enforcement = "none"

    def __init__(self) -> None:
        self._groups: list[UnlimitedGroup] = []

    def available(self) -> str | None:
        return None

    def create(self, name: str, limits: ResourceConfiguration, *, tasks: int | None = None) -> "UnlimitedGroup":  # noqa: ARG002
        GUARD.keep(self)
        group = UnlimitedGroup(name, limits)
        self._groups.append(group)
        return group

    def close(self) -> None:
        for group in self._groups:
            group.close()
        self._groups.clear()
        GUARD.leave(self)

    def clean_stale(self) -> int:
        return 0


class UnlimitedGroup:
    """Remembers the processes that were added, so that they can be ended; their children only while they share a
    process group that one of them leads."""

    enforcement: Enforcement = "none"

    def __init__(self, name: str, limits: ResourceConfiguration) -> None:
        self.name, self.limits = name, limits
        self._pids: list[int] = []

    def add(self, pid: int) -> None:
        os.kill(pid, 0)  # raises ProcessLookupError
        GUARD.mark(pid, 0)
        self._pids.append(pid)

    def expect(self, pid: int) -> Sequence[str]:
        self.add(pid)
        return ()

    def rlimits(self) -> dict[str, int]:
        return {}

    def set_cpu(self, cores: float | None) -> None:
        """Nothing holds it."""

    def set_memory(self, limit_bytes: int) -> None:
        """Nothing holds it."""

    def usage(self) -> Usage:
        return Usage()

    def pids(self) -> Sequence[int]:
        self._pids = [pid for pid in self._pids if _there(pid)]
        return list(self._pids)

    def kill(self) -> None:
        for pid in self.pids():
            try:
                if os.getpgid(pid) == pid:
                    os.killpg(pid, signal.SIGKILL)
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def close(self) -> None:
        self.kill()
        self._pids.clear()


def _there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
