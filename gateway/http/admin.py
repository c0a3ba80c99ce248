"""What the gateway says of itself: probes, models, documentation. Off the hot path, so written for reading."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from gateway.dataplane.models import ModelTable, Version
from gateway.errors import InvalidRequest, ModelUnavailable, RouteNotFound
from gateway.http.openapi import gateway_openapi, swagger
from gateway.http.responses import VERSION
from gateway.ipc.control import ControlError
from gateway.ipc.routing_table import OF_SERVICE, ModelEntry, VersionEntry
from gateway.schema.methods import check_method
from registry.errors import ModelNotFound, ServiceNotFound

_SUPERVISOR_S: Final = 0.7  # a probe is answered within a second, whatever hangs


class Json(Response):
    """orjson reads NaN as null and numbers as they are."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


class Admin:
    """The plain routes of one HTTP process."""

    def __init__(self, fleet: ModelTable) -> None:
        self.fleet = fleet

    # probes

    async def root(self, _: Request) -> Response:
        """Azure's liveness probe."""
        return HTMLResponse("Healthy")

    async def model_root(self, request: Request) -> Response:
        """The same at the root of a model's own paths."""
        self._model(request)
        return HTMLResponse("Healthy")

    async def healthz(self, _: Request) -> Response:
        """This process answers, and knows its models."""
        return Json({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """200 when this gateway knows its models and can start them; with ``?strict=1`` only when each of them answers.

        So a pod that serves one model asks strictly: it must not take over with a model that failed.
        """
        if not self.fleet.table.revision:
            return Json({"ready": False, "message": "the gateway is starting"}, 503)
        try:  # models are started by the supervisor
            async with asyncio.timeout(_SUPERVISOR_S):
                await self.fleet.control.request("ping")
        except TimeoutError:
            return Json({"ready": False, "message": "the supervisor does not answer, so no model can be started"}, 503)
        except ControlError as error:
            return Json({"ready": False, "message": str(error)}, 503)
        entries = [entry for entry in self.fleet.table.models.values() if entry.current.state != "unloaded"]
        not_ready = sum(not _ready(self.fleet, entry) for entry in entries)
        ready = not not_ready or request.query_params.get("strict") not in ("1", "true")
        return Json({"ready": ready, "models": len(entries), "not_ready": not_ready}, _status(ready))

    async def metrics(self, _: Request) -> Response:
        """All HTTP processes and models, for Prometheus."""
        from gateway.http.prometheus import CONTENT_TYPE, rendered  # its library is not needed before somebody asks

        facts = await self.fleet.control.request("metrics")
        body = await asyncio.to_thread(rendered, facts)
        return Response(body, media_type=CONTENT_TYPE)

    async def model_ready(self, request: Request) -> Response:
        """Whether a request sent now would be answered without waiting."""
        entry = self._model(request)
        ready = _ready(self.fleet, entry)
        current = entry.current
        body: dict[str, Any] = {"name": entry.name, "ready": ready, "version": current.version, "state": current.state}
        return Json(body, 404 if current.state == "unloaded" else _status(ready))

    # models

    async def models(self, request: Request) -> Response:
        """All models in short."""
        default = self.fleet.table.default
        entries = sorted(self.fleet.table.registered.values(), key=lambda entry: entry.name)
        return Json({"models": [_short(entry, request, default) for entry in entries], "default": default})

    async def model(self, request: Request) -> Response:
        """One model in full: what the table says, and what the supervisor knows beside it."""
        entry = self._model(request)
        told = await self._told(entry.name)
        versions = _by_version(told.pop("versions", None))
        shown = [_version(each, versions.get(each.version, {})) for each in entry.versions.values()]
        current = next(each for each in shown if each["version"] == entry.current.version)
        own = {key: value for key, value in current.items() if key not in {"version", "children", "name"}}
        return Json(own | told | _short(entry, request, self.fleet.table.default) | {"versions": shown})

    async def version(self, request: Request) -> Response:
        """One version in full."""
        entry = self._model(request)
        one = self._version_of(entry, request)
        told = await self._told(entry.name)
        return Json(_version(one, _by_version(told.get("versions")).get(one.version, {})))

    async def no_such_model_route(self, request: Request) -> Response:
        """Anything else under a model: says whether the model, its method or the path is unknown."""
        entry = self._model(request)
        rest = request.path_params.get("rest", "score")
        if rest.startswith("versions/"):
            self._version_of(entry, request, rest.split("/")[1])
        methods = self.fleet.models[entry.name].version(None).target.methods
        if request.method == "POST" and methods and rest and "/" not in rest:
            check_method(rest, methods)
        raise RouteNotFound(
            f"model {entry.name} has no {rest!r}; POST /models/{entry.name}/score or /models/{entry.name}/predict"
        )

    # documentation

    async def swagger(self, request: Request) -> Response:
        """Of the default service."""
        name = self.fleet.table.default
        if name is None or name not in self.fleet.models:
            raise RouteNotFound("no model is registered yet, so there is no default service")
        service = self.fleet.table.services.get(self.fleet.table.default_service or "")
        if service is None:
            return self._swagger(name, "", request)
        return self._swagger(service.served_by, "", request, service.number)

    async def model_swagger(self, request: Request) -> Response:
        name = self._model(request).name
        return self._swagger(name, f"/models/{name}", request)

    async def service_root(self, request: Request) -> Response:
        self._service(request)
        return HTMLResponse("Healthy")

    async def service(self, request: Request) -> Response:
        """What a service means now. With ``?start=1`` its version is started when it rests, as by a request."""
        model, asked = self._service(request)
        one, service = self.fleet.models[model], self.fleet.table.services.get(request.path_params["name"])
        if service is not None and service.alone:
            asked = service.version  # what it wants, whatever answers until that does
        if asked is not None and asked not in one.versions:
            raise ModelNotFound(model, asked, sorted(one.versions))
        version = one.version(asked)
        entry = version.entry
        if request.query_params.get("start") and not version.open:
            self.fleet.begin(one, version)
        body = {
            "name": request.path_params["name"],
            "model": entry.name.partition(OF_SERVICE)[0],
            "asked_version": None if service is None else service.version,
            "version": entry.version,
            "state": entry.state,
            "reason": entry.reason,
            "ready": version.open,
            "loaded": entry.description is not None,
            "limits": {"cpu": entry.cpu, "memory_in_gb": entry.memory_in_gb},
            "cpu_in_force": entry.cpu_in_force,
            "alone": service is not None and service.alone,
            "content": entry.content,
        }
        return Json(body)

    async def service_swagger(self, request: Request) -> Response:
        model, version = self._service(request)
        return self._swagger(model, f"/api/v1/service/{request.path_params['name']}", request, version)

    async def no_such_service(self, request: Request) -> Response:
        """A scoring path of a service that is not there, or whose version is not."""
        model, version = self._service(request)
        raise ModelNotFound(model, version, sorted(self.fleet.models[model].versions))

    async def openapi(self, _: Request) -> Response:
        """One document for the whole gateway."""
        models = [self.fleet.models[name] for name in sorted(self.fleet.table.registered)]
        targets = [model.version(None).target for model in models]
        return Json(gateway_openapi(targets, "fitserve", VERSION))

    async def no_default(self, _: Request) -> Response:
        """POST /score before there is a model."""
        raise RouteNotFound("no model is registered yet: `fitserve register FILE --name NAME` makes it answer here")

    def _swagger(self, name: str, prefix: str, request: Request, version: int | None = None) -> Response:
        target = self.fleet.models[name].version(version).target
        return Json(swagger(target, request.query_params.get("version", "2"), prefix, request.url.scheme))

    # helpers

    def _model(self, request: Request) -> ModelEntry:
        name = request.path_params["name"]
        entry = self.fleet.table.registered.get(name)
        if entry is None:
            raise ModelNotFound(name, None, sorted(self.fleet.table.registered))
        return entry

    def _service(self, request: Request) -> tuple[str, int | None]:
        """What a service's path means: a model's name in the table and a version; a model's own name is a service's too."""
        name = request.path_params["name"]
        service = self.fleet.table.services.get(name)
        if service is not None and service.served_by in self.fleet.table.models:
            return service.served_by, service.number
        if name in self.fleet.table.registered:
            return name, None
        raise ServiceNotFound(name)

    def _version_of(self, entry: ModelEntry, request: Request, text: str | None = None) -> VersionEntry:
        text = request.path_params["version"] if text is None else text
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise InvalidRequest("a version is a whole number")
        if int(text) not in entry.versions:
            raise ModelNotFound(entry.name, int(text), sorted(entry.versions))
        return entry.versions[int(text)]

    async def _told(self, name: str) -> dict[str, Any]:
        """What the supervisor says of a model."""
        try:
            return dict(await self.fleet.control.request("status", model=name) or {})
        except ControlError as refusal:
            raise ModelUnavailable(name, str(refusal)) from None


def _ready(fleet: ModelTable, entry: ModelEntry) -> bool:
    """A version that is stopped until its first use counts as ready: a request starts it."""
    model = fleet.models[entry.name]
    version: Version = model.version(None)
    return version.open or version.entry.state == "idle"


def _status(ready: bool) -> int:
    return 200 if ready else 503


def _short(entry: ModelEntry, request: Request, default: str | None) -> dict[str, Any]:
    current, latest = entry.current, entry.versions.get(entry.latest, entry.current)
    reason = current.reason
    if reason is None and latest.version != current.version and latest.reason is not None:
        reason = f"version {latest.version} is {latest.state}: {latest.reason}"
    host = request.headers.get("host", "")
    return {
        "name": entry.name,
        "latest": entry.latest,
        "live": entry.live,
        "state": current.state,
        "latest_state": latest.state,
        "reason": reason,
        "default": entry.name == default,
        "scoring_path": f"/models/{entry.name}/score",
        "scoring_uri": f"{request.url.scheme}://{host}/models/{entry.name}/score",
    }


def _version(entry: VersionEntry, told: Mapping[str, Any]) -> dict[str, Any]:
    shown = entry.to_json()
    shown.pop("children")
    limits = shown["limits"] | {"cpu": entry.cpu_in_force} | dict(told.get("limits") or {})
    shown["limits"] = {name: value for name, value in limits.items() if name != "cpu_in_force"}
    return shown | {key: value for key, value in told.items() if key != "limits"}


def _by_version(told: Any) -> dict[int, Mapping[str, Any]]:
    """Versions by number, from a list of objects with a `version`, or from an object by number."""
    entries = told.values() if isinstance(told, Mapping) else told or ()
    return {int(each["version"]): each for each in entries}
