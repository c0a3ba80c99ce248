"""KServe's and TensorFlow Serving's V1: ``{"instances": [[…]]}`` → ``{"predictions": […]}``."""

from dataclasses import replace
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


async def version_status(catalogue: Catalogue, asked: Asked) -> Answer:
    """As TensorFlow Serving tells of versions."""
    number = _number(asked.path["version"])
    known = catalogue.known(asked.path["model"], number)
    state = "AVAILABLE" if known.ready else "LOADING" if known.state in ("starting", "preparing") else "END"
    code = "OK" if known.ready else "UNAVAILABLE"
    status = {
        "version": str(number),
        "state": state,
        "status": {"error_code": code, "error_message": known.reason or ""},
    }
    body = {"name": known.target.model, "ready": known.ready, "model_version_status": [status]}
    return Answer(orjson.dumps(body), status=known.status)


async def metadata(catalogue: Catalogue, asked: Asked) -> Answer:
    """The signature in TensorFlow Serving's words: one input of rows, one output."""
    number = _number(asked.path["version"]) if "version" in asked.path else None
    target = catalogue.known(asked.path["model"], number).target
    schema = target.schema or ANY
    kind = "DT_STRING" if schema.kind == "list" else "DT_DOUBLE"
    dims = [{"size": "-1", "name": ""}]
    if schema.kind != "list":
        dims.append({"size": str(schema.width or -1), "name": ""})
    tensor = {"dtype": kind, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": "instances:0"}
    output = {"dtype": "DT_DOUBLE", "tensor_shape": {"dim": [], "unknown_rank": True}, "name": "predictions:0"}
    signature = {
        "inputs": {"instances": tensor},
        "outputs": {"predictions": output},
        "method_name": "tensorflow/serving/predict",
    }
    body = {
        "model_spec": {"name": target.model, "signature_name": "", "version": str(target.version)},
        "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
    }
    return Answer(orjson.dumps(body))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidRequest("a version is a whole number")
    return int(text)


class KServeV1:
    """Errors are ``{"error": …}``. Content-Type is not looked at."""

    name = "kserve_v1"
    paths: tuple[str, ...] = ("/v1/models/{model}:predict", "/v1/models/{model}/versions/{version}:predict")
    verbs = ("OPTIONS", "POST")
    prefix = "/v1"
    views: tuple[View, ...] = (
        View("/v1/models", models),
        View("/v1/models/{model}", model),
        View("/v1/models/{model}/metadata", metadata),
        View("/v1/models/{model}/versions/{version}", version_status),
        View("/v1/models/{model}/versions/{version}/metadata", metadata),
    )

    def parse(self, call: Call, target: Target) -> ScoreRequest:
        body = call_object(call)
        if ("instances" in body) == ("inputs" in body):
            if "instances" in body:
                raise InvalidRequest("the body has both 'instances' and 'inputs'; send one of them")
            raise InvalidRequest("A value is not provided for the 'instances' parameter.")
        schema, what = target.schema or ANY, "instances" if "instances" in body else "inputs"
        instances = _unwrapped(body[what], schema)
        method = call.method or default_method(target.methods, "kserve_v1", target.settings.get("default_method"))
        asked = asked_options(call, body)
        if what == "inputs":
            asked = replace(asked, outputs=True)
            if type(instances) is dict and len(instances) == 1 and not schema.positions.keys() & instances.keys():
                (instances,) = instances.values()  # the one input of the signature, whatever its caller calls it
        return table_request(schema, method, instances, what, asked)

    def format(self, request: ScoreRequest, result: ScoreResult, target: Target) -> bytes:
        asked = request.extra
        key = "outputs" if asked.outputs else "predictions"
        body: dict[str, Any] = {key: json_values(result, request.n_rows, asked.nonfinite)}
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
