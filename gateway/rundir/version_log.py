"""The log of one model version: the output of its children, of bounded size, in a file that ``fitserve logs`` shows."""

import hashlib
import os
from pathlib import Path
from typing import Final

from gateway.ipc.routing_table import OF_SERVICE
from registry import services
from registry.model import Model
from registry.records import ServiceRecord
from registry.workspace import Workspace

LARGEST: Final = 10 * 2**20
_TAIL: Final = 64 * 2**10
_NAME_MAX: Final = 255  # bytes of a file's name, on every file system that we know
_OLD: Final = ".1"


def log_name(name: str, version: int) -> str:
    """The file's name in the log folder; a model name that is too long is shortened and given a digest."""
    ending = f"-{version}.log"
    if len(os.fsencode(name + ending + _OLD)) > _NAME_MAX:
        name = f"{name[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"  # at most 4 bytes to a character
    return name + ending


def service_log(workspace: Workspace, service: ServiceRecord) -> Path:
    """The log of the version that answers for a service.

    Raises:
        ModelNotFound
    """
    model, version = services.target(service)
    if version is None:
        version = Model(workspace, model).version
    name = f"{model}{OF_SERVICE}{service.name}" if services.runs_alone(service) else model
    return workspace.logs_dir / log_name(name, version)


class VersionLog:
    """`log_name` in the workspace's log folder; when it is full it is renamed to end in ``.1``.

    If the log cannot be written (the disk is full), lines are dropped silently: a model must not fail because of its
    output.
    """

    def __init__(self, folder: Path, name: str, version: int, largest: int = LARGEST) -> None:
        self.path = folder / log_name(name, version)
        self._largest = largest
        self._file = -1
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append output of the children."""
        try:
            if self._file < 0:
                self._open()
            elif self._size + len(data) > self._largest:
                self.close()
                self.path.replace(self.path.with_name(f"{self.path.name}{_OLD}"))
                self._open()
            self._size += os.write(self._file, data)
        except OSError:
            self.close()

    def tail(self, lines: int = 20) -> list[str]:
        """The last lines, of at most 64 KiB."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                text = file.read().decode("utf-8", errors="replace")
        except OSError:
            return []
        return text.splitlines()[-lines:]

    def close(self) -> None:
        """Close the file until the next line."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size
