"""uvicorn's HTTP protocol with a short cut: a plain scoring request is answered without an ASGI scope, task or cycle.

The short cut takes POSTs to scoring paths without a query, on connections with nothing in progress. Everything else, and whatever has
to wait for a model to start, goes the ordinary way (`gateway.http.scoring`), which can do all of it. Both give the same answers.

Also here, for all requests: timeouts for slow and idle connections, by one sweep a process instead of a timer a request.
"""

import asyncio
import time
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from gateway.dataplane.connection import LARGE, is_large
from gateway.dataplane.models import Version
from gateway.dataplane.request_queue import ClientGone, Moved, Pending
from gateway.errors import BodyTooLarge, SlowSender
from gateway.http.protocol import Connection
from gateway.http.request_id import ID_HEADERS, Headers
from gateway.http.responses import Written, dressed, told
from gateway.http.scoring import SERVER, Route, room_for
from gateway.ipc.writer import pieces
from gateway.types import Call, ScoreRequest, ScoreResult

KEEP_ALIVE_S: Final = 75.0  # longer than the usual load balancer's 60

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-ms-run-function-failed: False\r\n"
    + b"%b: %b\r\n" % SERVER
    + b"x-ms-run-fn-exec-ms: %.3f\r\ncontent-length: %d\r\n"
)
#: Request headers that change the answer's, or its time.
_TELLING: Final = frozenset({*ID_HEADERS, b"x-request-timeout-ms"})
_CLOSE: Final = (b"connection", b"close")
_SAME_ID: Final = b"x-request-id: %b\r\nx-ms-request-id: %b\r\n"


class _NoEvent:
    """uvicorn wakes whoever waits for the body; nobody does."""

    def set(self) -> None:
        pass


_NO_EVENT: Final = _NoEvent()
_NO_CALL: Final = Call(b"", {})


