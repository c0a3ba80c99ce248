"""What web pages and programs around a model send to our own paths, and what is refused of it."""

from typing import Any

import numpy as np
import pytest

from gateway.errors import Forbidden, InvalidRequest, SchemaMismatch
from gateway.protocols import forms
from gateway.protocols.azure import Azure
from gateway.protocols.kserve_v1 import KServeV1
from gateway.protocols.mlflow import MLflow
from gateway.protocols.native import Native
from gateway.schema.columns import Column
from gateway.schema.schema import ModelSchema
from gateway.types import Call, ColumnsInput, Dialect, ListInput, RowsInput, ScoreRequest, Target

HOUSE = ModelSchema(kind="columns", columns=(Column("rooms", "number"), Column("city", "string")), width=2)
PLAIN = ModelSchema(kind="array", columns=(), width=2)
TEXT = ModelSchema(kind="list", item="text")
JSON = {b"content-type": b"application/json"}
FORM = {b"content-type": b"application/x-www-form-urlencoded"}
PARTS = {b"content-type": b'multipart/form-data; boundary="X"'}


def target(schema: ModelSchema) -> Target:
    return Target("m", 1, ("predict", "predict_proba"), {}, schema, {})


def parsed(
    body: bytes, schema: ModelSchema, headers: dict[bytes, bytes] = JSON, dialect: Dialect | None = None
) -> ScoreRequest:
    return (dialect or Native()).parse(Call(body, headers), target(schema))


def rows(request: ScoreRequest) -> Any:
    inputs = request.inputs
    if isinstance(inputs, ColumnsInput):
        return [list(row) for row in zip(*(column.tolist() for column in inputs.columns), strict=True)]
    if isinstance(inputs, RowsInput):
        return inputs.rows
    return inputs.values if isinstance(inputs, ListInput) else np.asarray(inputs).tolist()


def part(name: str, value: str, file: str = "") -> str:
    named = f'; filename="{file}"' if file else ""
    return f'--X\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n{value}\r\n'


@pytest.mark.parametrize(
    ("body", "schema", "headers", "right"),
    [
        (b'{"rooms": 3, "city": "Oslo"}', HOUSE, JSON, [[3.0, "Oslo"]]),
        (b'{"data": {"rooms": 3, "city": "Oslo"}}', HOUSE, JSON, [[3.0, "Oslo"]]),
        (b'{"city": "Oslo", "rooms": 3, "method": "predict"}', HOUSE, JSON, [[3.0, "Oslo"]]),
        (b"rooms=3&city=Oslo&submit=Predict", HOUSE, FORM, [[3.0, "Oslo"]]),
        (b"city=S%C3%A3o+Paulo&rooms=1&rooms=3", HOUSE, FORM, [[3.0, "S\u00e3o Paulo"]]),
        (b"a=3&b=4.5", PLAIN, FORM, [[3.0, 4.5]]),
        (b"message=hello+you", TEXT, FORM, ["hello you"]),
        ((part("rooms", "3") + part("city", "Oslo") + "--X--").encode(), HOUSE, PARTS, [[3.0, "Oslo"]]),
        (
            (part("f", "rooms,city\n3,Oslo\n4,Bern\n", "a.csv") + "--X--").encode(),
            HOUSE,
            PARTS,
            [[3.0, "Oslo"], [4.0, "Bern"]],
        ),
        (b"rooms,city\n3,Oslo\n", HOUSE, {b"content-type": b"text/csv"}, [[3.0, "Oslo"]]),
        (b'"hello"', TEXT, JSON, ["hello"]),
        (b'{"text": "hello"}', TEXT, JSON, ["hello"]),
    ],
)
def test_one_record_and_forms_are_taken(
    body: bytes, schema: ModelSchema, headers: dict[bytes, bytes], right: Any
) -> None:
    assert rows(parsed(body, schema, headers)) == right


