"""Accepting connections, as many as have come. libuv accepts one a turn of its loop; in overload a turn takes tens of milliseconds, so that of a
thousand new callers most would wait for seconds before anybody looked at them, while those who came earlier were served on and on.

Near the limit of descriptors nobody is accepted until others have gone: they wait in the kernel's queue, and what is connected is served
on, with descriptors left for new processes of models.
"""

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import Callable
from typing import Final

AT_ONCE: Final = 512  # a turn, for about 20 ms in which nobody else is served
_REST_S: Final = 0.1
_SPARE: Final = 64  # descriptors that callers do not get

log = logging.getLogger("fitserve.http")


class Acceptor:
    """Accepts on `listening` from `open` to `close`. `protocol` makes one for each connection.

    Where siblings share the socket, a turn takes one caller, and twice as many as the turn before while more have come: who looks first would
    have them all, and in a flood nobody waits long either.
    """

    def __init__(
        self, listening: socket.socket, protocol: Callable[[], asyncio.BaseProtocol], siblings: bool = False
    ) -> None:
        self._listening, self._protocol = listening, protocol
        self._first = self._at_once = 1 if siblings else AT_ONCE
        self._loop = asyncio.get_running_loop()
        self._open = self._full = False
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = limit - min(_SPARE, limit // 4)
        self._entering: set[asyncio.Task[object]] = set()

    def open(self) -> None:
        self._listening.setblocking(False)
        self._open = True
        self._look()

    async def close(self) -> None:
        """Let in who has come until now, and nobody after that."""
        self._open = False
        self._loop.remove_reader(self._listening)
        while self._accept():
            pass
        self._listening.close()
        if self._entering:
            await asyncio.wait(self._entering)

    def _look(self) -> None:
        if self._open:
            self._loop.add_reader(self._listening, self._accept)

    def _rest(self, reason: str) -> None:
        """Look again a little later: at once would only burn time. Said once until somebody gets in."""
        if not self._full:
            log.error("no connection is accepted for now: %s", reason)
        self._full = True
        self._loop.remove_reader(self._listening)
        self._loop.call_later(_REST_S, self._look)

    def _accept(self) -> bool:
        """One turn. True: more may have come."""
        for _ in range(self._at_once):
            try:
                if _lowest_free(self._listening) >= self._most:
                    self._rest(f"{self._most} descriptors are in use; raise the limit of open files (ulimit -n)")
                    return False
                sock, _ = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):  # a sibling was quicker, or the caller has gone
                self._at_once = self._first
                return False
            except OSError as error:
                self._rest(str(error))
                return False
            self._full = False
            sock.setblocking(False)
            task = self._loop.create_task(self._enter(sock))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)
        self._at_once = min(2 * self._at_once, AT_ONCE)
        return True

    async def _enter(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # gone meanwhile
            await self._loop.connect_accepted_socket(self._protocol, sock)


def _lowest_free(sock: socket.socket) -> int:
    """The number that the next descriptor gets, which tells how many are in use. Raises OSError: there is none."""
    number = os.dup(sock.fileno())
    os.close(number)
    return number
