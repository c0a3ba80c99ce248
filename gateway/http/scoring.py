"""The scoring routes: body in, dialect, batcher, body out. Raw ASGI; nothing here is made per request that is not needed."""

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from gateway.auth.guard import Guard
from gateway.dataplane.connection import LARGE, is_large
from gateway.dataplane.models import Model, ModelTable, Version
from gateway.dataplane.request_queue import ClientGone, Moved, Pending
from gateway.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InvalidRequest,
    MethodNotAllowed,
    SlowSender,
)
from gateway.http.compression import decompressed
from gateway.http.cors import Cors
from gateway.http.logging import AccessLog
from gateway.http.offload import BINARY, OffloadClient, OffloadGone, OffloadHandle, Refused
from gateway.http.request_id import Headers, RequestIds
from gateway.http.responses import WELL, Body, Written, dressed, failed_answer, told
from gateway.ipc.routing_table import OF_SERVICE, ServiceEntry
from gateway.ipc.writer import pieces
from gateway.protocols.azure import SERVICE_PATH
from gateway.protocols.script import is_script
from gateway.schema.methods import METHODS
from gateway.types import Call, Dialect, ScoreRequest, ScoreResult, Target

Scope = Any
Receive = Any
Send = Any

LONGEST_TIMEOUT_MS: Final = 3_600_000.0

VERSION: Final = version("fitserve")

SERVER: Final = (b"x-ms-server-version", f"fitserve/{VERSION}".encode())
_LARGE_BINARY: Final = 2_000_000  # bytes; such a body is read at once, but its numbers are looked at

log = logging.getLogger("fitserve.http")


