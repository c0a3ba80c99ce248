"""Watches the registry from a thread, so that a slow disk or database never blocks the supervisor's loop."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from registry.errors import FitserveError, WorkspaceReplaced
from registry.records import ModelVersion, ServiceRecord
from registry.stores.sqlite import mark_of
from registry.workspace import Workspace

log = logging.getLogger("fitserve.supervisor")

INTERVAL_S: Final = 0.05  # half of it is the mean delay of a registration; a check takes some ten microseconds
_PAUSE_S: Final = 2.0


@dataclass(frozen=True)
class Registered:
    """What is registered at one revision. `default` is the service or model behind ``/score``, if there is one."""

    revision: int
    models: Sequence[ModelVersion]
    default: str | None
    services: Sequence[ServiceRecord] = ()


def read_registered(workspace: Workspace) -> Registered:
    """Blocking. The revision is read first, so that a change during the read is noticed at the next check."""
    revision = workspace.revision()
    default = workspace.metadata.get_value("default_service")
    return Registered(revision, workspace.metadata.list_models(), default, workspace.metadata.list_services())


class _Identity:
    """Detects that a workspace's folder or database file was replaced. SQLite itself goes on with deleted files, and
    does not notice that a file was copied over."""

    def __init__(self, workspace: Workspace) -> None:
        self._root = workspace.root
        self._files = [path for path in (workspace.root, workspace.root / "fitserve.db") if path.exists()]
        # Never closed: when a process closes any descriptor of the file, SQLite loses its locks in that process.
        self._open = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in self._files[1:]]
        self._known = self._now()

    def _now(self) -> tuple[list[tuple[int, int]], list[bytes]]:
        there = [(found.st_dev, found.st_ino) for found in map(os.stat, self._files)]
        return there, [mark_of(descriptor) for descriptor in self._open]

    def check(self) -> None:
        """Raises WorkspaceReplaced."""
        try:
            same = self._now() == self._known
        except OSError:
            same = False
        if not same:
            raise WorkspaceReplaced(str(self._root))


class RegistryWatch:
    """Calls `on_change` (in the watching thread) with what is registered, at first and after each change."""

    def __init__(self, workspace: Workspace, on_change: Callable[[Registered], None], seen: int = -1) -> None:
        self._workspace = workspace
        self._on_change = on_change
        self._seen = seen
        self._identity = _Identity(workspace)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registry-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        unreadable = False
        pause = INTERVAL_S
        while not self._stop.wait(pause):
            try:
                self._identity.check()
                if self._workspace.revision() != self._seen:
                    registered = read_registered(self._workspace)
                    self._seen = registered.revision
                    self._on_change(registered)
                if unreadable:
                    log.info("the registry can be read again")
                unreadable, pause = False, INTERVAL_S
            except Exception as error:  # serving continues; changes are seen when it can be read again
                if not unreadable:
                    unexpected = None if isinstance(error, FitserveError) else error
                    log.error("the registry cannot be read: %s", error, exc_info=unexpected)
                unreadable, pause = True, _PAUSE_S
