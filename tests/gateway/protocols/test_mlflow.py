import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dataplane.collate import join
from gateway.errors import QueueFull, UnsupportedMediaType
from gateway.protocols.mlflow import MLflow
from gateway.types import Target
from registry.errors import CallerError, ModelNotFound
from tests.gateway.protocols.wire import NAMED, PLAIN, TEXT, array_of, call, columns_of, result, target, values_of

mlflow = MLflow()
IRIS = target(PLAIN, ("predict", "predict_proba"))
ROW = [5.1, 3.5, 1.4, 0.2]
CSV = {b"content-type": b"text/csv"}


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["a", "b", "c", "d"], "index": [0], "data": [ROW]}},
        {"dataframe_split": {"data": [ROW]}},
        {"dataframe_records": [dict(zip("abcd", ROW, strict=True))]},
        {"instances": [ROW]},
        {"inputs": [ROW]},
        {"inputs": {"a": [5.1], "b": [3.5], "c": [1.4], "d": [0.2]}},
    ],
)
def test_every_form_gives_the_rows(body: Any) -> None:
    request = mlflow.parse(call(body), IRIS)
    assert request.method == "predict"
    assert array_of(request).tolist() == [ROW]
    assert json.loads(mlflow.format(request, result(np.array([2])), IRIS)) == {"predictions": [2]}


def test_params_may_name_the_method() -> None:
    request = mlflow.parse(call({"inputs": [ROW], "params": {"method": "predict_proba", "x": 1}}), IRIS)
    assert request.method == "predict_proba"


@pytest.mark.parametrize("body", [{}, {"data": [ROW]}, {"inputs": [ROW], "instances": [ROW]}])
def test_exactly_one_form_is_needed(body: Any) -> None:
    with pytest.raises(CallerError, match="exactly one of dataframe_split, dataframe_records, instances, inputs"):
        mlflow.parse(call(body), IRIS)


@pytest.mark.parametrize("kind", [b"text/plain", b"application/x-parquet", b""])
def test_other_types_are_refused(kind: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match="application/json or text/csv"):
        mlflow.parse(call({"inputs": [ROW]}, headers={b"content-type": kind} if kind else {}), IRIS)


@pytest.mark.parametrize(
    "text",
    [
        b"a,b,c,d\n5.1,3.5,1.4,0.2\n",
        b"0,1,2,3\r\n5.1,3.5,1.4,0.2\r\n",
        b"5.1,3.5,1.4,0.2",
        b'\xef\xbb\xbf"a","b","c","d"\n5.1,3.5,1.4,0.2\n\n',
    ],
)
def test_csv_with_and_without_a_header(text: bytes) -> None:
    assert array_of(mlflow.parse(call(text, headers=CSV), IRIS)).tolist() == [ROW]


def test_csv_by_name_in_any_order_with_types_and_missing_values() -> None:
    text = b"town,member,age,income\nRome,true,41,\nBern,False,nan,1.5\n"
    found = columns_of(mlflow.parse(call(text, headers=CSV), target(NAMED)))
    assert found["town"] == ["Rome", "Bern"]
    assert found["member"] == [True, False]
    assert found["age"][0] == 41.0
    assert np.isnan([found["age"][1], found["income"][0]]).all()


def test_csv_of_numbers_in_a_column_of_text_stays_text() -> None:
    text = b"age,income,town,member\n1,2,007,true\n"
    assert columns_of(mlflow.parse(call(text, headers=CSV), target(NAMED)))["town"] == ["007"]


def test_csv_of_text() -> None:
    assert values_of(mlflow.parse(call(b'text\n"buy, now"\nsell\n', headers=CSV), target(TEXT))) == ["buy, now", "sell"]
    records = {"dataframe_records": [{"text": "buy, now"}, {"text": "sell"}]}
    assert values_of(mlflow.parse(call(records), target(TEXT))) == ["buy, now", "sell"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "the CSV holds no lines"),
        (b"a,b,c,d\n", "the CSV holds no rows but its header"),
        (b"a,b\n1,2\n3\n", "line 3 of the CSV has 1 fields, line 1 has 2"),
        (b"1,2,3\n", "the model takes 4 values a row"),
        (b"1,x,3,4\n2,3,4,5\n", "row 0, column 1 (counted from 0): expected a number, got the string 'x'"),
        (b"\xff", "the CSV is not UTF-8"),
        (b'"a\n', "the body is not CSV"),
        (b"1,2,,4\n", "row 0, column 2 (counted from 0): the value is missing"),
    ],
)
def test_wrong_csv_is_refused(text: bytes, sentence: str) -> None:
    with pytest.raises(CallerError) as caught:
        array_of(mlflow.parse(call(text, headers=CSV), IRIS))
    assert str(caught.value).startswith(sentence)


def test_errors_have_mlflows_codes() -> None:
    assert json.loads(mlflow.error("no", ModelNotFound("x")))["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert json.loads(mlflow.error("no", QueueFull("x", 1, 1)))["error_code"] == "REQUEST_LIMIT_EXCEEDED"
    assert json.loads(mlflow.error("no", CallerError("x"))) == {"error_code": "BAD_REQUEST", "message": "no"}


@settings(max_examples=300, deadline=None)
@given(
    whom=st.sampled_from([IRIS, target(NAMED), target(TEXT), target({}, ("predict",))]),
    text=st.binary(max_size=60) | st.text("a1,.\n\"'-e", max_size=40).map(str.encode),
)
def test_any_csv_is_read_or_refused(whom: Target, text: bytes) -> None:
    with contextlib.suppress(CallerError):
        join([mlflow.parse(call(text, headers=CSV), whom)])
