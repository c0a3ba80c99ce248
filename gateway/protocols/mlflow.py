"""MLflow's scoring server: ``dataframe_split``, ``dataframe_records``, ``instances``, ``inputs`` or CSV → ``{"predictions": […]}``.

``params`` may name the method, as ``predict_method`` or ``method``; what else is in it is ignored, which the answer's ``warning`` says.
"""

import logging
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Final

import orjson

from gateway.errors import InvalidRequest, ModelUnavailable, QueueFull, UnsupportedMediaType
from gateway.protocols.answers import json_answer, json_values
from gateway.protocols.body import asked_options, call_object, options
from gateway.protocols.tables import named_request, table_request
from gateway.schema.csv_reader import read_csv, table_of
from gateway.schema.methods import check_method, default_method
from gateway.schema.schema import ANY, ModelSchema
from gateway.types import Answer, Asked, Call, Catalogue, ScoreRequest, ScoreResult, Target, View
from registry.errors import CallerError, NotFound

log = logging.getLogger("fitserve.http")
_METHOD_PARAMS: Final = ("predict_method", "method")
#: RFC 4180: the parameter of ``text/csv`` that says whether the first line is a header.
_HEADERS: Final = {b"header=present": True, b"header=absent": False}
_FORMS: Final = ("dataframe_split", "dataframe_records", "instances", "inputs")


async def ping(catalogue: Catalogue, _: Asked) -> Answer:
    """200 when the default model answers, or when there is none to wait for."""
    name = catalogue.default()
    known = None if name is None else catalogue.known(name)
    ready = known is None or known.ready or known.state == "unloaded"
    return Answer(b"\n", status=200 if ready else 503)


async def server_version(_: Catalogue, __: Asked) -> Answer:
    return Answer(version("fitserve").encode(), "text/plain; charset=utf-8")


class MLflow:
    """Errors are ``{"error_code": …, "message": …}``."""

    name = "mlflow"
    paths: tuple[str, ...] = (
        "/invocations",
        "/models/{model}/invocations",
        "/models/{model}/versions/{version}/invocations",
    )
    verbs = ("OPTIONS", "POST")
    prefix = "/invocations"
    views: tuple[View, ...] = (View("/ping", ping), View("/health", ping), View("/version", server_version))

    def parse(self, call: Call, target: Target) -> ScoreRequest:
        schema = target.schema or ANY
        kind, _, parameters = (call.headers.get(b"content-type") or b"").partition(b";")
        kind = kind.strip().lower()
        if kind == b"text/csv":
            header = _HEADERS.get(parameters.replace(b" ", b"").lower())
            return csv_request(schema, _method(call.method, target), bytes(call.body), options(call.query), header)
        if kind != b"application/json":
            given = call.headers.get(b"content-type")
            raise UnsupportedMediaType(given.decode("latin-1") if given else None, "application/json or text/csv")
        body = call_object(call)
        forms = [form for form in _FORMS if form in body]
        if len(forms) != 1:
            found = f"; it has {', '.join(forms)}" if forms else ""
            raise InvalidRequest(f"the body must have exactly one of {', '.join(_FORMS)}{found}")
        params = body.get("params")
        if params is not None and not isinstance(params, dict):
            raise InvalidRequest('params must be an object, such as {"predict_method": "predict_proba"}')
        asked = next((params[key] for key in _METHOD_PARAMS if key in params), None) if params else None
        method = _method(call.method or asked, target)
        data = body[forms[0]]
        if forms[0] == "dataframe_split":
            data = _split(data)
        wanted = asked_options(call, body)
        ignored = tuple(str(key) for key in params or () if key not in _METHOD_PARAMS)
        if ignored:
            log.warning(
                "model %s: params %s mean nothing to it and are ignored", target.model, ", ".join(ignored)[:200]
            )
            wanted = replace(wanted, ignored=ignored)
        return table_request(schema, method, data, forms[0], wanted)

    def format(self, request: ScoreRequest, result: ScoreResult, target: Target) -> bytes | Answer:
        asked = request.extra
        body: dict[str, Any] = {"predictions": json_values(result, request.n_rows, asked.nonfinite)}
        if asked.classes:
            body["classes"] = target.description.get("classes")
        if asked.ignored:
            told = ", ".join(asked.ignored).encode("ascii", "replace").decode()[:200].replace('"', "'")
            text = "".join(letter for letter in told if letter.isprintable())
            return Answer(json_answer(body), headers=(("warning", f'299 fitserve "params ignored: {text}"'),))
        return json_answer(body)

    def error(self, message: str, error: Exception | None = None) -> bytes:
        return orjson.dumps({"error_code": _code(error), "message": message})


def _split(data: Any) -> Any:
    """Of ``dataframe_split`` what `table_request` takes.

    Raises:
        InvalidRequest: it has no ``data``, or a member that pandas' split does not have.
    """
    if not isinstance(data, dict):
        raise InvalidRequest('dataframe_split must be {"columns": […], "data": [[…], …]}')
    unknown = sorted(data.keys() - {"columns", "index", "data"})
    if unknown or "data" not in data:
        what = f"the unknown member {unknown[0]!r}" if unknown else 'no "data"'
        raise InvalidRequest(f'dataframe_split has {what}: send {{"columns": […], "data": [[…], …]}}')
    return data["data"] if data.get("columns") is None else {"columns": data["columns"], "data": data["data"]}


def csv_request(schema: ModelSchema, method: str, body: bytes, extra: Any, header: bool | None = None) -> ScoreRequest:
    """CSV. `header`: whether its first line is one, where the caller said so.

    Raises:
        InvalidRequest: it is no CSV, or holds no rows.
        SchemaMismatch
    """
    columns = dict(zip(schema.names, schema.columns, strict=True)) if schema.names else {}
    width = 1 if schema.kind == "list" and schema.item != "record" else schema.width
    names, table = table_of(read_csv(body, schema.names, width), columns, schema.columns, header)
    if names is None:
        return table_request(schema, method, table, "the CSV", extra)
    return named_request(schema, method, names, table, extra)


def _method(asked: Any, target: Target) -> str:
    if asked is not None:
        return check_method(asked, target.methods)
    return default_method(target.methods, "mlflow", target.settings.get("default_method"))


def _code(error: Exception | None) -> str:
    if isinstance(error, NotFound):
        return "RESOURCE_DOES_NOT_EXIST"
    if isinstance(error, QueueFull):
        return "REQUEST_LIMIT_EXCEEDED"
    if isinstance(error, ModelUnavailable):
        return "TEMPORARILY_UNAVAILABLE"
    return "BAD_REQUEST" if isinstance(error, CallerError) else "INTERNAL_ERROR"
