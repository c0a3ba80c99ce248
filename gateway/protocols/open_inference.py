"""Open Inference Protocol v2 over REST, with the binary tensor extension in both directions.

``outputs`` selects methods: none means ``predict`` (or the registered default), a named one is a method of the model. JSON
answers are flat and row-major, with null for NaN; binary ones carry numbers as they are. Content-Type is not looked at, since
clients do not agree on it. Answers are compressed only for those that ask.
"""

import gzip
import math
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from gateway.errors import InvalidRequest, ModelUnloaded
from gateway.protocols.answers import json_answer
from gateway.protocols.body import call_object, json_object, options
from gateway.protocols.open_inference_models import VIEWS
from gateway.protocols.open_inference_outputs import (
    CLASSES,
    SEVERAL,
    AskedOutput,
    asked_outputs,
    methods_of,
    with_classes,
    written,
)
from gateway.protocols.tables import array_request, columns_request, table_request
from gateway.protocols.tensors import read_tensor
from gateway.schema.rows import quoted
from gateway.schema.schema import ANY, ModelSchema
from gateway.types import Answer, Array, Call, ScoreRequest, ScoreResult, Target, View
from registry.errors import ModelNotFound

_LENGTH_HEADER: Final = "Inference-Header-Content-Length"
_SMALL: Final = 1_000  # bytes that are not worth compressing


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the answer should look like."""

    id: str
    outputs: tuple[AskedOutput, ...]
    encoding: str | None  # gzip or deflate


class OpenInference:
    """Errors are ``{"error": …}``."""

    name = "open_inference"
    paths: tuple[str, ...] = ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")
    verbs = ("OPTIONS", "POST")
    prefix = "/v2"
    views: tuple[View, ...] = VIEWS

    def parse(self, call: Call, target: Target) -> ScoreRequest:
        body, tail = _split(call)
        parameters = _mapping(body.get("parameters"), "parameters")
        specs = body.get("inputs")
        if not isinstance(specs, list) or not specs or not all(isinstance(spec, dict) for spec in specs):
            raise InvalidRequest("inputs must be a list of tensors, at least one")
        binary = parameters.get("binary_data_output") is True
        asked = asked_outputs(body.get("outputs"), call.method, target, binary)
        if options(call.query).classes or CLASSES in _listed(body.get("include")):
            asked = with_classes(asked, target)
        wanted = Wanted(
            id=str(body["id"]) if body.get("id") not in (None, "") else str(uuid.uuid4()),
            outputs=asked,
            encoding=_encoding(call.headers.get(b"accept-encoding", b"")),
        )
        methods = methods_of(asked)
        request = _request(target.schema or ANY, methods[0], specs, tail, parameters, wanted)
        if len(methods) > 1:  # a frame of its own, answered with a tuple
            request.method, request.key = SEVERAL.join(methods), None
        return request

    def format(self, request: ScoreRequest, result: ScoreResult, target: Target) -> Answer:
        wanted: Wanted = request.extra
        outputs, binary = written(wanted.outputs, result.output, target)
        head = json_answer(
            {"model_name": target.model, "model_version": str(target.version), "id": wanted.id, "outputs": outputs}
        )
        headers = ((_LENGTH_HEADER, str(len(head))),) if binary else ()
        kind = "application/octet-stream" if binary else "application/json"
        return _compressed(Answer(b"".join([head, *binary]), kind, headers), wanted.encoding)

    def error(self, message: str, error: Exception | None = None) -> bytes:
        if isinstance(error, ModelNotFound | ModelUnloaded):
            message = f"Request for unknown model: {message}"
        return orjson.dumps({"error": message})


def _split(call: Call) -> tuple[dict[str, Any], memoryview]:
    """The JSON of a request, and the binary data behind it."""
    text = call.headers.get(_LENGTH_HEADER.lower().encode())
    if text is None:
        return call_object(call), memoryview(b"")
    try:
        length = int(text)
    except ValueError:
        length = -1
    if not 0 < length <= len(call.body):
        raise InvalidRequest(f"the header {_LENGTH_HEADER} must be the size of the JSON part of the body in bytes")
    return json_object(call.body[:length]), memoryview(call.body)[length:]


def _plain_rows(spec: Mapping[str, Any], schema: ModelSchema) -> list[Any] | Array | None:
    """The common case: float64 rows in JSON, of the model's width. They become an array with those of other callers."""
    data, shape, width = spec.get("data"), spec.get("shape"), schema.width
    if isinstance(data, np.ndarray):
        return _plain_matrix(spec, data) if "parameters" not in spec else None
    if spec.get("datatype") != "FP64" or "parameters" in spec or type(data) is not list or not data or width is None:
        return None
    if type(shape) is not list or len(shape) != 2 or shape[1] != width or type(shape[0]) is not int:
        return None
    if len(data) == shape[0] and type(data[0]) is list:
        return data
    if len(data) == shape[0] * width and type(data[0]) is not list:
        return [data[start : start + width] for start in range(0, len(data), width)]
    return None


