"""Azure ML's scoring contract: ``{"data": [[…]], "method": "predict"}`` → ``{"predict": […]}``.

Accepts more than Azure's own server did: records, split and columns in ``data``, and the ``input_data`` of its second version; extra
top-level keys are ignored. The default method is Azure's documented one, ``predict_proba`` where the model has it.
"""

from typing import Any, Final

import orjson

from gateway.errors import InvalidJson, InvalidRequest
from gateway.protocols.answers import json_answer, json_values
from gateway.protocols.body import PLAIN, asked_options, call_object, check_json_type, json_body, query_pairs
from gateway.protocols.script import is_script, script_answer, script_request
from gateway.protocols.tables import table_request
from gateway.schema.methods import check_method, default_method
from gateway.schema.schema import ANY, ModelSchema
from gateway.types import Answer, Call, ScoreRequest, ScoreResult, Target, View

SERVICE_PATH: Final = "/api/v1/service/{model}/score"

ABSENT: Final = object()


class Azure:
    """The default dialect. Errors are ``{"message": …}``."""

    name = "azure"
    paths: tuple[str, ...] = (SERVICE_PATH,)
    verbs = ("GET", "OPTIONS", "POST")
    prefix = ""
    views: tuple[View, ...] = ()

    def parse(self, call: Call, target: Target) -> ScoreRequest:
        if is_script(target):
            return script_request(call, target)
        if call.verb == "GET":
            body = _from_query(call.query)
        else:
            check_json_type(call)
            body = self.body_of(call, target)
        data, what = self.data_of(body, target.schema or ANY)
        if data is ABSENT:
            raise InvalidRequest("A value is not provided for the 'data' parameter.")
        method = call.method or body.get("method")
        if method is None:
            method = default_method(target.methods, "azure", target.settings.get("default_method"))
        else:
            method = check_method(method, target.methods)
        return self.request(data, what, method, call, body, target)

    def body_of(self, call: Call, target: Target) -> dict[str, Any]:  # noqa: ARG002
        """The body as a JSON object."""
        return call_object(call)

    def data_of(self, body: dict[str, Any], schema: ModelSchema) -> tuple[Any, str]:  # noqa: ARG002
        """What is to be scored, or `ABSENT`; and the key that it stood under."""
        if "data" in body:
            return body["data"], "data"
        return body.get("input_data", ABSENT), "input_data"

    def request(
        self, data: Any, what: str, method: str, call: Call, body: dict[str, Any], target: Target
    ) -> ScoreRequest:
        asked = asked_options(call, body) if call.query or "include" in body else PLAIN
        return table_request(target.schema or ANY, method, data, what, asked)

    def format(self, request: ScoreRequest, result: ScoreResult, target: Target) -> bytes | Answer:
        if request.once:
            return script_answer(result)
        asked = request.extra
        if asked is PLAIN:
            return json_answer({request.method: json_values(result, request.n_rows)})
        body: dict[str, Any] = {request.method: json_values(result, request.n_rows, asked.nonfinite)}
        if asked.classes:
            body["classes"] = _classes(target)
        return json_answer(body)

    def error(self, message: str, error: Exception | None = None) -> bytes:  # noqa: ARG002
        return orjson.dumps({"message": message})


def _classes(target: Target) -> Any:
    """Labels in the order of `predict_proba`'s columns; null for a model without."""
    return target.description.get("classes")


def _from_query(query: bytes) -> dict[str, Any]:
    """``?data=[[…]]&method=predict``: each value is JSON where it can be, else text; a repeated key is a list."""
    body: dict[str, Any] = {}
    seen: set[str] = set()
    for key, text in query_pairs(query):
        value: Any
        try:
            value = json_body(text.encode())
        except InvalidJson:
            value = text
        if key not in body:
            body[key] = value
        elif key in seen:
            body[key].append(value)
        else:
            seen.add(key)
            body[key] = [body[key], value]
    return body
