"""KServe's and TensorFlow Serving's V1: ``{"instances": [[…]]}`` → ``{"predictions": […]}``."""

from typing import Any

import orjson

from gateway.errors import InvalidRequest
from gateway.protocols.answers import json_answer, json_values
from gateway.protocols.body import asked_options, call_object
from gateway.protocols.tables import table_request
from gateway.schema.methods import default_method
from gateway.schema.schema import ANY, ModelSchema
from gateway.types import Answer, Asked, Call, Catalogue, ScoreRequest, ScoreResult, Target, View


async def models(catalogue: Catalogue, _: Asked) -> Answer:
    return Answer(orjson.dumps({"models": list(catalogue.names())}))


async def model(catalogue: Catalogue, asked: Asked) -> Answer:
    known = catalogue.known(asked.path["model"])
    body = {"name": known.target.model, "ready": known.ready}
    return Answer(orjson.dumps(body), status=known.status)


class KServeV1:
    """Errors are ``{"error": …}``. Content-Type is not looked at."""

    name = "kserve_v1"
    paths: tuple[str, ...] = ("/v1/models/{model}:predict", "/v1/models/{model}/versions/{version}:predict")
    verbs = ("OPTIONS", "POST")
    prefix = "/v1"
    views: tuple[View, ...] = (View("/v1/models", models), View("/v1/models/{model}", model))

    def parse(self, call: Call, target: Target) -> ScoreRequest:
        body = call_object(call)
        if "instances" not in body:
            raise InvalidRequest("A value is not provided for the 'instances' parameter.")
        schema = target.schema or ANY
        instances = _unwrapped(body["instances"], schema)
        method = call.method or default_method(target.methods, "kserve_v1", target.settings.get("default_method"))
        return table_request(schema, method, instances, "instances", asked_options(call, body))

    def format(self, request: ScoreRequest, result: ScoreResult, target: Target) -> bytes:
        asked = request.extra
        body: dict[str, Any] = {"predictions": json_values(result, request.n_rows, asked.nonfinite)}
        if asked.classes:
            body["classes"] = target.description.get("classes")
        return json_answer(body)

    def error(self, message: str, error: Exception | None = None) -> bytes:  # noqa: ARG002
        return orjson.dumps({"error": message})


def _unwrapped(instances: Any, schema: ModelSchema) -> Any:
    """Records whose values are lists: of one value each, or one list that is the whole row."""
    if schema.kind == "list" or not isinstance(instances, list) or not instances:
        return instances
    if not all(
        isinstance(record, dict) and record and all(isinstance(value, list) for value in record.values())
        for record in instances
    ):
        return instances
    if all(len(value) == 1 for record in instances for value in record.values()):
        return [{name: value[0] for name, value in record.items()} for record in instances]
    if all(len(record) == 1 for record in instances):
        return [next(iter(record.values())) for record in instances]
    return instances
