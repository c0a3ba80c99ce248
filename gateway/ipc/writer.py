"""Writing to a transport without keeping the loop: what is large goes in pieces, a turn of the loop between one and the next.

A socket takes as much as its peer reads in the meantime, so one write of 16 MB can keep a loop for 20 ms, and so can one read.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

PIECE: Final = 1 << 17  # bytes that are written in one go
READ: Final = 1 << 16  # and read: libuv reads up to 32 times in a row
_HIGH_WATER: Final = 2 * PIECE

Part = bytes | memoryview


def pieces(part: Part) -> list[Part]:
    """`part` cut into pieces, not copied."""
    if len(part) <= PIECE:
        return [part]
    view = memoryview(part)
    return [view[start : start + PIECE] for start in range(0, len(view), PIECE)]


class BackpressuredWriter:
    """The way out of one connection. Its protocol passes on `pause_writing` and `resume_writing`."""

    __slots__ = ("_loop", "_paused", "_pouring", "_queue", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._queue: deque[Part] = deque()
        self._paused = self._pouring = False
        transport.set_write_buffer_limits(_HIGH_WATER)

    def write(self, parts: Sequence[Part]) -> None:
        """Everything in its order. Never waits, never copies."""
        if not self._queue and sum(map(len, parts)) <= PIECE:
            self._transport.writelines(parts)
            return
        for part in parts:
            self._queue.extend(pieces(part))
        if not self._pouring:
            self._pour()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._queue and not self._pouring:
            self._pour()

    def _pour(self) -> None:
        self._pouring = False
        if self._transport.is_closing():
            self._queue.clear()
            return
        size = 0
        while self._queue and not self._paused and size < PIECE:
            part = self._queue.popleft()
            size += len(part)
            self._transport.write(part)
        if self._queue and not self._paused:
            self._pouring = True
            self._loop.call_soon(self._pour)
