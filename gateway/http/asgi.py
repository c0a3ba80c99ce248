"""One request for an ASGI application: everything that is not scoring."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from gateway.errors import SlowSender
from gateway.http.cycle import Connection
from gateway.http.responses import CLOSE, response_head
from gateway.http.scoring import Scoring

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_MOST_UNREAD: Final = 65_536  # bytes of a body that wait for the application
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

log = logging.getLogger("fitserve.http")


class AsgiCycle:
    """A `gateway.http.cycle.Cycle`."""

    more_body = True
    response_complete = False
    disconnected = False
    _error: Exception | None = None
    _started = _chunked = _body_ended = False

    def __init__(
        self,
        connection: Connection,
        scoring: Scoring,
        app: App,
        scope: Scope,
        headers: dict[bytes, bytes],
        keep_alive: bool,
    ) -> None:
        self.connection, self.scoring, self.keep_alive = connection, scoring, keep_alive
        self._app, self._scope, self._headers = app, scope, headers
        self._body = bytearray()
        self._changed = asyncio.Event()

    def start(self) -> None:
        self.connection.run(self._run())

    def feed(self, part: bytes) -> None:
        if not self.response_complete:
            self._body += part
            if len(self._body) > _MOST_UNREAD:
                self.connection.pause_reading()
            self._changed.set()

    def go(self) -> None:
        self._changed.set()

    def time_out(self) -> None:
        """The body takes too long: the application gets the error where it reads."""
        self.keep_alive = self.more_body = False
        self._error = SlowSender(self.scoring.body_timeout_s)
        self._changed.set()

    def disconnect(self) -> None:
        self.disconnected = True
        self._changed.set()

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
            if not (self.response_complete or self.disconnected):
                raise RuntimeError("the application returned without a complete response")
        except Exception:
            log.exception("%s %s failed", self._scope["method"], ascii(self._scope["path"]))
            if not self._started:
                headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"21")]
                self.keep_alive = False
                await self._send({"type": "http.response.start", "status": 500, "headers": headers})
                await self._send({"type": "http.response.body", "body": b"Internal Server Error"})
            elif not self.response_complete:
                self.connection.transport.close()

    async def _receive(self) -> Message:
        if self.more_body and not self._body:
            self.connection.send_continue(self._headers)
        while not (self.disconnected or self.response_complete):
            if self._error is not None:
                raise self._error
            if not self._body_ended and (self._body or not self.more_body):
                self._body_ended = not self.more_body
                body, self._body = bytes(self._body), bytearray()
                return {"type": "http.request", "body": body, "more_body": self.more_body}
            self._changed.clear()
            self.connection.resume_reading()
            await self._changed.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self.connection.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            self._start_response(message["status"], list(message.get("headers", ())))
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._scope["method"] == "HEAD":
            body = b""
        elif self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        if body:
            self.connection.transport.write(body)
        if not more:
            self.response_complete = True
            self._changed.set()
            self.connection.response_done(self)

    def _start_response(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        for name, value in headers:
            if _CONTROL.search(name) or _CONTROL.search(value):
                raise RuntimeError(f"the response's header {name!r} has a control character")
        self._started = True
        if status not in (204, 304) and not any(name.lower() == b"content-length" for name, _ in headers):
            self._chunked = True
            headers.append((b"transfer-encoding", b"chunked"))
        if not self.keep_alive:
            headers.append(CLOSE)
        self.connection.transport.write(response_head(status, headers))
