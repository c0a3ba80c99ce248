"""The log of one model version: what its children print, bounded, in a file that ``fitserve logs`` shows."""

import os
from pathlib import Path
from typing import Final

LARGEST: Final = 10 * 2**20
_TAIL: Final = 64 * 2**10


class VersionLog:
    """``<name>-<version>.log`` in the workspace's folder of logs, and what came before in the same with ``.1`` at its end.

    A log that cannot be written (the disk is full) is given up silently: what a model prints must not end the model.
    """

    def __init__(self, folder: Path, name: str, version: int, largest: int = LARGEST) -> None:
        self.path = folder / f"{name}-{version}.log"
        self._largest = largest
        self._file = -1
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append; called with what children print, as it comes."""
        try:
            if self._file < 0:
                self._open()
            elif self._size + len(data) > self._largest:
                self.close()
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))
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
        """Until the next line."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size
