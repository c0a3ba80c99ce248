import contextlib
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dataplane.collate import join
from gateway.errors import InvalidRequest, SchemaMismatch, UnknownMethod, UnsupportedMediaType
from gateway.protocols.azure import Azure
from gateway.protocols.kserve_v1 import KServeV1
from gateway.protocols.mlflow import MLflow
from gateway.types import FrameResult, ScoreResult, Table, Target
from registry.errors import CallerError
from tests.gateway.protocols.wire import JSON, NAMED, PLAIN, TEXT, array_of, call, columns_of, result, target, values_of

azure = Azure()
IRIS = target()
ROW = [5.1, 3.5, 1.4, 0.2]


def answer(output: Any, query: bytes = b"", whom: Target = IRIS) -> Any:
    request = azure.parse(call({"data": [ROW]}, query), whom)
    return json.loads(azure.format(request, result(output), whom))


def refused(body: Any, whom: Target = IRIS, kind: type[Exception] = CallerError, **more: Any) -> str:
    with pytest.raises(kind) as caught:
        join([azure.parse(call(body, **more), whom)])
    return str(caught.value)


def test_a_row_becomes_an_array_of_floats() -> None:
    request = azure.parse(call({"data": [ROW, [1, 2, 3, True]]}), IRIS)
    assert request.method == "predict"
    assert request.n_rows == 2
    array = array_of(request)
    assert array.dtype == np.float64
    assert array.tolist() == [ROW, [1.0, 2.0, 3.0, 1.0]]


def test_the_default_is_predict_proba_where_the_instance_has_it() -> None:
    methods = ("predict", "predict_proba")
    assert azure.parse(call({"data": [ROW]}), target(methods=methods)).method == "predict_proba"
    assert azure.parse(call({"data": [ROW]}), target(methods=("predict",))).method == "predict"
    assert azure.parse(call({"data": [ROW]}), target(methods=("score_samples", "transform"))).method == "transform"


def test_a_default_set_at_registration_wins_and_the_body_wins_over_it() -> None:
    whom = target(methods=("predict", "predict_proba"), settings={"default_method": "predict"})
    assert azure.parse(call({"data": [ROW]}), whom).method == "predict"
    assert azure.parse(call({"data": [ROW], "method": "predict_proba"}), whom).method == "predict_proba"


@pytest.mark.parametrize("method", ["fit", "__class__", "predict_proba", 3, ["predict"], {}, True])
def test_another_method_is_refused_with_those_that_there_are(method: Any) -> None:
    assert refused({"data": [ROW], "method": method}, kind=UnknownMethod).endswith("it has: predict, decision_function")


def test_the_path_names_the_method() -> None:
    request = azure.parse(call({"data": [ROW], "method": "predict"}, method="decision_function"), IRIS)
    assert request.method == "decision_function"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "POST body is empty. Expecting a JSON dictionary."),
        (b"[]", "POST body should be a JSON dictionary."),
        (b"null", "POST body should be a JSON dictionary."),
        (b"{}", "A value is not provided for the 'data' parameter."),
        (b'{"data"', "POST body could not be decoded as JSON: Expecting ':' delimiter: line 1 column 8 (char 7)"),
        (b"\xff", "POST body could not be decoded as JSON: 'utf-8' codec can't decode byte 0xff"),
        (b'{"data": ["\\ud800"]}', "POST body could not be decoded as JSON: a string holds half of a surrogate pair"),
        (b'{"data": ' + b"[" * 5000, "POST body could not be decoded as JSON: it is nested too deeply"),
    ],
)
def test_what_is_no_body_gets_azures_sentences(body: bytes, sentence: str) -> None:
    assert refused(body).startswith(sentence)


@pytest.mark.parametrize(
    "kind",
    [b"application/json", b"application/json; charset=utf-8", b"Application/JSON;x=y", b"application/vnd.a+json"],
)
def test_json_types_are_accepted(kind: bytes) -> None:
    assert azure.parse(call({"data": [ROW]}, headers={b"content-type": kind}), IRIS).n_rows == 1


