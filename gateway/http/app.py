"""The ASGI application: all routes but the scoring ones, and the access control in front of them."""

from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers as StarletteHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Plain

from gateway.errors import MethodNotAllowed, RouteNotFound
from gateway.http.admin import Admin
from gateway.http.asgi import App, Message, Receive, Scope, Send
from gateway.http.request_id import Headers
from gateway.http.responses import JSON, SERVER, WELL
from gateway.http.routes import Routes
from gateway.http.scoring import Scoring
from gateway.http.views import DialectViews, TableCatalogue
from registry.errors import FitserveError

_GET: Final = ["GET"]


def plain_routes(admin: Admin) -> list[Plain]:
    """All but the scoring routes, which change with each routing table."""
    return [
        Plain("/", admin.root, methods=_GET),
        Plain("/healthz", admin.healthz, methods=_GET),
        Plain("/readyz", admin.readyz, methods=_GET),
        Plain("/metrics", admin.metrics, methods=_GET),
        Plain("/openapi.json", admin.openapi, methods=_GET),
        Plain("/swagger.json", admin.swagger, methods=_GET),
        Plain("/score", admin.no_default, methods=["GET", "POST", "OPTIONS"]),
        Plain("/models", admin.models, methods=_GET),
        Plain("/models/{name}", admin.model, methods=_GET),
        Plain("/models/{name}/", admin.model_root, methods=_GET),
        Plain("/models/{name}/ready", admin.model_ready, methods=_GET),
        Plain("/models/{name}/swagger.json", admin.model_swagger, methods=_GET),
        Plain("/models/{name}/versions/{version}", admin.version, methods=_GET),
        Plain("/models/{name}/{rest:path}", admin.no_such_model_route, methods=["GET", "POST", "OPTIONS"]),
        Plain("/api/v1/service/{name}", admin.service, methods=_GET),
        Plain("/api/v1/service/{name}/", admin.service_root, methods=_GET),
        Plain("/api/v1/service/{name}/swagger.json", admin.service_swagger, methods=_GET),
        Plain("/api/v1/service/{name}/score", admin.no_such_service, methods=["GET", "POST", "OPTIONS"]),
    ]


class Application:
    """Everything but scoring, which the protocol does itself. Every path asks for a key, where keys are in force, unless it is public."""

    def __init__(self, routes: Routes, scoring: Scoring, admin: Admin) -> None:
        self.routes, self.scoring = routes, scoring
        self._views = DialectViews(routes.dialects, TableCatalogue(scoring.models))
        self._starlette = Starlette(
            routes=plain_routes(admin) + self._views.routes(),
            # Unexpected ones are raised again behind the response, and logged by the cycle.
            exception_handlers={
                HTTPException: self._http_exception,
                FitserveError: self._error_response,
                Exception: self._error_response,
            },
        )
        self._starlette.router.redirect_slashes = False  # the target would be taken from the Host header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope, receive, send)

    async def refuse(self, error: FitserveError, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with `error` whatever is asked."""
        await self._answer(scope, receive, send, error)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, error: FitserveError | None = None) -> None:
        headers = dict(scope["headers"])
        scoring = self.scoring
        ids = scoring.ids.headers({})
        scope["fitserve.id"] = ids[0][1]
        app: App = self._starlette
        try:
            if error is not None:
                raise error
            preflight = scoring.cors.preflight(headers) if scope["method"] == "OPTIONS" else []
            if preflight:  # a browser asks without the key whether it may send one
                app = Response(headers={name.decode(): value.decode("latin-1") for name, value in preflight})
            else:
                client = scope["client"]
                scoring.access.check(scope["method"], scope["path"], headers, client[0] if client else None)
            ids = scoring.ids.headers(headers)
            scope["fitserve.id"] = ids[0][1]
        except FitserveError as refusal:
            app = self._views.error_response(refusal, scope["path"], scope["fitserve.id"])
        await app(scope, receive, _with_headers(send, [*ids, SERVER, *scoring.cors.headers(headers)]))

    async def _error_response(self, request: Request, error: Exception) -> Response:
        return self._views.error_response(error, request.scope["path"], request.scope["fitserve.id"])

    async def _http_exception(self, request: Request, error: Exception) -> Response:
        """Starlette's own 404 and 405, with our body."""
        assert isinstance(error, HTTPException)
        ours: Exception = RouteNotFound()
        if error.status_code == 405:
            allowed = StarletteHeaders(error.headers).get("allow", "")
            ours = MethodNotAllowed(sorted(verb.strip() for verb in allowed.split(",") if verb.strip()))
        return await self._error_response(request, ours)


def _with_headers(send: Send, extra: Headers) -> Send:
    """`send` that adds the headers of every response, unless the response has one of that name."""

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = message["headers"] = list(message["headers"])
            names = {name for name, _ in own}
            own += [pair for pair in extra if pair[0] not in names]
            if JSON in own:
                own.append(WELL)
        await send(message)

    return with_headers
