"""uvicorn's HTTP protocol in our words: what is no HTTP gets a JSON answer with a request id, and an upgrade is not taken.

A client may offer to speak something else (Java's offers HTTP/2 with every first request); a server may go on in HTTP/1.1 as if it had
not been offered (RFC 9110, 7.8). httptools stops reading such a request behind its head, and would lose the body.

Who sends more requests than are answered, or takes no answers, is read from no further: uvicorn alone would read on with each answer, and
keep all of it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httptools
import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.http.responses import WELL
from gateway.http.scoring import SERVER, Scoring
from gateway.ipc.writer import READ

HEAD_LIMIT: Final = 65_536  # bytes of headers, or of trailers or chunk extensions, in a row
_PIECE: Final = (
    16_384  # bytes that are parsed in one go; what they begin is in memory before the first of it is answered
)

_OF_UPGRADES: Final = frozenset({b"upgrade", b"http2-settings"})


class Flow(FlowControl):
    """Reads nothing while requests of the connection wait for those before them."""

    def __init__(self, transport: asyncio.Transport, crowded: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._crowded = crowded

    def resume_reading(self) -> None:
        if not self._crowded():
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """One connection. `scoring` is that of the application, a `gateway.http.app.Front`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.scoring: Scoring = config.loaded_app.scoring
        self.pointless = 0  # bytes received in a row that were neither a whole head nor a body
        self.upgrading = False  # the head that was just read offers an upgrade: it is read again without
        self._unparsed = b""
        self._parsing = False
        self._running: RequestResponseCycle | None = None  # uvicorn's, which may not be the one that came in last

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport, lambda: bool(self.pipeline or self._unparsed))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._running is not None:
            self._running.disconnected = True  # or it would write to what is closed
        super().connection_lost(exc)
        self.flow = FlowControl(self.transport)  # which does not know us: no collector is needed to free this

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        if len(data) <= _PIECE and not self._unparsed:
            self._parse(data)
            return
        self._unparsed += data
        self.parse_on()
        if self._unparsed:
            self.flow.pause_reading()
        elif len(data) > READ and not self.flow.read_paused:  # as long as more is there, libuv would go on reading
            self.flow.pause_reading()
            self.loop.call_soon(self._read_on)

    def parse_on(self) -> None:
        """What came in and was not parsed yet, until requests wait for others."""
        if self._parsing:
            return
        self._parsing = True
        try:
            start, data = 0, self._unparsed
            while start < len(data) and not self.pipeline and not self.transport.is_closing():
                self._parse(data[start : start + _PIECE])
                start += _PIECE
            self._unparsed = b"" if self.transport.is_closing() else data[start:]
        finally:
            self._parsing = False

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _parse(self, data: bytes) -> None:
        self.pointless += len(data)
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                if not self.upgrading:  # CONNECT: what follows is not for us
                    return
                data = self._head_without_upgrade() + data[offer.args[0] :]
                self.upgrading = False
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            except httptools.HttpParserError:
                self.send_400_response("What was sent is no HTTP request.")
                return
            else:
                break
        if self.pointless > HEAD_LIMIT and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self._refuse(431, f"The headers of a request must not exceed {HEAD_LIMIT:,} bytes")
            self.transport.close()

    def offers_upgrade(self) -> bool:
        """Called when a head is complete; true when nothing is to be done for it, since it will come again."""
        self.upgrading = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        return self.upgrading

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode("ascii")
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() not in _OF_UPGRADES)  # noqa: PLW2901
            if name not in _OF_UPGRADES:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def send_400_response(self, msg: str) -> None:
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            # A whole request came before it: this must not be taken for its answer.
            cycle.keep_alive = False
            self.flow.pause_reading()
            return
        self._refuse(400, msg)
        self.transport.close()

    def _refuse(self, status: int, sentence: str) -> None:
        body = orjson.dumps({"message": sentence})
        headers = [(b"content-type", b"application/json"), WELL, *self.scoring.ids.headers({}), SERVER]
        headers += [(b"connection", b"close"), (b"content-length", b"%d" % len(body))]
        self.transport.write(
            STATUS_LINE[status] + b"".join([b"%b: %b\r\n" % pair for pair in headers]) + b"\r\n" + body
        )