@pytest.mark.parametrize(
    "headers", [{}, {b"content-type": b"text/plain"}, {b"content-type": b"application/x-www-form-urlencoded"}]
)
def test_other_types_are_not(headers: dict[bytes, bytes]) -> None:
    text = refused({"data": [ROW]}, kind=UnsupportedMediaType, headers=headers)
    assert text == "Expects Content-Type to be application/json"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], "data holds no rows; send at least one"),
        ([[]], "the model takes 4 values a row; row 0 (counted from 0) has 0"),
        (ROW, "data must be a list of rows, each a list of values: [[5.1, 3.5, 1.4, 0.2]]"),
        (5.1, "data must be a list of rows, not the number 5.1, such as [[0.0, 0.0, 0.0, 0.0]]"),
        ([ROW[:3]], "the model takes 4 values a row; row 0 (counted from 0) has 3"),
        ([ROW, ROW[:2]], "the model takes 4 values a row; row 1 (counted from 0) has 2"),
        ([ROW, 7], "row 1 (counted from 0): expected a list of values, got the number 7"),
        ([ROW, "abcd"], "row 1 (counted from 0): expected a list of values, got the string 'abcd'"),
        ([[1, "2.5", 3, 4]], "row 0, column 1 (counted from 0): expected a number, got the string '2.5'"),
        ([[1, [2], 3, 4]], "row 0, column 1 (counted from 0): expected a number, got a list"),
        ([[1, {}, 3, 4]], "row 0, column 1 (counted from 0): expected a number, got an object"),
        ([ROW, [1, None, 3, 4]], "row 1, column 1 (counted from 0): the value is missing (null or NaN)"),
        ([[1, 2, math.nan, 4]], "row 0, column 2 (counted from 0): the value is missing (null or NaN)"),
        ([[1, 2, 3, -math.inf]], "row 0, column 3 (counted from 0): the value is infinite"),
        ([[1, 10**400, 3, 4]], "row 0, column 1 (counted from 0): the number is too large"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused_with_where_and_why(data: Any, sentence: str) -> None:
    assert refused({"data": data}).startswith(sentence)


def test_missing_values_reach_a_model_that_takes_them() -> None:
    whom = target(PLAIN | {"allows_nan": True})
    array = array_of(azure.parse(call(b'{"data": [[1, null, NaN, 4]]}'), whom))
    assert np.isnan(array).tolist() == [[False, True, True, False]]


def test_integers_beyond_2_to_the_53_stay_exact() -> None:
    array = array_of(azure.parse(call({"data": [[2**53 + 1, 2, -(2**63), 4.0]]}), IRIS))
    assert array.dtype == np.int64
    assert array.tolist() == [[2**53 + 1, 2, -(2**63), 4]]


def test_integers_that_fractions_would_round_are_refused() -> None:
    text = refused({"data": [[2**53 + 1, 2.5, 3, 4]]}, kind=SchemaMismatch)
    assert text.startswith("row 0, column 0 (counted from 0): the integer 9007199254740993 cannot be held exactly")
    assert array_of(azure.parse(call({"data": [[2**60, 2.5, 3, 4]]}), IRIS)).tolist() == [[2.0**60, 2.5, 3, 4]]


@pytest.mark.parametrize(
    "data",
    [
        [{"age": 41, "income": 1.5, "town": "Rome", "member": True}],
        [{"member": True, "town": "Rome", "income": 1.5, "age": 41}],
        {"columns": ["town", "member", "age", "income"], "data": [["Rome", True, 41, 1.5]], "index": [0]},
        {"town": ["Rome"], "member": [True], "age": [41], "income": [1.5]},
        {"town": {"0": "Rome"}, "member": {"0": True}, "age": {"0": 41}, "income": {"0": 1.5}},
        [[41, 1.5, "Rome", True]],
    ],
)
def test_columns_by_name_come_in_any_order_and_form(data: Any) -> None:
    """Lesson: columns."""
    expected = {"age": [41.0], "income": [1.5], "town": ["Rome"], "member": [True]}
    assert columns_of(azure.parse(call({"data": data}), target(NAMED))) == expected
    assert columns_of(azure.parse(call({"input_data": data}), target(NAMED))) == expected


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (
            {"aeg": 41, "income": 1.5, "town": "Rome", "member": True},
            "missing column 'age'; unknown column 'aeg' (did you mean 'age'?); "
            "the model takes 'age', 'income', 'town', 'member'",
        ),
        ({"age": 41, "income": 1.5}, "missing columns 'town', 'member'; the model takes"),
        ({"age": 1, "income": 1, "town": "", "member": True, "x": 1}, "unknown column 'x'; the model takes"),
        (
            {"age": "old", "income": 1, "town": "", "member": True},
            "row 0, column 'age' (counted from 0): expected a number",
        ),
        (
            {"age": 1, "income": 1, "town": 3, "member": True},
            "row 0, column 'town' (counted from 0): expected a string",
        ),
        (
            {"age": 1, "income": 1, "town": "", "member": "yes"},
            "row 0, column 'member' (counted from 0): expected true",
        ),
        (
            {"age": [1], "income": 1, "town": "", "member": True},
            "row 0, column 'age' (counted from 0): expected a number, got a list",
        ),
    ],
)
def test_a_wrong_column_is_named(record: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SchemaMismatch) as caught:
        columns_of(azure.parse(call({"data": [record]}), target(NAMED)))
    assert str(caught.value).startswith(sentence)


