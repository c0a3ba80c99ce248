"""Helpers of the dialects' tests: a target without a process, and what a model would answer."""

import json
from typing import Any

import numpy as np

from gateway.dataplane.collate import join
from gateway.schema.infer import schema_for
from gateway.schema.schema import ModelSchema
from gateway.types import (
    ArrayInput,
    Call,
    ColumnsInput,
    FrameResult,
    ListInput,
    Output,
    ScoreRequest,
    ScoreResult,
    Target,
)

JSON = {b"content-type": b"application/json"}

PLAIN = {"kind": "array", "n_features": 4, "allows_nan": False, "class": "SVC", "classes": [0, 1, 2]}
NAMED = {
    "kind": "columns",
    "feature_names": ["age", "income", "town", "member"],
    "n_features": 4,
    "column_types": {"age": "number", "income": "number", "town": "string", "member": "boolean"},
    "categories": {"town": ["Bern", "Rome"]},
    "allows_nan": True,
    "class": "Pipeline",
}
TEXT = {"kind": "list", "item": "text", "class": "Pipeline", "classes": ["ham", "spam"]}


def target(
    description: dict[str, Any] = PLAIN,
    methods: tuple[str, ...] = ("predict", "decision_function"),
    settings: dict[str, Any] | None = None,
    sample: tuple[str, bytes] | None = None,
) -> Target:
    """A model that describes itself so."""
    schema = schema_for(description, *(sample[::-1] if sample else ()))
    schema = json.loads(json.dumps(schema))  # as the routing table carries it
    return Target("iris", 3, methods, description, ModelSchema.from_json(schema), settings or {})


def call(body: Any, query: bytes = b"", headers: dict[bytes, bytes] = JSON, **more: Any) -> Call:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call(content, headers, query, **more)


def array_of(request: ScoreRequest) -> np.ndarray[Any, Any]:
    """The array that the child would get for this request alone."""
    inputs = join([request])
    assert isinstance(inputs, ArrayInput)
    return inputs.array


def columns_of(request: ScoreRequest) -> dict[str, list[Any]]:
    inputs = join([request])
    assert isinstance(inputs, ColumnsInput)
    return {name: column.tolist() for name, column in zip(inputs.names, inputs.columns, strict=True)}


def values_of(request: ScoreRequest) -> list[Any]:
    inputs = join([request])
    assert isinstance(inputs, ListInput)
    return inputs.values


def result(output: Output) -> ScoreResult:
    return ScoreResult(FrameResult(output, 1_500_000), 0, -1)