class Exchange:
    """One request and its answer on the short cut. For the batcher it is the answer's place and the request's source; for
    uvicorn's protocol it looks like one of its own cycles."""

    __slots__ = (
        "_buffer", "_deadline", "_protocol", "_version", "body", "call", "disconnected", "headers", "ids", "keep_alive", "more_body", "request",
        "response_complete", "route", "size", "started",
    )  # fmt: skip
    message_event = _NO_EVENT

    def __init__(
        self, protocol: "ScoringProtocol", route: Route, headers: dict[bytes, bytes], keep_alive: bool
    ) -> None:
        self._protocol, self.route, self.headers, self.keep_alive = protocol, route, headers, keep_alive
        self.disconnected = self.response_complete = False
        self.more_body = True
        self.body: bytes | list[bytes] = b""
        self._buffer: memoryview | None = None
        self.size = 0
        self.started = 0.0
        self.ids: Headers | None = None

    # the request

    def begin(self) -> None:
        """The head is complete. Who may not ask, or says that the body is too long, need not send it."""
        scoring = self._protocol.scoring
        try:
            guard = self.route.guard or scoring.guard
            if guard.on:
                guard.check(self.headers)
            length = self.headers.get(b"content-length")
            if length is not None:
                if int(length) > scoring.body_limit:
                    raise BodyTooLarge(scoring.body_limit, int(length))
                self._buffer = room_for(int(length))
        except Exception as error:
            self.fail(error)

    def feed(self, part: bytes) -> None:
        """Bytes of the body; after an early answer they are let fall."""
        if self.response_complete:
            return
        size = self.size = self.size + len(part)
        if size > self._protocol.scoring.body_limit:
            self.body = b""
            self.fail(BodyTooLarge(self._protocol.scoring.body_limit))
        elif self._buffer is not None:
            self._buffer[size - len(part) : size] = part
        elif not self.body:
            self.body = part
        elif type(self.body) is list:
            self.body.append(part)
        else:
            self.body = [cast(bytes, self.body), part]

    def drop(self) -> None:
        """The caller has gone: what came of a body is not kept until a collector finds it."""
        self.body, self._buffer = b"", None

    def go(self) -> None:
        """The body is complete."""
        self.more_body = False
        if self.response_complete:
            self._close_behind()
            return
        scoring, route = self._protocol.scoring, self.route
        try:
            if scoring.access_log is not None:
                self.started = time.perf_counter()
            timeout_ms = scoring.timeout_ms
            if not _TELLING.isdisjoint(self.headers):
                self.ids = scoring.ids.given(self.headers)
                timeout_ms = scoring.timeout_of(self.headers)
            body = self._whole()
            encoding = None
            if b"content-encoding" in self.headers:
                body, encoding = scoring.plain_body(body, self.headers)
            self.call = Call(body, self.headers, b"", route.method, encoding=encoding)
            self._deadline = self._protocol.loop.time() + timeout_ms / 1000
            number = route.number
            version = route.model.live if number is None else route.model.versions.get(number)
            if version is None or not version.queue.links or len(body) >= LARGE or encoding:
                self._go_slowly()
                return
            self._version: Version = version
            self.request: ScoreRequest = route.dialect.parse(self.call, version.target)
            version.queue.submit(Pending(self.request, self, self._deadline, timeout_ms, self, number is None))
        except Exception as error:
            self.fail(error)

    def _whole(self) -> bytes | memoryview:
        if self._buffer is not None:
            body, self._buffer = self._buffer, None
            return body
        parts, self.body = self.body, b""
        return b"".join(parts) if isinstance(parts, list) else parts

    def _go_slowly(self) -> None:
        """Wait for a version that answers, or for the desk."""
        self._protocol.run(self._slowly())

    async def _slowly(self) -> None:
        try:
            body, exec_ns = await self._protocol.scoring.score(self.route, self.call, self, self._deadline)
        except ClientGone:
            self._done()
        except Exception as error:
            self.fail(error)
        else:
            self._write(body, exec_ns)

    # what the batcher calls (gateway.dataplane.batcher.Answer)

    def done(self) -> bool:
        return self.response_complete

    def set_result(self, result: ScoreResult) -> None:
        if is_large(result):
            self._protocol.run(self._write_slowly(result))
            return
        try:
            body = self.route.dialect.format(self.request, result, self._version.target)
        except Exception as error:
            self.fail(error)
        else:
            self._write(body, result.exec_ns)

    async def _write_slowly(self, result: ScoreResult) -> None:
        scoring = self._protocol.scoring
        try:
            answer = await scoring.written(self.route, self.call, self._version, self.request, result)
        except Exception as error:
            self.fail(error)
        else:
            self._write(answer, result.exec_ns)

    def set_exception(self, error: BaseException) -> None:
        if isinstance(error, Moved):
            self._go_slowly()
        elif isinstance(error, ClientGone):
            self._done()
        else:
            self.fail(cast(Exception, error))

    # the answer

    def _write(self, answer: Written, exec_ns: int) -> None:
        if type(answer) is not bytes:
            self._write_dressed(answer, exec_ns)
            return
        head = _HEAD % (exec_ns / 1e6, len(answer))
        if self.ids is None:
            number = self._protocol.scoring.ids.new()
            head += _SAME_ID % (number, number)
        else:
            head += b"".join([b"%b: %b\r\n" % pair for pair in self.ids])
        if not self.keep_alive:
            head += b"connection: close\r\n"
        self._send(200, head + b"\r\n" + answer, len(answer))

    def _write_dressed(self, answer: Written, exec_ns: int) -> None:
        status, body, headers = dressed(answer)
        if not self.keep_alive:
            headers.append(_CLOSE)
        headers += told(headers, exec_ns)
        self._write_all(status, body, headers, self.ids or self._protocol.scoring.ids.headers({}))

    def fail(self, error: Exception) -> None:
        scoring = self._protocol.scoring
        ids = self.ids or scoring.ids.headers({})
        status, body, headers = scoring.failure(self.route.dialect, error, ids)
        self.route.model.failed(self.route.number, status)
        if isinstance(error, SlowSender):
            self.keep_alive = self.more_body = False  # said in the headers already; nothing more is waited for
        elif not self.keep_alive:
            headers.append(_CLOSE)
        self._write_all(status, body, headers, ids)

    def _write_all(self, status: int, body: bytes | memoryview, headers: Headers, ids: Headers) -> None:
        headers += [*ids, SERVER, (b"content-length", b"%d" % len(body))]
        lines = b"".join([b"%b: %b\r\n" % pair for pair in headers])
        head = STATUS_LINE[status] + lines + b"\r\n"
        if len(body) < LARGE:
            self._send(status, head + body, len(body))
        else:
            self._send(status, head, len(body), body)

    def _send(self, status: int, answer: bytes, size: int, rest: bytes | memoryview = b"") -> None:
        protocol = self._protocol
        if not protocol.transport.is_closing():
            protocol.transport.write(answer)
            if rest:
                protocol.run(self._pour(rest))
        if protocol.scoring.access_log is not None:
            seconds = time.perf_counter() - self.started if self.started else 0.0
            protocol.scoring.access_log.add("POST", self.route.path, status, seconds, size)
        if not rest or protocol.transport.is_closing():
            self._done()

    async def _pour(self, rest: bytes | memoryview) -> None:
        """The loop turns between the pieces of a large answer, and waits for a slow reader."""
        protocol = self._protocol
        for piece in pieces(rest):
            if protocol.transport.is_closing():
                break
            protocol.transport.write(piece)
            await asyncio.sleep(0)
            await protocol.flow.drain()
        self._done()

    def _done(self) -> None:
        self.response_complete = True
        self.call = _NO_CALL  # the connection may rest for long, and the body be large
        self._close_behind()
        self._protocol.on_response_complete()

    def _close_behind(self) -> None:
        """Close the connection if this was its last request, behind the end of the body: who still sends would not see the answer."""
        if not self.keep_alive and not self.more_body:
            self._protocol.transport.close()