def test_a_later_record_without_a_column_is_named() -> None:
    good = {"age": 41, "income": 1.5, "town": "Rome", "member": True}
    text = refused({"data": [good, {"age": 41, "income": 1.5, "town": "Rome"}]}, target(NAMED))
    assert text == "row 1 (counted from 0): missing column 'member'"


def test_missing_values_of_named_columns_are_nan() -> None:
    found = columns_of(azure.parse(call({"data": [[None, 1, None, None]]}), target(NAMED)))
    assert math.isnan(found["age"][0])
    assert math.isnan(found["town"][0])
    assert math.isnan(found["member"][0])


def test_times_are_iso_and_in_utc() -> None:
    when = {"kind": "columns", "feature_names": ["t"], "column_types": {"t": "datetime"}}
    found = azure.parse(call({"data": [["2026-11-23T19:00:00+01:00"], ["2026-11-23"], [None]]}), target(when))
    column = found.inputs.columns[0]  # type: ignore[union-attr]
    assert column.astype(str).tolist() == ["2026-11-23T18:00:00.000000", "2026-11-23T00:00:00.000000", "NaT"]
    assert "expected a date and time as an ISO 8601 string, got the string 'soon'" in refused(
        {"data": [["soon"]]}, target(when)
    )


def test_names_for_a_model_without_names_give_the_positions() -> None:
    split = {"columns": ["a", "b", "c", "d"], "data": [ROW]}
    assert array_of(azure.parse(call({"data": split}), IRIS)).tolist() == [ROW]
    records = [dict(zip("abcd", ROW, strict=True))] * 2
    assert array_of(azure.parse(call({"data": records}), IRIS)).tolist() == [ROW, ROW]
    turned = [records[0], dict(reversed(records[0].items()))]
    assert refused({"data": turned}).startswith("row 1 (counted from 0) has its keys in another order than row 0")


def test_a_text_model_takes_a_list_of_strings() -> None:
    whom = target(TEXT)
    assert values_of(azure.parse(call({"data": ["buy now", "hello"]}), whom)) == ["buy now", "hello"]
    assert values_of(azure.parse(call({"data": [["buy now"], ["hello"]]}), whom)) == ["buy now", "hello"]
    assert "row 1 (counted from 0): expected a string, got the number 3" in refused({"data": ["buy", 3]}, whom)


def test_inverse_transform_takes_any_width() -> None:
    whom = target(PLAIN, ("transform", "inverse_transform"))
    request = azure.parse(call({"data": [[1, 2]], "method": "inverse_transform"}), whom)
    assert array_of(request).tolist() == [[1.0, 2.0]]
    labels = azure.parse(call({"data": [1, 0], "method": "inverse_transform"}), whom)
    assert array_of(labels).tolist() == [1.0, 0.0]


def test_a_model_of_strings_in_an_array_gets_objects() -> None:
    encoder = {"kind": "array", "n_features": 2, "column_types": {"0": "string"}, "categories": {"1": [1, 2]}}
    array = array_of(azure.parse(call({"data": [["a", 1], ["b", 2]]}), target(encoder)))
    assert array.dtype == object
    assert array.tolist() == [["a", 1.0], ["b", 2.0]]


def test_get_takes_its_arguments_from_the_query() -> None:
    request = azure.parse(call(b"", b"data=%5B%5B1,2,3,4%5D%5D&method=decision_function", {}, verb="GET"), IRIS)
    assert request.method == "decision_function"
    assert array_of(request).tolist() == [[1, 2, 3, 4]]
    repeated = azure.parse(call(b"", b"data=%5B1,2,3,4%5D&data=%5B5,6,7,8%5D", {}, verb="GET"), IRIS)
    assert array_of(repeated).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    with pytest.raises(InvalidRequest, match="'data' parameter"):
        azure.parse(call(b"", b"", {}, verb="GET"), IRIS)


def test_answers_have_one_key_named_after_the_method() -> None:
    assert answer(np.array([0])) == {"predict": [0]}
    assert answer(np.array([[205.59], [68.84]])) == {"predict": [[205.59], [68.84]]}


