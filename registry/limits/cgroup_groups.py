"""What the back ends of both versions of control groups do alike: make groups, fill them, and remove them in the end."""

import errno
import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from registry.errors import LimitsUnavailable
from registry.limits.base import Enforcement
from registry.limits.cgroup import Names, members, why, write
from registry.limits.guard_process import GUARD
from registry.resources import ResourceConfiguration

log = logging.getLogger(__name__)


class Graveyard:
    """Removes folders of groups: a group that still has dying processes cannot be removed, so it is tried again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folders: set[Path] = set()
        self._thread: threading.Thread | None = None

    def bury(self, folders: Iterable[Path]) -> None:
        """Never blocks."""
        left = {folder for folder in folders if not _removed(folder)}
        with self._lock:
            self._folders |= left
            if left and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fitserve-cgroups", daemon=True)
                self._thread.start()

    def close(self, seconds: float = 5.0) -> None:
        """Wait until all is removed."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        for folder in sorted(self._folders):
            log.warning("the control group %s still has processes and stays", folder)

    def _run(self) -> None:
        pause = 0.002
        while True:
            time.sleep(pause)
            pause = min(pause * 1.5, 0.25)
            with self._lock:
                folders = list(self._folders)
            gone = {folder for folder in folders if _removed(folder)}
            with self._lock:  # more may have come meanwhile
                self._folders -= gone
                if not self._folders:
                    self._thread = None
                    return


class CgroupGroup(ABC):
    """`folders` are the group's, one for each hierarchy, the first tells the members."""

    enforcement: Enforcement

    def __init__(self, name: str, limits: ResourceConfiguration, folders: Sequence[Path], graveyard: Graveyard) -> None:
        self.name, self.limits = name, limits
        self.closed = False
        self._folders = list(folders)
        self._graveyard = graveyard

    @abstractmethod
    def make(self) -> None:
        """Make the folders and set the memory limit; raises OSError."""

    def limit_tasks(self, tasks: int) -> None:
        """Bound processes and threads, where there is a controller for that; raises OSError."""
        for folder in self._folders:
            if (folder / "pids.max").exists():
                write(folder / "pids.max", tasks)

    def add(self, pid: int) -> None:
        for folder in self._folders:
            write(folder / "cgroup.procs", pid)
        GUARD.mark(pid, 0)

    def expect(self, pid: int) -> Sequence[str]:
        self.add(pid)
        return ()

    def rlimits(self) -> dict[str, int]:
        return {}

    def pids(self) -> Sequence[int]:
        return members(self._folders[0])

    @abstractmethod
    def kill(self) -> None:
        """SIGKILL to all of it."""

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.kill()
            self._graveyard.bury(self._folders)


G = TypeVar("G", bound=CgroupGroup)


class CgroupBackend(ABC, Generic[G]):
    """Keeps what was made, to end it."""

    enforcement: Enforcement

    def __init__(self, prefix: str) -> None:
        self._names = Names(prefix)
        self._graveyard = Graveyard()
        self._groups: list[G] = []

    @abstractmethod
    def _new(self, name: str, limits: ResourceConfiguration) -> G:
        """A group that has no folder yet; raises LimitsUnavailable."""

    def create(self, name: str, limits: ResourceConfiguration, *, tasks: int | None = None) -> G:
        group = self._new(name, limits)
        GUARD.keep(self)
        try:
            group.make()
            if tasks is not None:
                group.limit_tasks(tasks)
        except OSError as e:
            group.close()
            raise LimitsUnavailable(self.enforcement, why(e)) from e
        self._groups = [g for g in self._groups if not g.closed] + [group]
        return group

    def close(self) -> None:
        for group in self._groups:
            group.close()
        self._groups.clear()
        self._graveyard.close()
        GUARD.leave(self)


def stale(folder: Path, names: Names) -> Iterator[Path]:
    """Groups in `folder` that were left behind."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    yield from (entry for entry in entries if names.is_stale(entry.name))


def _removed(folder: Path) -> bool:
    """Try to remove a group with what its processes may have made inside; True when it is gone."""
    for inner, _, _ in os.walk(folder, topdown=False):
        try:
            os.rmdir(inner)
        except FileNotFoundError:
            continue
        except OSError as e:
            if e.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                log.warning("the control group %s cannot be removed: %s", inner, e.strerror)
                return True
            return False
    return True
