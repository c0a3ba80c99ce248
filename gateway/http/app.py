"""The map of the product: every route there is, and the door in front of them."""

from typing import Any, Final

from starlette.applications import Starlette
from starlette.datastructures import Headers as Lines
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Plain

from gateway.errors import MethodNotAllowed, RouteNotFound
from gateway.http.access import AccessControl
from gateway.http.admin import Admin
from gateway.http.request_id import Headers
from gateway.http.responses import WELL
from gateway.http.scoring import SERVER, Receive, Routes, Scope, Scoring, Send
from gateway.http.views import DialectViews, TableCatalogue
from registry.errors import FitserveError

_GET: Final = ["GET"]


def plain_routes(admin: Admin) -> list[Plain]:
    """All but the scoring routes, which are in `Routes`: they change with each table."""
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


class Front:
    """The ASGI application: scoring paths by one look-up, everything else to Starlette. Every path asks for a key, where
    keys are in force, unless it is listed as public."""

    def __init__(self, routes: Routes, scoring: Scoring, admin: Admin) -> None:
        self.routes, self.scoring = routes, scoring
        self._by_path = routes.by_path
        self._views = DialectViews(routes.dialects, TableCatalogue(scoring.fleet), scoring.body_timeout_s)
        self._doorman = AccessControl(
            scoring.guard, scoring.cors, scoring.fleet.table, scoring.fleet.settings.allowed_hosts
        )
        self.plain = Starlette(
            routes=plain_routes(admin) + self._views.routes(),
            # Unexpected ones are raised again behind the answer, so that the server logs them.
            exception_handlers={HTTPException: self._starlettes, FitserveError: self._ours, Exception: self._ours},
        )
        self.plain.router.redirect_slashes = False  # it would lead where the Host header says

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            route = self._by_path.get(scope["path"])
            if route is not None:
                return await self.scoring(route, scope, receive, send)
            return await self._other(scope, receive, send)
        if scope["type"] == "lifespan":
            await self.plain(scope, receive, send)
        return None

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        ids = self.scoring.ids.headers({})
        scope["fitserve.id"] = ids[0][1]
        answer: Any = self.plain
        try:
            preflight = self.scoring.cors.preflight(headers) if scope["method"] == "OPTIONS" else []
            if preflight:  # a browser asks first, without the key, whether it may send one
                answer = Response(headers={name.decode(): value.decode("latin-1") for name, value in preflight})
            else:
                client = scope.get("client")
                self._doorman.check(scope["method"], scope["path"], headers, client[0] if client else None)
            ids = self.scoring.ids.headers(headers)
            scope["fitserve.id"] = ids[0][1]
        except FitserveError as error:
            answer = self._views.refusal(error, scope["path"], scope["fitserve.id"])
        await answer(scope, receive, self._dressing(send, [*ids, SERVER, *self.scoring.cors.headers(headers)]))

    def _dressing(self, send: Send, extra: Headers) -> Send:
        """`send` that adds the headers which every answer has, where an answer has none of that name."""

        async def dressed(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = message["headers"] = list(message["headers"])
                names = {name for name, _ in own}
                own += [pair for pair in extra if pair[0] not in names]
                if (b"content-type", b"application/json") in own:
                    own.append(WELL)
            await send(message)

        return dressed

    async def _ours(self, request: Request, error: Exception) -> Response:
        return self._views.refusal(error, request.scope["path"], request.scope["fitserve.id"])

    async def _starlettes(self, request: Request, error: Exception) -> Response:
        """Starlette's own 404 and 405, in our words."""
        assert isinstance(error, HTTPException)
        ours: Exception = RouteNotFound()
        if error.status_code == 405:
            allowed = Lines(error.headers).get("allow", "")
            ours = MethodNotAllowed(sorted(verb.strip() for verb in allowed.split(",") if verb.strip()))
        return await self._ours(request, ours)
