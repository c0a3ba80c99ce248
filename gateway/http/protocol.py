"""One HTTP/1.1 connection, on httptools' parser: for `uvicorn.Config(http=HttpProtocol)` with a `gateway.http.app.Application`.

Requests are answered one after the other, in their order. A caller that sends more of them than are answered, or takes no responses, is
read from no further. Offers to switch to another protocol (Java's client offers HTTP/2 with its first request) are ignored, as RFC 9110,
7.8 allows. There is no timer per request: `sweep`, called now and then, ends what takes too long.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
import orjson
from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.errors import InvalidRequest, TransferCodingUnsupported
from gateway.http.app import Application
from gateway.http.asgi import App, AsgiCycle
from gateway.http.cycle import Cycle
from gateway.http.errors import UNEXPECTED
from gateway.http.request_id import Headers
from gateway.http.responses import CLOSE, JSON, SERVER, WELL, response_head
from gateway.http.scoring import ScoringCycle
from gateway.ipc.writer import READ
from registry.errors import FitserveError

HEAD_LIMIT: Final = 65_536  # bytes of headers, or of trailers or chunk extensions, in a row
KEEP_ALIVE_S: Final = 75.0  # longer than the usual load balancer's 60
_PIECE: Final = (
    16_384  # bytes that are parsed at a time; all requests that start in them are kept until they are answered
)

_NOT_HTTP: Final = "What was sent is no HTTP request."
_UPGRADE: Final = frozenset({b"upgrade", b"http2-settings"})

log = logging.getLogger("fitserve.http")


class HttpProtocol(asyncio.Protocol):
    """`current` is the cycle that is being answered, `reading` the one whose body is being received."""

    transport: asyncio.Transport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: Mapping[str, Any],  # noqa: ARG002 - of a lifespan, which there is not
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.application = cast(Application, config.app)
        self.scoring, self._routes = self.application.scoring, self.application.routes
        self.loop = _loop or asyncio.get_running_loop()
        self._connections, self._tasks = cast(set[Any], server_state.connections), server_state.tasks
        self.parser: Any = None
        self.current: Cycle | None = None
        self.reading: Cycle | None = None
        self.pipeline: deque[Cycle] = deque()  # complete or not, waiting for `current`
        self.ending = False  # no request after those that were read is answered
        self.leaving = False  # the process ends: each request is its connection's last
        self._unparsed: bytes | memoryview = b""
        self._advancing = False
        self._read_paused = self._write_paused = False
        self._writable = asyncio.Event()
        self._writable.set()
        # the request that is being read
        self._url = b""
        self._headers: Headers = []
        self._unmatched = 0  # bytes received in a row that completed no head and were no body
        # for `sweep`
        self._in_head = True  # a head is incomplete, or the first request has not come
        self._since: float | None = None  # when this state began; None: after the last sweep
        self._unsent, self._taken = 0, 0.0  # bytes that the caller has not taken; since when it has taken none

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        # Asked now: of a connection that broke it could not be told whether its peer is this machine.
        self._peer = _address(transport, "peername")
        self.parser = _parser(self)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._connections.discard(self)
        for cycle in (self.current, self.reading, *self.pipeline):
            if cycle is not None:
                cycle.disconnect()
        self.current = self.reading = self.parser = None  # no collector is needed to free this
        self.pipeline.clear()
        self._unparsed = b""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        if self.ending and self.reading is None:
            return
        if len(data) <= _PIECE and not self._unparsed:
            self._parse(data)
            return
        self._unparsed = data if not self._unparsed else bytes(self._unparsed) + data
        self._advance()
        if self._unparsed:
            self.pause_reading()
        elif len(data) > READ and not self._read_paused:  # otherwise libuv reads on for as long as more is there
            self.pause_reading()
            self.loop.call_soon(self.resume_reading)

    def eof_received(self) -> bool:
        """The caller sends no more; it gets the responses to the requests that are complete."""
        incomplete, self.reading = self.reading, None
        if incomplete is not None and incomplete in self.pipeline:
            self.pipeline.remove(incomplete)
        return incomplete is not self.current and self._end_after_last()

    def pause_writing(self) -> None:
        self._write_paused = True
        self._writable.clear()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._writable.set()
        self._advance()

    # httptools

    def on_message_begin(self) -> None:
        self._url, self._headers = b"", []
        self._since, self._in_head = None, True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._unmatched, self._in_head = 0, False
        parser = self.parser
        if self.ending or (parser.should_upgrade() and parser.get_method() != b"CONNECT"):
            return
        headers, version, method = dict(self._headers), parser.get_http_version(), parser.get_method()
        keep_alive = version != "1.0" and parser.should_keep_alive() and not self.leaving
        verb = "POST" if method == b"POST" else method.decode("ascii")
        error = None
        if len(headers) != len(self._headers) or b"host" not in headers or b"transfer-encoding" in headers:
            error = head_error(self._headers, version)
        raw_path, query = self._url, b""
        route = self._routes.by_url.get(raw_path)
        if route is None:
            try:
                url = httptools.parse_url(self._url)
                raw_path, query = url.path, url.query or b""
                path = unquote(raw_path.decode("ascii"))
            except (httptools.HttpParserError, UnicodeDecodeError, AttributeError):  # there may be no path
                self._reject(400, _NOT_HTTP)
                return
            route = self._routes.by_path.get(path)
        if route is not None and error is None:
            cycle: Cycle = ScoringCycle(self, self.scoring, route, verb, query, headers, keep_alive)
        else:
            app: App = self.application if error is None else partial(self.application.refuse, error)
            scope = {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": version,
                "method": verb,
                "scheme": "http",
                "path": path if route is None else route.path,
                "raw_path": raw_path,
                "query_string": query,
                "root_path": "",
                "headers": self._headers,
                "client": self._peer,
                "server": _address(self.transport, "sockname"),
            }
            cycle = AsgiCycle(self, self.scoring, app, scope, headers, keep_alive and error is None)
        self._headers = []  # trailers go nowhere
        self.ending = not cycle.keep_alive
        self.reading = cycle
        if self.current is None and not self.pipeline and not self._write_paused:
            self.current = cycle
            cycle.start()
        else:
            self.pipeline.append(cycle)
            self.pause_reading()

    def on_body(self, body: bytes) -> None:
        self._unmatched = 0
        if self.reading is not None:
            self.reading.feed(body)

    def on_message_complete(self) -> None:
        cycle, self.reading = self.reading, None
        if cycle is None:
            return
        cycle.more_body = False
        if cycle is self.current:
            cycle.go()
        elif cycle.response_complete and not cycle.keep_alive:  # not before: who still sends would not see the response
            self.transport.close()

    # gateway.http.cycle.Connection

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def send_continue(self, headers: Mapping[bytes, bytes]) -> None:
        if headers.get(b"expect", b"").lower() == b"100-continue" and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def pause_reading(self) -> None:
        if not self._read_paused and not self.transport.is_closing():
            self._read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._read_paused and not (self.pipeline or self._unparsed or self.transport.is_closing()):
            self._read_paused = False
            self.transport.resume_reading()

    async def drain(self) -> None:
        if self._write_paused:
            await self._writable.wait()

    def response_done(self, cycle: Cycle) -> None:
        self.current = None
        self._since = None
        if not (cycle.keep_alive or cycle.more_body):
            self.transport.close()
        elif self.pipeline or self._unparsed or self._read_paused:
            self._advance()

    # uvicorn.Server

    def shutdown(self) -> None:
        """Close the connection, behind the response to the last request that was read."""
        if not self._end_after_last():
            self.transport.close()

    # gateway.http.process.Server

    def last_call(self) -> None:
        """The process is about to end: what is asked now is answered, and the connection closed behind it."""
        self.leaving = True
        self._end_after_last()

    def sweep(self, now: float) -> None:
        """Called now and then: end the connection if it has been idle, or sending one request, or taking nothing of a response, for
        too long."""
        body_timeout_s = self.scoring.body_timeout_s
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent or not unsent:
            self._unsent, self._taken = unsent, now
        elif now - self._taken > body_timeout_s:
            self.transport.abort()
            return
        if self._since is None:
            self._since = now
        waited = now - self._since
        if self.current is not None:
            if self.current.more_body and waited > body_timeout_s:
                self.current.time_out()
        elif waited > (body_timeout_s if self._in_head or self.reading is not None else KEEP_ALIVE_S):
            self.transport.close()

    # parsing

    def _advance(self) -> None:
        """Start the next request, or parse what came in, for as long as the requests before are answered and the caller takes responses."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while not self.transport.is_closing():
                if self.pipeline:
                    if self.current is not None or self._write_paused:
                        break
                    self.current, self._since = self.pipeline.popleft(), None
                    self.current.start()
                elif self._unparsed and not (self.ending and self.reading is None):
                    data = memoryview(self._unparsed)
                    self._unparsed = data[_PIECE:]
                    self._parse(data[:_PIECE])
                else:
                    self._unparsed = b""
                    break
        finally:
            self._advancing = False
        self.resume_reading()

    def _parse(self, data: bytes | memoryview) -> None:
        self._unmatched += len(data)
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                if self.ending:
                    return
                data = self._head_without_upgrade() + bytes(data[offer.args[0] :])
                self.parser = _parser(self)
            except httptools.HttpParserCallbackError as error:
                log.error("unexpected error in a connection", exc_info=error.__context__ or error)
                self._reject(500, UNEXPECTED)
                return
            except httptools.HttpParserError:
                self._reject(400, _NOT_HTTP)
                return
            else:
                break
        if self._unmatched > HEAD_LIMIT:
            self._reject(431, f"The headers of a request must not exceed {HEAD_LIMIT:,} bytes")

    def _head_without_upgrade(self) -> bytes:
        """The head that was just read, to be read again: httptools stops at an offer to switch protocols, and would lose the body."""
        lines = [
            b"%b %b HTTP/%b" % (self.parser.get_method(), self._url, self.parser.get_http_version().encode("ascii"))
        ]
        for name, value in self._headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() not in _UPGRADE)  # noqa: PLW2901
            if name not in _UPGRADE:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _reject(self, status: int, sentence: str) -> None:
        """Nothing that follows can be read. Complete requests before it are answered; this must not be taken for a response to them."""
        if self.transport.is_closing():
            return
        broken, self.reading = self.reading, None
        if broken is not None and broken in self.pipeline:
            self.pipeline.remove(broken)
        if broken is not self.current and self._end_after_last():
            self.pause_reading()
            return
        self.ending = True
        if broken is None or not broken.response_complete:
            body = orjson.dumps({"message": sentence})
            headers = [JSON, WELL, *self.scoring.ids.headers({}), SERVER, CLOSE, (b"content-length", b"%d" % len(body))]
            self.transport.write(response_head(status, headers) + body)
        self.transport.close()

    def _end_after_last(self) -> bool:
        """Answer no more than the requests that were read. False: there are none."""
        last = self.pipeline[-1] if self.pipeline else self.current
        if last is None:
            return False
        last.keep_alive = False
        self.ending = True
        return True


def head_error(headers: Sequence[tuple[bytes, bytes]], version: str) -> FitserveError | None:
    """What is wrong with a head that the parser accepts: a proxy in front may have read it differently."""
    names = [name for name, _ in headers]
    if names.count(b"host") > 1 or (b"host" not in names and version == "1.1"):
        return InvalidRequest("a request must have exactly one Host header")
    if names.count(b"authorization") > 1:
        return InvalidRequest("a request must not have more than one Authorization header")
    values = b",".join(value for name, value in headers if name == b"transfer-encoding")
    codings = [coding.strip().lower() for coding in values.split(b",")]
    if len(codings) > 1 and codings[-1] == b"chunked":
        return TransferCodingUnsupported(values.decode("latin-1"))
    return None


def _parser(protocol: HttpProtocol) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    # Requests behind one with "Connection: close" are ignored here; they must not spoil the response to it.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def _address(transport: asyncio.BaseTransport, which: str) -> tuple[str, int] | None:
    """Host and port; None for a Unix socket."""
    address = transport.get_extra_info(which)
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None
