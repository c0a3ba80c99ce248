"""Paths of the dialects that are not scoring, and the error responses of all paths."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as Plain
from starlette.routing import compile_path

from gateway.dataplane.models import ModelTable
from gateway.errors import BodyTooLarge, InvalidRequest, ModelUnavailable, RouteNotFound, redact_paths
from gateway.http import errors
from gateway.ipc.control import ControlError
from gateway.types import Answer, Asked, Catalogue, Dialect, Known, View
from registry.errors import ModelNotFound

BODY_LIMIT: Final = 1_000_000  # bytes


class TableCatalogue:
    """The models of this process, for views."""

    def __init__(self, models: ModelTable) -> None:
        self._models = models

    def names(self) -> Sequence[str]:
        return sorted(self._models.table.registered)

    def default(self) -> str | None:
        return self._models.table.default

    def known(self, model: str, version: int | None = None) -> Known:
        if model not in self._models.table.registered:
            raise ModelNotFound(model, None, self.names())
        one = self._models.models[model]
        found = one.version(version)
        entry = found.entry
        ready = found.open or entry.state == "idle"  # a request starts it
        return Known(found.target, ready, entry.state, entry.reason, tuple(sorted(one.versions)))

    async def load(self, model: str) -> None:
        self.known(model)
        await self._asked("load", model)
        timeout_ms = self._models.settings.request_timeout_ms
        deadline = self._models.loop.time() + timeout_ms / 1000
        await self._models.opened(self._models.models[model], None, deadline, timeout_ms, 0)

    async def unload(self, model: str) -> None:
        self.known(model)
        await self._asked("unload", model)

    async def _asked(self, op: str, model: str) -> None:
        try:
            await self._models.control.request(op, model=model)
        except ControlError as refusal:
            raise ModelUnavailable(model, redact_paths(str(refusal))) from None

    async def counted(self) -> Mapping[str, Any]:
        counted: Mapping[str, Any] = (await self._models.control.request("metrics"))["counted"]
        return counted


class DialectViews:
    """Starlette routes for `Dialect.views`, and for scoring paths of models that do not exist."""

    def __init__(self, dialects: Sequence[Dialect], catalogue: Catalogue) -> None:
        self._dialects, self._catalogue = dialects, catalogue
        self._scoring = [
            (compile_path(path)[0], dialect) for dialect in dialects if dialect.prefix for path in dialect.paths
        ]

    def routes(self) -> list[Plain]:
        found: list[Plain] = []
        for dialect in self._dialects:
            if not dialect.prefix:  # Azure's and our own paths are written out in the map
                continue
            found += [Plain(path, self._missing, methods=["GET", "POST", "OPTIONS"]) for path in dialect.paths]
            found += [Plain(view.path, self._handler(view), methods=[view.verb]) for view in dialect.views]
        return found

    def error_response(self, error: Exception, path: str, request_id: bytes) -> Response:
        """Any error, in the form of the dialect that `path` belongs to, without details of this machine."""
        dialect = self._owner(path)
        body = dialect.error(errors.sentence_of(error), error)
        headers = errors.headers_of(error) | {"x-request-id": request_id.decode("latin-1")}
        return Response(body, errors.status_of(error), headers, "application/json")

    def _owner(self, path: str) -> Dialect:
        for dialect in self._dialects:
            if dialect.prefix and (path == dialect.prefix or path.startswith(f"{dialect.prefix}/")):
                return dialect
        return next((dialect for pattern, dialect in self._scoring if pattern.match(path)), self._dialects[0])

    def _handler(self, view: View) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            body = b"" if view.verb == "GET" else await self._body(request)
            asked = Asked(request.path_params, dict(request.scope["headers"]), body)
            return _response(await view.answer(self._catalogue, asked), request.scope["fitserve.id"])

        return handle

    async def _missing(self, request: Request) -> Response:
        """A scoring path of an unknown model or version, or of the default model while there is none."""
        name, version = request.path_params.get("model"), request.path_params.get("version")
        if name is None:
            raise RouteNotFound("no model is registered yet: `fitserve register FILE --name NAME` makes it answer here")
        if version is not None and not (version.isascii() and version.isdigit() and len(version) < 10):
            raise InvalidRequest("a version is a whole number")
        self._catalogue.known(name, None if version is None else int(version))
        raise RouteNotFound()

    async def _body(self, request: Request) -> bytes:
        body = b""
        try:
            async for part in request.stream():
                body += part
                if len(body) > BODY_LIMIT:
                    raise BodyTooLarge(BODY_LIMIT)
        except ClientDisconnect:
            return b""
        return body


def _response(answer: Answer, request_id: bytes) -> Response:
    headers = dict(answer.headers) | {"x-request-id": request_id.decode("latin-1")}
    return Response(answer.body, answer.status, headers, answer.content_type)