class Route:
    """A scoring path: a model, perhaps one version and one method of it, and the dialect spoken there.

    `guard` is that of a service with keys of its own; None: the gateway's.
    """

    __slots__ = ("dialect", "guard", "method", "model", "number", "path")

    def __init__(
        self,
        path: str,
        dialect: Dialect,
        model: Model,
        number: int | None = None,
        method: str | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.path, self.dialect, self.model, self.number, self.method = path, dialect, model, number, method
        self.guard = guard


class Routes:
    """Path → route, for all models: one look-up in one dictionary, whatever their number."""

    def __init__(self, fleet: ModelTable, dialects: Sequence[Dialect]) -> None:
        self.by_path: dict[str, Route] = {}
        self.by_url: dict[bytes, Route] = {}  # the same as they stand in a request line
        self.dialects = dialects
        self._fleet = fleet
        self._patterns = [(path, dialect) for dialect in dialects for path in dialect.paths]
        self._of_model: dict[str, list[Route]] = {}
        self._of_default: list[Route] = []

    def update(self, names: Collection[str]) -> None:
        """Called after a table was put in force, with the names whose entry changed."""
        for name in names:  # all of these first: a service may take over the path of its namesake
            for route in self._of_model.pop(name, ()):
                self._remove(route.path)
        by_model: dict[str, list[ServiceEntry]] = {}
        for service in self._fleet.table.services.values() if names else ():
            by_model.setdefault(service.served_by, []).append(service)
        for name in names:
            model = self._fleet.models.get(name)
            if model is not None:
                self._of_model[name] = routes = self._made_for(model)
                for service in by_model.get(name, ()):
                    routes += self._made_for_service(service, SERVICE_PATH.replace("{model}", service.name), model)
                for route in routes:
                    self._add(route)
        for route in self._of_default:
            self._remove(route.path)
        self._of_default = self._made_for_default()
        for route in self._of_default:
            self._add(route)

    def _made_for(self, model: Model, named: bool = True) -> list[Route]:
        """Routes of the paths that name a model, or of those that mean the default one."""
        routes: list[Route] = []
        if named and OF_SERVICE in model.name:
            return routes  # it answers for its service alone
        for path, dialect in self._patterns:
            if path == SERVICE_PATH and model.name in self._fleet.table.services:
                continue  # the service of that name answers there
            if ("{model}" in path) is named:
                routes += _filled(path.replace("{model}", model.name), dialect, model)
        return routes

    def _made_for_default(self) -> list[Route]:
        table = self._fleet.table
        service = table.services.get(table.default_service or "")
        model = self._fleet.models.get((table.default or "") if service is None else service.served_by)
        if model is None:
            return []
        routes = self._made_for(model, named=False)
        if service is None:
            return routes
        return [made for route in routes for made in self._made_for_service(service, route.path, model)]

    def _made_for_service(self, service: ServiceEntry, path: str, model: Model) -> list[Route]:
        """Nothing for a version that is not there (any more)."""
        if service.number is not None and service.number not in model.versions:
            return []
        guard: Guard | None = None
        if service.keys is not None:
            guard = Guard()
            guard.update((*service.keys, *(self._fleet.table.keys or ())))
        return [Route(path, dialect, model, service.number, guard=guard) for dialect in self._of_path(path)]

    def _of_path(self, path: str) -> list[Dialect]:
        """Whose path it is."""
        found = [dialect for pattern, dialect in self._patterns if pattern == path]
        return found or self.dialects[:1]  # type: ignore[return-value]

    def _add(self, route: Route) -> None:
        self.by_path[route.path] = self.by_url[route.path.encode("ascii")] = route

    def _remove(self, path: str) -> None:
        self.by_path.pop(path, None)
        self.by_url.pop(path.encode("ascii"), None)


def _filled(path: str, dialect: Dialect, model: Model) -> list[Route]:
    if "{version}" in path:
        versions = model.versions
        return [Route(path.replace("{version}", str(number)), dialect, model, number) for number in versions]
    if "{method}" in path:
        return [Route(path.replace("{method}", method), dialect, model, None, method) for method in METHODS]
    return [Route(path, dialect, model)]


class Scoring:
    """Answers requests on scoring routes, under any ASGI server."""

    def __init__(self, fleet: ModelTable, guard: Guard, cors: Cors, access_log: AccessLog | None = None) -> None:
        settings = fleet.settings
        self.fleet, self.guard, self.cors, self.access_log = fleet, guard, cors, access_log
        self.ids = RequestIds()
        self.body_limit = int(settings.body_limit_mb * 1e6)
        self.body_timeout_s = settings.body_timeout_s
        self.timeout_ms = settings.request_timeout_ms
        self._loop = fleet.loop
        self.desk = OffloadClient()

    async def __call__(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers = dict(scope["headers"])
        ids: Headers = []
        body: Body = b""
        try:
            verb = scope["method"]
            guard = route.guard or self.guard
            # A browser asks first, without the key, whether it may send one.
            if guard.on and not (verb == "OPTIONS" and self.cors.preflight(headers)):
                guard.check(headers)
            ids = self.ids.headers(headers)
            if verb != "POST" and verb not in route.dialect.verbs:
                raise MethodNotAllowed(route.dialect.verbs)
            if verb == "OPTIONS":
                status, extra = 200, [(b"content-type", b"text/html; charset=utf-8"), WELL]
                extra += self.cors.preflight(headers)
            else:
                content = await self._body(headers, receive)
                content, encoding = self.plain_body(content, headers)
                call = Call(content, headers, scope["query_string"], route.method, verb, encoding=encoding)
                answer, exec_ns = await self.score(route, call, getattr(receive, "__self__", None))
                status, body, extra = dressed(answer)
                extra += told(extra, exec_ns)
        except ClientGone:
            return
        except Exception as error:
            status, body, extra = self.failure(route.dialect, error, ids)
            route.model.failed(route.number, status)
        extra += ids or self.ids.headers({})
        if self.cors.on:
            extra += self.cors.headers(headers)
        extra.append(SERVER)
        extra.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": extra})
        *first, last = pieces(body)
        for piece in first:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": last})
        if self.access_log is not None:
            seconds = time.perf_counter() - started
            self.access_log.add(scope["method"], scope["path"], status, seconds, len(body))

    async def score(self, route: Route, call: Call, source: Any, deadline: float | None = None) -> tuple[Written, int]:
        """The answer, and the nanoseconds that the model took. `deadline` is in the loop's time; None: it starts now."""
        timeout_ms = self.timeout_of(call.headers)
        if deadline is None:
            deadline = self._loop.time() + timeout_ms / 1000
        model, number, dialect = route.model, route.number, route.dialect
        while True:
            version = model.live if number is None else model.versions.get(number)
            if version is None or not version.queue.links:
                version = await self.fleet.opened(model, number, deadline, timeout_ms, len(call.body))
            if _takes_long(call, version.target):
                answered = await self._at_the_desk(route, version, call, source, deadline, timeout_ms)
                if answered is not None:
                    return answered
                continue
            request = dialect.parse(call, version.target)
            answer: asyncio.Future[ScoreResult] = self._loop.create_future()
            version.queue.submit(Pending(request, answer, deadline, timeout_ms, source, number is None))
            try:
                result = await answer
            except Moved:
                continue
            return await self.written(route, call, version, request, result), result.exec_ns

    async def written(
        self, route: Route, call: Call, version: Version, request: ScoreRequest, result: ScoreResult
    ) -> Written:
        """The answer to a request that was parsed here; a large one is written beside the loop."""
        if is_large(result):
            try:
                return await self.desk.write(route.dialect.name, call, version.entry, result)
            except OffloadGone:
                pass  # then here
        return route.dialect.format(request, result, version.target)

    async def _at_the_desk(
        self, route: Route, version: Version, call: Call, source: Any, deadline: float, timeout_ms: float
    ) -> tuple[Written, int] | None:
        """As `score` of one version, read and written beside the loop; None: another version answers now.

        Raises:
            Refused: it did not pass the dialect.
        """
        load, size = route.model.load, len(call.body)
        load.check(route.model.name, size)
        load.add(size)
        try:
            async with asyncio.timeout_at(deadline):
                ticket = await self.desk.parse(route.dialect.name, call, version.entry, self.body_limit)
        except OffloadGone:
            ticket = OffloadHandle(0, route.dialect.parse(self._unpacked(call), version.target))
        except TimeoutError:
            raise DeadlineExceeded(timeout_ms) from None
        finally:
            load.remove(size)
        if not version.queue.links:  # it went away in the meantime
            self.desk.drop(ticket)
            return None
        answer: asyncio.Future[ScoreResult] = self._loop.create_future()
        try:
            pending = Pending(ticket.request, answer, deadline, timeout_ms, source, route.number is None)
            version.queue.submit(pending)
            result = await answer
            request = ticket.request
            if ticket.number:
                try:
                    async with asyncio.timeout_at(deadline):
                        return await self.desk.format(ticket, result), result.exec_ns
                except TimeoutError:
                    raise DeadlineExceeded(timeout_ms) from None
                except OffloadGone:  # with what it knew of the request: read it again, here
                    request = route.dialect.parse(self._unpacked(call), version.target)
            return route.dialect.format(request, result, version.target), result.exec_ns
        except Moved:
            return None
        finally:
            self.desk.drop(ticket)

    def plain_body(self, body: Body, headers: Mapping[bytes, bytes]) -> tuple[Body, bytes | None]:
        """The body as it was before the caller compressed it; or, where that takes long, as it came, and how it is compressed.

        Raises:
            BodyTooLarge · InvalidRequest · UnsupportedMediaType
        """
        encoding = headers.get(b"content-encoding")
        if encoding is None:
            return body, None
        if len(body) < LARGE:
            try:
                return decompressed(body, encoding, min(LARGE, self.body_limit)), None
            except BodyTooLarge:
                if self.body_limit <= LARGE:
                    raise
        return body, encoding

    def _unpacked(self, call: Call) -> Call:
        if call.encoding is None:
            return call
        return replace(call, body=decompressed(call.body, call.encoding, self.body_limit), encoding=None)

    def timeout_of(self, headers: Mapping[bytes, bytes]) -> float:
        """Milliseconds that the caller gives us. Raises InvalidRequest."""
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

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> Body:
        """The whole body.

        Raises:
            BodyTooLarge · SlowSender · ClientGone
        """
        length = headers.get(b"content-length")
        if length is not None and int(length) > self.body_limit:  # the server has checked that it is a number
            raise BodyTooLarge(self.body_limit, int(length))
        if getattr(getattr(receive, "__self__", None), "more_body", True) is False:  # it is here already
            message = await receive()
            if message["type"] == "http.request" and len(message["body"]) <= self.body_limit:
                return bytes(message["body"])
            raise ClientGone if message["type"] != "http.request" else BodyTooLarge(self.body_limit)
        try:
            async with asyncio.timeout(self.body_timeout_s):
                return await self._stream(receive, int(length or 0))
        except TimeoutError:
            raise SlowSender(self.body_timeout_s) from None

    async def _stream(self, receive: Receive, length: int) -> Body:
        parts: list[bytes] = []
        size, more = 0, True
        buffer = room_for(length)
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > self.body_limit:
                raise BodyTooLarge(self.body_limit)
            if buffer is None:
                parts.append(part)
            else:
                buffer[size - len(part) : size] = part
            more = message.get("more_body", False)
        return b"".join(parts) if buffer is None else buffer

    def failure(self, dialect: Dialect, error: Exception, ids: Headers) -> tuple[int, Body, Headers]:
        """Status, body and headers for `error`. What is not meant for callers goes to the log, with the request's id."""
        if isinstance(error, Refused):
            return error.status, error.body, error.headers
        return failed_answer(dialect, error, ids[0][1].decode("ascii", "replace") if ids else "-")


def room_for(length: int) -> memoryview | None:
    """Where a large body of `length` bytes is put together while it comes in; None for others. The system gives pages as they are filled."""
    return np.empty(length, np.uint8).data if length >= LARGE else None


def _takes_long(call: Call, target: Target) -> bool:
    """Whether the loop has better things to do than to read this body."""
    size = len(call.body)
    if size < LARGE or is_script(target):
        return call.encoding is not None
    return size >= _LARGE_BINARY or BINARY not in call.headers
