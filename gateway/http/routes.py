"""Scoring paths: which model, version, method and dialect each of them means."""

from collections.abc import Collection, Sequence

from gateway.auth.guard import Guard
from gateway.dataplane.models import Model, ModelTable, Version
from gateway.ipc.routing_table import OF_SERVICE, ServiceEntry
from gateway.protocols.azure import SERVICE_PATH
from gateway.schema.methods import METHODS
from gateway.types import Dialect


class Route:
    """A scoring path: a model, optionally one version and one method of it, and the dialect spoken there.

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

    @property
    def version(self) -> Version | None:
        """The version that this path means now; None: there is none yet."""
        return self.model.live if self.number is None else self.model.versions.get(self.number)


class Routes:
    """All scoring paths, each found by one dictionary look-up, whatever the number of models."""

    def __init__(self, models: ModelTable, dialects: Sequence[Dialect]) -> None:
        self.by_path: dict[str, Route] = {}
        self.by_url: dict[bytes, Route] = {}  # the same, as bytes of a request line
        self.dialects = dialects
        self._models = models
        self._patterns = [(path, dialect) for dialect in dialects for path in dialect.paths]
        self._of_model: dict[str, list[Route]] = {}
        self._of_default: list[Route] = []

    def update(self, names: Collection[str]) -> None:
        """Called after a routing table was applied, with the names whose entry changed."""
        for name in names:  # first remove all: a service may take over the path of a model of the same name
            for route in self._of_model.pop(name, ()):
                self._remove(route.path)
        by_model: dict[str, list[ServiceEntry]] = {}
        for service in self._models.table.services.values() if names else ():
            by_model.setdefault(service.served_by, []).append(service)
        for name in names:
            model = self._models.models.get(name)
            if model is not None:
                self._of_model[name] = routes = self._model_routes(model)
                for service in by_model.get(name, ()):
                    routes += self._service_routes(service, SERVICE_PATH.replace("{model}", service.name), model)
                for route in routes:
                    self._add(route)
        for route in self._of_default:
            self._remove(route.path)
        self._of_default = self._default_routes()
        for route in self._of_default:
            self._add(route)

    def _model_routes(self, model: Model, named: bool = True) -> list[Route]:
        """Routes of the paths that name the model, or of those that mean the default model."""
        routes: list[Route] = []
        if named and OF_SERVICE in model.name:
            return routes  # reached through its service only
        for path, dialect in self._patterns:
            if path == SERVICE_PATH and model.name in self._models.table.services:
                continue  # the service of that name answers there
            if ("{model}" in path) is named:
                routes += _expanded(path.replace("{model}", model.name), dialect, model)
        return routes

    def _default_routes(self) -> list[Route]:
        table = self._models.table
        service = table.services.get(table.default_service or "")
        model = self._models.models.get((table.default or "") if service is None else service.served_by)
        if model is None:
            return []
        routes = self._model_routes(model, named=False)
        if service is None:
            return routes
        return [made for route in routes for made in self._service_routes(service, route.path, model)]

    def _service_routes(self, service: ServiceEntry, path: str, model: Model) -> list[Route]:
        """None for a version that does not exist (any more)."""
        if service.number is not None and service.number not in model.versions:
            return []
        guard: Guard | None = None
        if service.keys is not None:
            guard = Guard()
            guard.update((*service.keys, *(self._models.table.keys or ())))
        dialects = [dialect for pattern, dialect in self._patterns if pattern == path] or self.dialects[:1]
        return [Route(path, dialect, model, service.number, guard=guard) for dialect in dialects]

    def _add(self, route: Route) -> None:
        self.by_path[route.path] = self.by_url[route.path.encode("ascii")] = route

    def _remove(self, path: str) -> None:
        self.by_path.pop(path, None)
        self.by_url.pop(path.encode("ascii"), None)


def _expanded(path: str, dialect: Dialect, model: Model) -> list[Route]:
    if "{version}" in path:
        versions = model.versions
        return [Route(path.replace("{version}", str(number)), dialect, model, number) for number in versions]
    if "{method}" in path:
        return [Route(path.replace("{method}", method), dialect, model, None, method) for method in METHODS]
    return [Route(path, dialect, model)]