def test_answers_are_exact() -> None:
    assert answer(np.array([0.1 + 0.2, 1e-310, 5e300])) == {"predict": [0.1 + 0.2, 1e-310, 5e300]}
    assert answer(np.array([0.1], np.float32)) == {"predict": [float(np.float32(0.1))]}
    assert answer(np.array([2**63 - 1, -(2**63)])) == {"predict": [2**63 - 1, -(2**63)]}
    assert answer(np.array([2**64 - 1], np.uint64)) == {"predict": [2**64 - 1]}
    assert answer(np.array([True, False])) == {"predict": [True, False]}
    assert answer(np.array(["ja", "näin 🦜", None, 2**70], object)) == {"predict": ["ja", "näin 🦜", None, 2**70]}
    assert answer(np.array(["2026-01-01T10", "NaT"], "datetime64[ns]")) == {
        "predict": ["2026-01-01T10:00:00.000000000", None]
    }


def test_lone_surrogates_in_labels_do_not_break_the_answer() -> None:
    assert answer(np.array(["\ud800"], object)) == {"predict": ["\ud800"]}


def test_lists_tuples_and_tables_keep_their_shape() -> None:
    proba = [np.array([[0.25, 0.75]]), np.array([[1.0, 0.0]])]
    assert answer(proba) == {"predict": [[[0.25, 0.75]], [[1.0, 0.0]]]}
    assert answer((np.array([[0.5]]), np.array([[7]]))) == {"predict": [[[0.5]], [[7]]]}
    assert answer(Table(("a", "b"), np.array([[1.5, 2.5]]))) == {"predict": [[1.5, 2.5]]}


@pytest.mark.parametrize("rows", [1, 200])
def test_nan_and_infinity_are_null_or_text(rows: int) -> None:
    output = np.array([math.nan, math.inf, -math.inf, 1.5] * rows)
    assert answer(output) == {"predict": [None, None, None, 1.5] * rows}
    assert answer(output, b"nonfinite=string") == {"predict": ["NaN", "Infinity", "-Infinity", 1.5] * rows}


def test_classes_come_on_request() -> None:
    """Lesson: probabilities and labels."""
    assert answer(np.array([0]), b"classes=1") == {"predict": [0], "classes": [0, 1, 2]}
    assert answer(np.array([0]), b"classes=0") == {"predict": [0]}
    assert "nonfinite is either" in refused({"data": [ROW]}, query=b"nonfinite=maybe")


def test_errors_are_a_message() -> None:
    assert json.loads(azure.error('no "x"')) == {"message": 'no "x"'}


def test_callers_of_one_frame_get_their_own_rows() -> None:
    frame = FrameResult(np.arange(200.0).reshape(100, 2), 1)
    request = azure.parse(call({"data": [ROW] * 70}), IRIS)
    body = azure.format(request, ScoreResult(frame, 3, 73), IRIS)
    assert json.loads(body) == {"predict": frame.output[3:73].tolist()}  # type: ignore[index, union-attr]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["age", "town"]), inner, max_size=5)
    ),
    max_leaves=20,
)
WHOM = st.sampled_from(
    [
        IRIS,
        target(NAMED),
        target(TEXT),
        target({}, ("predict",)),
        target(PLAIN, ("inverse_transform",)),
        target({"kind": "columns"}),
    ]
)


def test_names_that_lightgbm_changed_are_known_by_both() -> None:
    changed = {"kind": "columns", "feature_names": ["petal_width", "n"], "blanks_as": "_"}
    whom = target(changed, ("predict",), sample=("s.csv", b"n,petal width\n1,2\n"))
    bodies: list[Any] = [
        [{"n": 1, "petal width": 2}],
        [{"petal_width": 2, "n": 1}],
        {"columns": ["n", "petal width"], "data": [[1, 2]]},
        {"n": [1], "petal width": [2]},
    ]
    for data in bodies:
        assert array_of(azure.parse(call({"data": data}), whom)).tolist() == [[2, 1]]
    with pytest.raises(SchemaMismatch, match="given more than once"):
        azure.parse(call({"data": {"columns": ["petal_width", "petal width"], "data": [[1, 2]]}}), whom)
    with pytest.raises(SchemaMismatch, match="missing column 'petal_width'"):
        azure.parse(call({"data": [{"n": 1, "petal  width": 2}]}), whom)


@settings(max_examples=300, deadline=None)
@given(
    whom=WHOM, data=JSON_VALUES, form=st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"])
)
def test_any_json_is_read_or_refused_by_mlflow_and_kserve(whom: Target, data: Any, form: str) -> None:
    for dialect in (MLflow(), KServeV1()):
        with contextlib.suppress(CallerError):
            join([dialect.parse(call({form: data}), whom)])


