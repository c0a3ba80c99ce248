"""The last output of a process: drained from its pipe, kept in bounded memory, passed on to a sink."""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from typing import Final

LINES: Final = 200
BYTES: Final = 64 * 1024
PIECE: Final = 64 * 1024
MOST_IN_PIPE: Final = 1024 * 1024
RATE: Final = 10 * 2**20
PAUSE_S: Final = 0.1

Sink = Callable[[bytes], None]


class LogTail:
    """The last 200 lines, at most 64 KiB, of one or several processes one after the other.

    Args:
        sink: gets all bytes as they come, such as a version's log file; it must not block.
    """

    def __init__(self, sink: Sink | None = None, lines: int = LINES, nbytes: int = BYTES) -> None:
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._partial = b""
        self._most_lines, self._most_bytes = lines, nbytes
        self._sink = sink

    def write(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink(data)
        *whole, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > self._most_bytes // 4:  # a line without end
            whole.append(self._partial)
            self._partial = b""
        for line in whole:
            kept = line[-self._most_bytes // 4 :]
            self._lines.append(kept)
            self._size += len(kept) + 1
        while self._lines and (len(self._lines) > self._most_lines or self._size > self._most_bytes):
            self._size -= len(self._lines.popleft()) + 1

    def lines(self, last: int = LINES) -> list[str]:
        """The newest `last` lines, oldest first."""
        everything = [*self._lines, self._partial] if self._partial else list(self._lines)
        return [line.decode("utf-8", "replace") for line in everything[-last:]] if last > 0 else []


class LogPipe:
    """A pipe whose writing end a child gets, and whose reading end this loop drains into a tail until the last writer
    closes.

    A child that prints more than `RATE` bytes a second waits for its own lines, not the loop for them.
    """

    def __init__(self, tail: LogTail) -> None:
        self._tail = tail
        self._reading, self.writing = os.pipe()
        self._drained = 0  # bytes since the last pause
        self._since = 0.0
        os.set_blocking(self._reading, False)
        asyncio.get_running_loop().add_reader(self._reading, self._readable)

    def close_writing(self) -> None:
        """Called after the child has its copy."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def close(self) -> None:
        """Read what is in the pipe now, and no more: processes that the child started may still write."""
        self.close_writing()
        for _ in range(MOST_IN_PIPE // PIECE):
            if not self._take():
                break
        self._close_reading()

    def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._since > PAUSE_S:
            self._since, self._drained = now, 0
        self._drained += self._take()
        if self._drained > RATE * PAUSE_S and self._reading >= 0:
            loop.remove_reader(self._reading)
            loop.call_later(PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        if self._reading >= 0:
            asyncio.get_running_loop().add_reader(self._reading, self._readable)

    def _take(self) -> int:
        """Read one piece; gives its size, 0 if there is nothing."""
        if self._reading < 0:
            return 0
        try:
            data = os.read(self._reading, PIECE)
        except BlockingIOError:
            return 0
        if data:
            self._tail.write(data)
        else:
            self._close_reading()
        return len(data)

    def _close_reading(self) -> None:
        if self._reading >= 0:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                asyncio.get_running_loop().remove_reader(self._reading)
            os.close(self._reading)
            self._reading = -1
