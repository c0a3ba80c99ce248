"""The map of the product: every route there is, and the door in front of them."""

from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Plain

from gateway.errors import MethodNotAllowed, RouteNotFound
from gateway.http.admin import Admin
from gateway.http.auth import PUBLIC_PATHS
from gateway.http.hot import Receive, Routes, Scope, Scoring, Send
from gateway.http.views import DialectViews, FleetCatalogue
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
        self._views = DialectViews(routes.dialects, FleetCatalogue(scoring.fleet), scoring.body_timeout_s)
        self.plain = Starlette(
            routes=plain_routes(admin) + self._views.routes(),
            # Unexpected ones are raised again behind the answer, so that the server logs them.
            exception_handlers={HTTPException: self._starlettes, FitserveError: self._ours, Exception: self._ours},
        )

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
        scope["fitserve.id"] = self.scoring.ids.new()
        try:
            if self.scoring.guard.on and scope["path"] not in PUBLIC_PATHS:
                self.scoring.guard.check(headers)
            scope["fitserve.id"] = self.scoring.ids.headers(headers)[0][1]
        except FitserveError as error:
            await self._views.refusal(error, scope["path"], scope["fitserve.id"])(scope, receive, send)
        else:
            await self.plain(scope, receive, send)

    async def _ours(self, request: Request, error: Exception) -> Response:
        return self._views.refusal(error, request.scope["path"], request.scope["fitserve.id"])

    async def _starlettes(self, request: Request, error: Exception) -> Response:
        """Starlette's own 404 and 405, in our words."""
        assert isinstance(error, HTTPException)
        ours: Exception = RouteNotFound()
        if error.status_code == 405:
            allowed = (error.headers or {}).get("allow", "")
            ours = MethodNotAllowed(sorted(verb.strip() for verb in allowed.split(",") if verb.strip()))
        return await self._ours(request, ours)
