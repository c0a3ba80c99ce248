"""The one way through for scoring requests: head, body, dialect, batcher, response.

A request whose model is running, and whose body and answer are small, needs no task and no future: the batcher hands its result to the
cycle that read it. A task is started only where something has to be waited for: a model that starts, the process for large bodies,
or a caller that reads slowly.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from gateway.auth.guard import Guard
from gateway.dataplane.connection import LARGE, is_large
from gateway.dataplane.models import ModelTable, Version
from gateway.dataplane.request_queue import ClientGone, Moved, Pending
from gateway.errors import BodyTooLarge, DeadlineExceeded, InvalidRequest, MethodNotAllowed, SlowSender
from gateway.http.access import AccessControl
from gateway.http.compression import decompressed
from gateway.http.cors import Cors
from gateway.http.cycle import Connection
from gateway.http.logging import AccessLog
from gateway.http.offload import BINARY, OffloadClient, OffloadGone, OffloadHandle, Refused
from gateway.http.request_id import ID_HEADERS, Headers, RequestIds
from gateway.http.responses import (
    CLOSE,
    SERVER,
    WELL,
    Body,
    Formatted,
    failed_answer,
    outcome_headers,
    response_head,
    response_parts,
)
from gateway.http.routes import Route
from gateway.ipc.writer import pieces
from gateway.protocols.script import is_script
from gateway.types import Call, ScoreRequest, ScoreResult, Target

LONGEST_TIMEOUT_MS: Final = 3_600_000.0

_LARGE_BINARY: Final = 2_000_000  # bytes; such a body is read at once, but its numbers are checked one by one
#: The usual response, in one piece.
_RESPONSE: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-ms-run-function-failed: False\r\n"
    + b"%b: %b\r\n" % SERVER
    + b"x-ms-run-fn-exec-ms: %.3f\r\ncontent-length: %d\r\nx-request-id: %b\r\nx-ms-request-id: %b\r\n\r\n%b"
)
_CALLERS_IDS: Final = frozenset(ID_HEADERS)


class Scoring:
    """What all scoring requests of this process share."""

    def __init__(self, models: ModelTable, guard: Guard, cors: Cors, access_log: AccessLog | None = None) -> None:
        settings = models.settings
        self.models, self.guard, self.cors, self.access_log = models, guard, cors, access_log
        self.access = AccessControl(guard, cors, models.table, settings.allowed_hosts)
        self.ids = RequestIds()
        self.body_limit = int(settings.body_limit_mb * 1e6)
        self.body_timeout_s = settings.body_timeout_s
        self.timeout_ms = settings.request_timeout_ms
        self.offload = OffloadClient()

    def timeout_of(self, headers: Mapping[bytes, bytes]) -> float:
        """Milliseconds that the caller allows. Raises InvalidRequest."""
        text = headers.get(b"x-request-timeout-ms")
        if text is None:
            return self.timeout_ms
        try:
            milliseconds = float(text)
        except ValueError:
            milliseconds = 0.0
        if not milliseconds > 0:
            raise InvalidRequest("the header x-request-timeout-ms must be a positive number of milliseconds")
        return min(milliseconds, LONGEST_TIMEOUT_MS)

    def plain_body(self, body: Body, encoding: bytes) -> tuple[Body, bytes | None]:
        """The decompressed body; or, where decompressing takes long, the body as it came, and its encoding.

        Raises:
            BodyTooLarge · InvalidRequest · UnsupportedMediaType
        """
        if len(body) < LARGE:
            try:
                return decompressed(body, encoding, min(LARGE, self.body_limit)), None
            except BodyTooLarge:
                if self.body_limit <= LARGE:
                    raise
        return body, encoding

    def decompressed(self, call: Call) -> Call:
        if call.encoding is None:
            return call
        return replace(call, body=decompressed(call.body, call.encoding, self.body_limit), encoding=None)


class ScoringCycle:
    """A `gateway.http.cycle.Cycle`. For the batcher it is both the receiver of the result and the source of the request."""

    more_body = True
    response_complete = False
    disconnected = False
    ids: Headers | None = None
    _buffer: memoryview | None = None
    _size = 0
    _started = 0.0
    _handle: OffloadHandle | None = None
    _version: Version
    _request: ScoreRequest

    def __init__(
        self,
        connection: Connection,
        scoring: Scoring,
        route: Route,
        verb: str,
        query: bytes,
        headers: dict[bytes, bytes],
        keep_alive: bool,
    ) -> None:
        self.connection, self.scoring = connection, scoring
        self.route, self.verb, self.query, self.headers, self.keep_alive = route, verb, query, headers, keep_alive
        self._parts: list[bytes] = []

    # the request

    def start(self) -> None:
        """Check the head: reject unauthorised and oversized requests before reading the body."""
        scoring, headers, verb = self.scoring, self.headers, self.verb
        try:
            guard = self.route.guard or scoring.guard
            # A browser asks without the key whether it may send one.
            if guard.on and not (verb == "OPTIONS" and scoring.cors.preflight(headers)):
                scoring.access.check_scoring(guard, headers)
            if not _CALLERS_IDS.isdisjoint(headers):
                self.ids = scoring.ids.given(headers)
            if verb != "POST":
                if verb not in self.route.dialect.verbs:
                    raise MethodNotAllowed(self.route.dialect.verbs)
                if verb == "OPTIONS":
                    content_type = (b"content-type", b"text/html; charset=utf-8")
                    self._respond(200, b"", [content_type, WELL, *scoring.cors.preflight(headers)])
                    return
            size = int(headers.get(b"content-length", self._size))
            if size > scoring.body_limit:
                raise BodyTooLarge(scoring.body_limit, size)
        except Exception as error:
            self.fail(error)
            return
        if not self.more_body:
            self.go()
            return
        if size >= LARGE and not self._parts:
            self._buffer = np.empty(size, np.uint8).data  # the system provides its pages as they are filled
        if b"expect" in headers:
            self.connection.send_continue(headers)

    def feed(self, part: bytes) -> None:
        """Part of the body; dropped after an early response."""
        if self.response_complete:
            return
        size = self._size = self._size + len(part)
        if self._buffer is not None:
            self._buffer[size - len(part) : size] = part
            return
        self._parts.append(part)
        if size > self.scoring.body_limit and self.connection.current is self:
            self._parts = []
            self.fail(BodyTooLarge(self.scoring.body_limit))

    def go(self) -> None:
        """The body is complete."""
        scoring, headers, route = self.scoring, self.headers, self.route
        if scoring.access_log is not None:
            self._started = time.perf_counter()
        try:
            body: Body = b"".join(self._parts) if self._buffer is None else self._buffer
            self._parts, self._buffer = [], None
            encoding = headers.get(b"content-encoding")
            if encoding is not None:
                body, encoding = scoring.plain_body(body, encoding)
            self._timeout_ms = scoring.timeout_of(headers)
            self._deadline = self.connection.loop.time() + self._timeout_ms / 1000
            self._call = Call(body, headers, self.query, route.method, self.verb, encoding=encoding)
            version = route.version
            if version is None or not version.queue.links or _takes_long(self._call, version.target):
                self.connection.run(self._prepare())
            else:
                self._submit(version, route.dialect.parse(self._call, version.target))
        except Exception as error:
            self.fail(error)

    async def _prepare(self) -> None:
        """Wait for a version that takes requests, and for the offload process where the body is large."""
        models, route, call = self.scoring.models, self.route, self._call
        try:
            while True:
                version = await models.opened(
                    route.model, route.number, self._deadline, self._timeout_ms, len(call.body)
                )
                if not _takes_long(call, version.target):
                    self._submit(version, route.dialect.parse(call, version.target))
                    return
                request = await self._parse_elsewhere(version)
                if version.queue.links:
                    self._submit(version, request)
                    return
                self._drop_handle()  # the version stopped in the meantime
        except Exception as error:
            self.fail(error)

    async def _parse_elsewhere(self, version: Version) -> ScoreRequest:
        """In the offload process; here, if that died.

        Raises:
            Refused: the dialect rejected the request.
        """
        call, dialect, load, size = self._call, self.route.dialect, self.route.model.load, len(self._call.body)
        load.check(self.route.model.name, size)
        load.add(size)
        try:
            async with asyncio.timeout_at(self._deadline):
                handle = await self.scoring.offload.parse(dialect.name, call, version.entry, self.scoring.body_limit)
        except OffloadGone:
            self._call = self.scoring.decompressed(call)
            return dialect.parse(self._call, version.target)
        except TimeoutError:
            raise DeadlineExceeded(self._timeout_ms) from None
        finally:
            load.remove(size)
        self._handle = handle
        return handle.request

    def _submit(self, version: Version, request: ScoreRequest) -> None:
        self._version, self._request = version, request
        pending = Pending(request, self, self._deadline, self._timeout_ms, self, self.route.number is None)
        version.queue.submit(pending)

    # what the batcher calls (gateway.dataplane.request_queue.Receiver)

    def done(self) -> bool:
        return self.response_complete

    def set_result(self, result: ScoreResult) -> None:
        if self._handle is not None or is_large(result):
            self.connection.run(self._format_elsewhere(result))
            return
        try:
            answer = self.route.dialect.format(self._request, result, self._version.target)
        except Exception as error:
            self.fail(error)
        else:
            self._reply(answer, result.exec_ns)

    def set_exception(self, error: BaseException) -> None:
        self._drop_handle()
        if isinstance(error, Moved):
            self.connection.run(self._prepare())
        elif isinstance(error, ClientGone):
            self._end()
        else:
            assert isinstance(error, Exception)
            self.fail(error)

    async def _format_elsewhere(self, result: ScoreResult) -> None:
        """In the offload process; here, if that died."""
        offload, dialect, version, handle = self.scoring.offload, self.route.dialect, self._version, self._handle
        try:
            async with asyncio.timeout_at(self._deadline):
                if handle is not None:
                    answer: Formatted = await offload.format(handle, result)
                else:
                    answer = await offload.write(dialect.name, self._call, version.entry, result)
        except TimeoutError:
            self.fail(DeadlineExceeded(self._timeout_ms))
        except OffloadGone:  # with what it knew of the request
            try:
                request = dialect.parse(self.scoring.decompressed(self._call), version.target)
                self._reply(dialect.format(request, result, version.target), result.exec_ns)
            except Exception as error:
                self.fail(error)
        except Exception as error:
            self.fail(error)
        else:
            self._reply(answer, result.exec_ns)

    # the response

    def _reply(self, answer: Formatted, exec_ns: int) -> None:
        scoring = self.scoring
        if type(answer) is bytes and self.ids is None and self.keep_alive and not scoring.cors.on:
            number = scoring.ids.new()
            self._write(_RESPONSE % (exec_ns / 1e6, len(answer), number, number, answer))
            self._log(200, len(answer))
            self._end()
            return
        status, body, headers = response_parts(answer)
        self._respond(status, body, headers + outcome_headers(headers, exec_ns))

    def fail(self, error: Exception) -> None:
        """Answer with an error, in the dialect's form."""
        self._drop_handle()
        ids = self.ids = self.ids or self.scoring.ids.headers({})
        if isinstance(error, Refused):
            status, body, headers = error.status, error.body, error.headers
        else:
            status, body, headers = failed_answer(self.route.dialect, error, ids[0][1].decode("ascii", "replace"))
        self.route.model.failed(self.route.number, status)
        self._respond(status, body, headers)

    def time_out(self) -> None:
        """The body takes too long."""
        self.keep_alive = self.more_body = False
        self.fail(SlowSender(self.scoring.body_timeout_s))

    def _respond(self, status: int, body: Body, headers: Headers) -> None:
        scoring = self.scoring
        headers += self.ids or scoring.ids.headers({})
        if scoring.cors.on:
            headers += scoring.cors.headers(self.headers)
        headers += [SERVER, (b"content-length", b"%d" % len(body))]
        if not self.keep_alive:
            headers.append(CLOSE)
        head = response_head(status, headers)
        self._log(status, len(body))
        if self.verb == "HEAD":
            body = b""
        if len(body) < LARGE:
            self._write(head + body)
            self._end()
        else:
            self.connection.run(self._write_slowly(head, body))

    def _write(self, data: Body) -> None:
        transport = self.connection.transport
        if not transport.is_closing():
            transport.write(data)

    async def _write_slowly(self, head: bytes, body: Body) -> None:
        """A large body goes out in pieces, so that the loop serves others in between, and at the caller's pace."""
        self._write(head)
        for piece in pieces(body):
            self._write(piece)
            await asyncio.sleep(0)
            await self.connection.drain()
        self._end()

    def _log(self, status: int, size: int) -> None:
        access_log = self.scoring.access_log
        if access_log is not None:
            seconds = time.perf_counter() - self._started if self._started else 0.0
            access_log.add(self.verb, self.route.path, status, seconds, size)

    def _end(self) -> None:
        self.response_complete = True
        self.connection.response_done(self)

    def disconnect(self) -> None:
        """The caller has gone."""
        self.disconnected = True
        self._parts, self._buffer = [], None

    def _drop_handle(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            self.scoring.offload.drop(handle)


def _takes_long(call: Call, target: Target) -> bool:
    """True if reading this body would block the event loop for too long."""
    size = len(call.body)
    if size < LARGE or is_script(target):
        return call.encoding is not None
    return size >= _LARGE_BINARY or BINARY not in call.headers