@pytest.mark.parametrize(
    ("body", "schema", "headers", "words"),
    [
        (b'{"rooms": 3, "ciy": "a"}', HOUSE, JSON, "did you mean 'city'"),
        (b'{"foo": 3}', HOUSE, JSON, "'data' parameter"),
        (b"a=3", PLAIN, FORM, "takes 2 values"),
        (b"a=3&b=x", TEXT, FORM, "one text"),
        (b"foo=3", HOUSE, FORM, "none of the form's fields"),
        (b"x" * 70_000, HOUSE, FORM, "64 kB"),
        (b"&".join(b"a=1" for _ in range(1_001)), HOUSE, FORM, "1,000 fields"),
        (b"junk", HOUSE, PARTS, "boundary"),
        (b"rooms=%ff", HOUSE, FORM, "cannot be read"),
        (b'{"data": [[1, 2]], "data": [[3, 4]]}', PLAIN, JSON, "'data' is given more than once"),
        (b'{"data" : [[1, 2]], "data" :[[3, 4]]}', PLAIN, JSON, "'data' is given more than once"),
        (b'{"data": [{"rooms": 1, "rooms": 2, "city": "a:b\\":"}]}', HOUSE, JSON, "'rooms' is given more than once"),
        (b'{"data": {"columns": ["rooms"]}}', HOUSE, JSON, 'no "data"'),
        (b'{"data": {"columns": ["a", "b"], "datas": [[1, 2]]}}', PLAIN, JSON, "did you mean 'data'"),
        (b'{"data": {"columns": ["a", "b"], "data": [[1, 2]], "rows": 3}}', PLAIN, JSON, "unknown member 'rows'"),
    ],
)
def test_what_is_unclear_is_refused(body: bytes, schema: ModelSchema, headers: dict[bytes, bytes], words: str) -> None:
    with pytest.raises((InvalidRequest, SchemaMismatch)) as refusal:
        parsed(body, schema, headers)
    assert words in str(refusal.value)


def test_text_that_looks_like_a_key_twice_is_none() -> None:
    assert rows(parsed(b'{"data": [{"rooms": 1, "city": "a:b\\":"}]}', HOUSE)) == [[1.0, 'a:b":']]


def test_a_form_counts_from_this_host_and_from_named_origins_only() -> None:
    body, here = b"rooms=3&city=x", {**FORM, b"host": b"models:8080"}
    parsed(body, HOUSE, {**here, b"origin": b"http://models:8080"})
    with pytest.raises(Forbidden):
        parsed(body, HOUSE, {**here, b"origin": b"http://elsewhere"})
    forms.allow_origins([b"http://elsewhere"])
    try:
        parsed(body, HOUSE, {**here, b"origin": b"http://elsewhere"})
    finally:
        forms.allow_origins([])


@pytest.mark.parametrize("body", [b'{"rooms": 3, "city": "a"}', b'{"data": {"rooms": 3, "city": "a"}}'])
def test_azures_own_path_stays_azures(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parsed(body, HOUSE, dialect=Azure())


@pytest.mark.parametrize(
    "body",
    [
        b'{"dataframe_split": {"columns": ["a"]}}',
        b'{"dataframe_split": {"datas": [[1, 2]]}}',
        b'{"dataframe_split": [[1, 2]]}',
        b'{"instances": {"columns": ["a"]}}',
    ],
)
def test_a_split_without_its_data_is_not_scored(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parsed(body, PLAIN, dialect=MLflow())


def test_mlflows_params_choose_the_method_and_others_are_told() -> None:
    asked = b'{"instances": [[1, 2]], "params": {"predict_method": "predict_proba", "batch": 1}}'
    request = parsed(asked, PLAIN, dialect=MLflow())
    assert (request.method, request.extra.ignored) == ("predict_proba", ("batch",))


@pytest.mark.parametrize(
    ("body", "schema", "right"),
    [
        (b'{"inputs": {"rooms": [1, 2], "city": ["a", "b"]}}', HOUSE, [[1.0, "a"], [2.0, "b"]]),
        (b'{"inputs": [[1, 2]]}', PLAIN, [[1, 2]]),
        (b'{"inputs": {"x": [[1, 2]]}}', PLAIN, [[1, 2]]),
    ],
)
def test_tensorflow_servings_columns(body: bytes, schema: ModelSchema, right: Any) -> None:
    request = parsed(body, schema, dialect=KServeV1())
    assert rows(request) == right
    assert request.extra.outputs