@settings(max_examples=400, deadline=None)
@given(whom=WHOM, data=JSON_VALUES, key=st.sampled_from(["data", "input_data", "x"]))
def test_any_json_is_read_or_refused(whom: Target, data: Any, key: str) -> None:
    body = json.dumps({key: data}).encode()
    with contextlib.suppress(CallerError):
        request = azure.parse(call(body), whom)
        join([request])
        assert request.n_rows >= 1


@settings(max_examples=300, deadline=None)
@given(whom=WHOM, body=st.binary(max_size=200), query=st.binary(max_size=50), verb=st.sampled_from(["GET", "POST"]))
def test_any_bytes_are_read_or_refused(whom: Target, body: bytes, query: bytes, verb: str) -> None:
    with contextlib.suppress(CallerError):
        azure.parse(call(body, query, JSON, verb=verb), whom)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(width=64) | st.integers(-(2**53), 2**53), min_size=4, max_size=4), min_size=1, max_size=90
    )
)
def test_numbers_survive_the_way_in_and_out(rows: list[list[float]]) -> None:
    whom = target(PLAIN | {"allows_nan": True})
    array = array_of(request := azure.parse(call({"data": rows}), whom))
    assert array.dtype == np.float64
    np.testing.assert_array_equal(array, np.array(rows, np.float64))
    back = json.loads(azure.format(request, result(array), whom))["predict"]
    expected = [[value if math.isfinite(value) else None for value in row] for row in array.tolist()]
    assert back == expected


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.lists(
            st.lists(st.floats() | st.integers() | st.booleans() | st.none(), min_size=2, max_size=2),
            min_size=1,
            max_size=4,
        ),
        min_size=2,
        max_size=4,
    )
)
def test_together_is_what_each_would_be_alone(requests: list[list[list[Any]]]) -> None:
    reader = target({"kind": "array", "n_features": 2}).schema.rows
    together = reader.together([row for rows in requests for row in rows])
    if together is not None:
        alone = [reader.alone(rows) for rows in requests]
        assert {array.dtype for array in alone} == {together.dtype}
        np.testing.assert_array_equal(together, np.concatenate(alone))


def test_a_frame_of_floats_travels_as_one_array_in_the_models_order() -> None:
    description = {"kind": "columns", "feature_names": ["a", "b"], "column_types": {"a": "number", "b": "number"}}
    array = array_of(azure.parse(call({"data": [{"b": 2, "a": 1.5}]}), target(description)))
    assert array.tolist() == [[1.5, 2.0]]


def test_columns_differ_in_what_may_be_missing() -> None:
    description = {
        "kind": "columns",
        "feature_names": ["a", "b"],
        "column_types": {"a": "number", "b": "number"},
        "nullable": {"a": True, "b": False},
    }
    whom = target(description)
    assert np.isnan(array_of(azure.parse(call({"data": [[None, 1]]}), whom))).tolist() == [[True, False]]
    assert refused({"data": [[1, None]]}, whom).startswith("row 0, column 'b' (counted from 0): the value is missing")


def test_an_unknown_category_is_named_where_the_model_would_refuse_it() -> None:
    whom = target(NAMED | {"closed_categories": ["town"]})
    row = {"age": 1, "income": 1, "town": "Berne", "member": True}
    assert refused({"data": [row]}, whom).startswith(
        "row 0, column 'town' (counted from 0): 'Berne' is not a category that the model knows (did you mean 'Bern'?); it knows"
    )
    columns_of(azure.parse(call({"data": [row | {"town": None}, row | {"town": "Rome"}]}), whom))
    columns_of(azure.parse(call({"data": [row]}), target(NAMED)))


def test_matrices_reach_a_model_that_does_not_tell_its_width() -> None:
    whom = target({"kind": "array"})
    rows = [[[1, 2], [3, 4], [5, 6]]] * 2
    assert array_of(azure.parse(call({"data": rows}), whom)).shape == (2, 3, 2)
    assert refused({"data": [[[1, 2], [3]]]}, whom).startswith("the rows are uneven: all lists at depth 2")
    assert refused({"data": [[[1, 2], [3, "x"]]]}, whom).startswith(
        "value 3 of all (counted from 0): expected a number"
    )
    assert refused({"data": [[[[]]]]}, whom)


def test_encoded_labels_are_whole_numbers() -> None:
    whom = target({"kind": "list", "item": "label"}, ("inverse_transform",))
    assert array_of(azure.parse(call({"data": [1, 0]}), whom)).dtype == np.int64
