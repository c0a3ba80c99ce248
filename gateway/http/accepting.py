"""Accepting connections, as many as have come. libuv accepts one a turn of its loop; in overload a turn takes tens of milliseconds, so that of a
thousand new callers most would wait for seconds before anybody looked at them, while those who came earlier were served on and on.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Final

AT_ONCE: Final = 512  # a turn, for about 20 ms in which nobody else is served
_REST_S: Final = 0.1

log = logging.getLogger("fitserve.http")


class Acceptor:
    """Accepts on `listening`, which siblings may share, from `open` to `close`. `protocol` makes one for each connection."""

    def __init__(self, listening: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._listening, self._protocol = listening, protocol
        self._loop = asyncio.get_running_loop()
        self._open = False
        self._entering: set[asyncio.Task[object]] = set()

    def open(self) -> None:
        self._listening.setblocking(False)
        self._open = True
        self._look()

    def close(self) -> None:
        self._open = False
        self._loop.remove_reader(self._listening)

    def _look(self) -> None:
        if self._open:
            self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                sock, _ = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):  # a sibling was quicker, or the caller has gone
                return
            except OSError as error:  # no more descriptors, most likely: asking again at once would only burn time
                log.error("a connection could not be accepted: %s", error)
                self._loop.remove_reader(self._listening)
                self._loop.call_later(_REST_S, self._look)
                return
            sock.setblocking(False)
            task = self._loop.create_task(self._enter(sock))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)

    async def _enter(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # gone meanwhile
            await self._loop.connect_accepted_socket(self._protocol, sock)
