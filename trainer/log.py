"""The log of a run: bounded when written, and followed while it grows."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

LOG_LIMIT: Final = 100 * 2**20  # bytes
_TAIL: Final = 64 * 2**10


class BoundedLog:
    """A log file of about `limit` bytes at most: the beginning and, appended at close, the last 64 KB.

    The last lines matter most when a script has failed, so they are never left out. A full disk shortens the log and does
    not end the script.
    """

    def __init__(self, path: Path, limit: int = LOG_LIMIT) -> None:
        self._file = path.open("ab", buffering=0)
        self._left = limit
        self._limit = limit
        self._tail = bytearray()
        self._beyond = 0  # bytes after the limit, including the tail

    def write(self, data: bytes) -> None:
        self._tail += data
        del self._tail[:-_TAIL]
        head = data[: self._left]
        if head:
            self._left -= len(head)
            self._put(head)
        if len(head) < len(data):
            if not self._beyond:
                self._put(f"\n[fitserve] this log has reached {self._limit} bytes; only its end follows\n".encode())
            self._beyond += len(data) - len(head)

    def last_lines(self, count: int = 12) -> str:
        """The last non-empty lines; invalid UTF-8 is replaced."""
        return _last(bytes(self._tail), count)

    def close(self) -> None:
        if self._file.closed:
            return
        if self._beyond:
            end = bytes(self._tail[-self._beyond :])
            self._put(f"[fitserve] {self._beyond - len(end)} bytes omitted\n".encode() + end)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError:
            self._left = 0  # the disk is full; let the script continue without a log


class BuildLog:
    """The log of building an environment; the file is created with the first line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, line: str) -> None:
        head = "" if self._path.exists() else "Building environment…\n"
        with self._path.open("a", encoding="utf-8") as file:
            file.write(head + line.rstrip("\n") + "\n")


class Follower:
    """Reads text appended to a log; an incomplete UTF-8 character is kept until its remaining bytes arrive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read(self) -> Iterator[str]:
        """Yield the text appended since the last call, in pieces."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(self._offset)
            while piece := file.read(1 << 16):
                self._offset += len(piece)
                if text := self._decoder.decode(piece):
                    yield text


def last_lines(path: Path, count: int = 12) -> str:
    """The last non-empty lines of a log file; an empty string when there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            return _last(file.read(), count)
    except FileNotFoundError:
        return ""


def _last(data: bytes, count: int) -> str:
    lines = data.decode("utf-8", errors="replace").splitlines()
    return "\n".join([line.rstrip() for line in lines if line.strip()][-count:])
