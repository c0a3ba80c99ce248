"""What a connection and the requests on it know of each other."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol


class Cycle(Protocol):
    """One request and its response.

    The connection calls `start` when the requests before it are answered, `feed` with parts of the body, and `go` when it has started
    and the body is complete. The cycle calls `Connection.response_done` once, unless the caller disconnects.
    """

    more_body: bool
    response_complete: bool
    disconnected: bool
    keep_alive: bool

    def start(self) -> None: ...

    def feed(self, part: bytes) -> None: ...

    def go(self) -> None: ...

    def time_out(self) -> None:
        """The body takes too long."""

    def disconnect(self) -> None:
        """The caller has gone."""


class Connection(Protocol):
    """`current` is the cycle whose response is next."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    current: Cycle | None

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task that a graceful shutdown waits for."""

    def send_continue(self, headers: Mapping[bytes, bytes]) -> None:
        """Ask for the body, where the caller waits for that."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None:
        """Unless something else is in the way."""

    async def drain(self) -> None:
        """Wait until the caller has taken most of what was written."""

    def response_done(self, cycle: Cycle) -> None: ...