def _plain_matrix(spec: Mapping[str, Any], data: Array) -> Array | None:
    """The same, of numbers that became an array before they came here; None where its shape is not the tensor's."""
    shape = spec.get("shape")
    if spec.get("datatype") != "FP64" or type(shape) is not list or len(shape) != 2 or data.size != math.prod(shape):
        return None
    return data.reshape(shape) if data.ndim == 1 or data.shape == tuple(shape) else None


def _tensors(specs: Sequence[dict[str, Any]], tail: memoryview, content_type: Any) -> list[Array]:
    tensors, at = [], 0
    for spec in specs:
        parameters = _mapping(spec.get("parameters"), "the parameters of an input")
        hint = parameters.get("content_type", content_type)
        size = parameters.get("binary_data_size")
        binary = None
        if size is not None:
            if type(size) is not int or not 0 <= size <= len(tail) - at:
                raise InvalidRequest(
                    f"input {quoted(str(spec.get('name')))}: binary_data_size is larger than what was sent"
                )
            binary = tail[at : at + size]
            at += size
        tensors.append(read_tensor(spec, binary, hint if isinstance(hint, str) else None))
    if at != len(tail):
        raise InvalidRequest(
            f"{len(tail) - at:,} bytes of binary data belong to no input; each needs its binary_data_size"
        )
    return tensors


def _request(
    schema: ModelSchema,
    method: str,
    specs: Sequence[dict[str, Any]],
    tail: memoryview,
    parameters: Mapping[str, Any],
    wanted: Wanted,
) -> ScoreRequest:
    if len(specs) == 1 and not tail and not parameters and schema.numeric:
        rows = _plain_rows(specs[0], schema)
        if rows is not None:
            return table_request(schema, method, rows, "the input", wanted)
    tensors = _tensors(specs, tail, parameters.get("content_type"))
    return _tensor_request(schema, method, specs, tensors, parameters.get("content_type") == "pd", wanted)


def _tensor_request(
    schema: ModelSchema,
    method: str,
    specs: Sequence[dict[str, Any]],
    tensors: Sequence[Array],
    frame: bool,
    wanted: Wanted,
) -> ScoreRequest:
    """One tensor holds the rows, several are named columns; one can be a named column too."""
    names = [str(spec.get("name")) for spec in specs]
    frame = frame or any(_mapping(spec.get("parameters"), "parameters").get("content_type") == "pd" for spec in specs)
    if len(tensors) == 1 and not frame and schema.names != tuple(names):
        tensor = tensors[0]
        if schema.kind == "list" or tensor.dtype == object:
            if schema.kind == "list" and tensor.shape[1:] == (1,):
                tensor = tensor.reshape(-1)
            return table_request(schema, method, tensor.tolist(), f"input {quoted(names[0])}", wanted)
        return array_request(schema, method, tensor, wanted)
    values: list[list[Any]] = []
    for name, tensor in zip(names, tensors, strict=True):
        if tensor.ndim > 2 or (tensor.ndim == 2 and tensor.shape[1] != 1):
            raise InvalidRequest(
                f"input {quoted(name)} is one of several, so it is one column: its shape must be [rows] or [rows, 1]"
            )
        values.append(tensor.reshape(-1).tolist())
    return columns_request(schema, method, names, values, wanted)


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{what} must be an object")
    return value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _encoding(accepted: bytes) -> str | None:
    if not accepted:
        return None
    qualities = {}
    for word in accepted.lower().replace(b" ", b"").split(b","):
        name, _, quality = word.partition(b";q=")
        qualities[name] = quality or b"1"
    return next((name for name in ("gzip", "deflate") if qualities.get(name.encode(), b"").strip(b"0.")), None)


def _compressed(answer: Answer, encoding: str | None) -> Answer:
    if encoding is None or len(answer.body) < _SMALL:
        return answer
    body = gzip.compress(answer.body, 1, mtime=0) if encoding == "gzip" else zlib.compress(answer.body, 1)
    return Answer(body, answer.content_type, (*answer.headers, ("Content-Encoding", encoding)))