class ScoringProtocol(Connection):
    """For `uvicorn.Config(http=ScoringProtocol)` with a `gateway.http.app.Front` as the application.

    Between requests and while a head or body arrives, `since` says since when; `sweep` ends what takes too long.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._routes = config.loaded_app.routes.by_url
        self._short_cut = not self.scoring.cors.on
        self.since = 0.0
        self.idle = False  # between two requests
        self.leaving = False
        self._unsent, self._taken = 0, 0.0  # bytes that the client has not taken, since when it has taken none

    # uvicorn's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self.since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        cycle = cast(Any, self.cycle)
        if type(cycle) is Exchange:
            cycle.drop()

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.since = self.loop.time()
        self.idle = False

    def on_headers_complete(self) -> None:
        self.pointless = 0
        if self.offers_upgrade():
            return
        route = self._routes.get(self.url)
        parser, cycle = self.parser, self.cycle
        if (
            route is not None
            and self._short_cut
            and (cycle is None or cycle.response_complete)
            and not self.expect_100_continue
            and not self.flow.write_paused
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
        ):
            headers = dict(self.headers)
            exchange = Exchange(self, route, headers, parser.should_keep_alive() and not self.leaving)
            self.cycle = cast(Any, exchange)
            exchange.begin()
            return
        url, headers_so_far, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers = self.scope["headers"] = headers_so_far
        super().on_headers_complete()
        if self.leaving:
            cast(Any, self.cycle).keep_alive = False

    def on_body(self, body: bytes) -> None:
        self.pointless = 0
        cycle = cast(Any, self.cycle)
        if type(cycle) is Exchange:
            cycle.feed(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.upgrading:
            return
        cycle = cast(Any, self.cycle)
        if type(cycle) is Exchange:
            cycle.go()
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.pipeline:
            super().on_response_complete()
            if not self.pipeline:
                self.parse_on()
                self._read_on()
            return
        # uvicorn would set a timer for each request here; `sweep` needs none.
        self.server_state.total_requests += 1
        self.since = self.loop.time()
        self.idle = True
        if self._unparsed:
            self.parse_on()
        if self.flow.read_paused:
            self._read_on()

    # ours

    def last_call(self) -> None:
        """The process is about to end: what is asked now is answered, and the connection closed behind it."""
        self.leaving = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def run(self, work: Any) -> None:
        """A task that a graceful shutdown waits for."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def sweep(self, now: float) -> None:
        """Called now and then: end the connection if it has been idle, or sending one request, or taking nothing of an answer, for too
        long."""
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent or not unsent:
            self._unsent, self._taken = unsent, now
        elif now - self._taken > self.scoring.body_timeout_s:
            self.transport.abort()
            return
        waited = now - self.since
        cycle = cast(Any, self.cycle)
        if self.idle:
            unread = cycle is not None and cycle.more_body  # it was answered before all of it was here
            if waited > (self.scoring.body_timeout_s if unread else KEEP_ALIVE_S):
                self.transport.close()
        elif waited > self.scoring.body_timeout_s:
            if cycle is None or cycle.response_complete:  # a head that does not end
                self.transport.close()
            elif type(cycle) is Exchange and cycle.more_body:
                cycle.fail(SlowSender(self.scoring.body_timeout_s))
