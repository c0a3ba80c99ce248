"""Watching the registry from a thread of its own, so that a slow disk or database never holds up the supervisor's loop."""

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

INTERVAL_S: Final = 0.05  # half of it is the mean delay of a registration; asking costs some ten microseconds
_PAUSE_S: Final = 2.0


@dataclass(frozen=True)
class Registered:
    """What is registered at one revision. `default` is the service or model behind ``/score``, if there is one."""

    revision: int
    models: Sequence[ModelVersion]
    default: str | None
    services: Sequence[ServiceRecord] = ()


def read_registered(workspace: Workspace) -> Registered:
    """Blocking. The revision is read first, so that a change during the reading is seen at the next look."""
    revision = workspace.revision()
    default = workspace.metadata.get_value("default_service")
    return Registered(revision, workspace.metadata.list_models(), default, workspace.metadata.list_services())


class _Place:
    """Folder and database file of a workspace as they are now: SQLite goes on with files that nobody else can find any more, and does
    not notice what is copied over them."""

    def __init__(self, workspace: Workspace) -> None:
        self._root = workspace.root
        self._files = [path for path in (workspace.root, workspace.root / "fitserve.db") if path.exists()]
        # Never closed: with any descriptor of the file that a process closes, SQLite loses its locks in that process.
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
        self._place = _Place(workspace)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registry-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        troubled = False
        pause = INTERVAL_S
        while not self._stop.wait(pause):
            try:
                self._place.check()
                if self._workspace.revision() != self._seen:
                    registered = read_registered(self._workspace)
                    self._seen = registered.revision
                    self._on_change(registered)
                if troubled:
                    log.info("the registry can be read again")
                troubled, pause = False, INTERVAL_S
            except Exception as error:  # what is served goes on; nothing new is seen until it can be read again
                if not troubled:
                    unexpected = None if isinstance(error, FitserveError) else error
                    log.error("the registry cannot be read: %s", error, exc_info=unexpected)
                troubled, pause = True, _PAUSE_S
