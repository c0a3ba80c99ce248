"""Golden rows: inputs that models take, recordings that lose no bit, comparisons that name the difference."""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import CategoricalNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from gateway.schema.methods import METHODS
from gateway.worker import wire
from gateway.worker.describe import describe
from gateway.worker.scoring import Scorer
from registry.errors import InvalidArgument
from registry.golden import GoldenInput, Recording, Table, answer_forms, compare, make_inputs, max_ulp_difference
from registry.tensor_json import tensor_from_json, tensor_to_json


@dataclass
class Rows:
    names: tuple[str, ...] | None
    rows: list[Any]
    table: bool = True


def fitted() -> dict[str, Any]:
    import pandas as pd

    X, y = load_iris(return_X_y=True)
    frame = pd.DataFrame({"size": X[:, 0], "colour": np.array(["red", "blue", "green"])[y], "flag": X[:, 1] > 3})
    texts = ["free offer", "meeting notes", "free call"]
    return {
        "svc": SVC().fit(X, y),
        "forest": RandomForestClassifier(5, random_state=0).fit(X, np.array(["a", "b", "c"])[y]),
        "only non-negative": MultinomialNB().fit(X, y),
        "small whole numbers": CategoricalNB().fit((X > 2).astype(int), y),
        "missing values": HistGradientBoostingClassifier(max_iter=2).fit(X, y),
        "imputing": make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(X, y),
        "columns": make_pipeline(
            make_column_transformer((OneHotEncoder(), ["colour", "flag"]), (StandardScaler(), ["size"])),
            LogisticRegression(),
        ).fit(frame, y),
        "categories without names": OneHotEncoder().fit(np.array([["x", 1], ["y", 2]], dtype=object)),
        "texts": make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1]),
        "records": make_pipeline(DictVectorizer(), LogisticRegression()).fit(
            [{"a": 1.0}, {"a": 2.0, "b": 1.0}], [0, 1]
        ),
        "labels": LabelEncoder().fit(["x", "y"]),
    }


MODELS = fitted()


def ask(model: Any, given: GoldenInput, method: str) -> Any:
    """As a scoring child answers, over its wire but without its process."""
    description = describe(model, METHODS)
    body = wire.Body()
    header: dict[str, Any]
    if given.array is not None:
        header = {"kind": "array", "array": body.add(given.array)}
    elif given.kind == "columns":
        header = {"kind": "columns", "names": list(given.names), "columns": [body.add(c) for c in given.columns]}
    else:
        header = {"kind": "list", "values": list(given.values)}
    frame = b"".join(bytes(p) for p in wire.encode_frame({"id": 1, "method": method, "input": header}, body.arrays))
    ((request, data),) = wire.FrameReader().feed(frame)
    answer, arrays, _ = Scorer(model, description, wire.arrays_from, wire.Body).answer(request, data)
    if not answer["ok"]:
        raise ValueError(answer["error"]["message"])
    frame = b"".join(bytes(p) for p in wire.encode_frame(answer, arrays))
    ((reply, data),) = wire.FrameReader().feed(frame)
    return wire.arrays_from(reply["output"], data)


def record(model: Any, inputs: list[GoldenInput]) -> Recording:
    kept, answers = [], []
    for given in inputs:
        took: dict[str, Any] = {}
        for method in describe(model, METHODS)["methods"]:
            try:
                took[method] = ask(model, given, method)
            except ValueError:
                continue
        if took:
            kept.append(given)
            answers.append(took)
    return Recording({"sklearn": "x"}, tuple(kept), tuple(answers))


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_each_kind_of_model_takes_at_least_one_input_drawn_for_it(model: Any) -> None:
    inputs = make_inputs(describe(model, METHODS))
    assert inputs is not None
    recording = record(model, inputs)
    assert recording.inputs
    again = Recording.from_bytes(recording.to_bytes())
    for given, answers in zip(again.inputs, again.answers, strict=True):
        for method, answer in answers.items():
            assert compare(answer, ask(model, given, method)) is None
            assert max_ulp_difference(answer, ask(model, given, method)) == 0


def test_a_missing_value_is_among_the_inputs_of_a_model_that_takes_it() -> None:
    inputs = make_inputs(describe(MODELS["missing values"], METHODS)) or []
    assert any(given.array is not None and np.isnan(given.array).any() for given in inputs)
    plain = make_inputs(describe(MODELS["svc"], METHODS)) or []
    assert not any(given.array is not None and np.isnan(given.array).any() for given in plain)


def test_the_same_model_gets_the_same_inputs_and_another_seed_others() -> None:
    description = describe(MODELS["svc"], METHODS)

    def drawn(seed: int) -> list[Any]:
        return [given.to_json() for given in make_inputs(description, seed=seed) or []]

    assert drawn(0) == drawn(0) != drawn(1)


def test_categories_and_types_are_drawn_from_what_the_model_knows() -> None:
    inputs = make_inputs(describe(MODELS["columns"], METHODS)) or []
    columns = dict(zip(inputs[0].names, inputs[0].columns, strict=True))
    assert set(columns["colour"].tolist()) == {"red", "blue", "green"}
    assert columns["size"].dtype.kind == "f"
    assert columns["flag"].dtype.kind == "b"


def test_datetime_columns_get_times() -> None:
    description = {"kind": "columns", "feature_names": ["day"], "n_features": 1, "column_types": {"day": "datetime"}}
    assert (make_inputs(description) or [])[0].columns[0].dtype == "datetime64[ns]"
    sampled = make_inputs(description, Rows(("day",), [["2020-01-01T00:00:00"], [None]])) or []
    assert np.isnat(sampled[0].columns[0]).tolist() == [False, True]


def test_nothing_is_made_for_a_model_that_says_nothing() -> None:
    assert make_inputs({"kind": "array", "n_features": None, "feature_names": None}) is None
    assert make_inputs({"kind": "list", "item": None}) is None


def test_a_very_wide_model_gets_few_rows() -> None:
    inputs = make_inputs({"kind": "array", "n_features": 500_000}) or []
    assert inputs[0].rows == 2


def test_a_sample_gives_its_first_rows_in_the_order_of_the_model() -> None:
    description = describe(MODELS["columns"], METHODS)
    rows = Rows(("target", "flag", "size", "colour"), [[1, True, 5.1, "red"]] * 30)
    (given,) = make_inputs(description, rows) or []
    assert given.names == ("size", "colour", "flag")
    assert [column.tolist()[0] for column in given.columns] == [5.1, "red", True]
    assert given.rows == 20
    assert record(MODELS["columns"], [given]).inputs


def test_a_sample_without_names_goes_by_position() -> None:
    description = describe(MODELS["svc"], METHODS)
    (given,) = make_inputs(description, Rows(None, [[1, 2, 3, 4], [5, None, 7, 8]])) or []
    assert given.array is not None
    assert given.array.dtype == np.float64
    assert np.isnan(given.array[1, 1])


def test_a_sample_of_texts_or_records_is_a_list() -> None:
    assert (make_inputs({"kind": "list"}, Rows(None, ["a", "b"], table=False)) or [])[0].values == ("a", "b")
    assert (make_inputs({"kind": "list"}, Rows(("text",), [["a"], ["b"]])) or [])[0].values == ("a", "b")


def test_a_sample_that_is_not_the_model_s_is_refused_by_column() -> None:
    with pytest.raises(InvalidArgument, match="no column 'colour'"):
        make_inputs(describe(MODELS["columns"], METHODS), Rows(("size", "flag"), [[1.0, True]]))
    with pytest.raises(InvalidArgument, match="it has 3 columns, and the model takes 4"):
        make_inputs(describe(MODELS["svc"], METHODS), Rows(None, [[1, 2, 3]]))


# recordings


def bits(array: np.ndarray[Any, Any]) -> bytes:
    return array.tobytes()


@hypothesis.given(
    npst.arrays(
        st.sampled_from(
            ["<f8", ">f8", "<f4", "<f2", "<i8", "<u8", "|i1", "|b1", "<c16", "<U3", "<M8[ns]", "<m8[s]", "<g"]
        ),
        npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_arrays_survive_json_in_every_bit(array: np.ndarray[Any, Any]) -> None:
    if array.dtype.kind == "f" and array.dtype.itemsize <= 8:
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array).astype(array.dtype)  # one kind of NaN
    again = tensor_from_json(json.loads(json.dumps(tensor_to_json(array), allow_nan=False)))
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    if array.dtype.char != "g":  # its padding bytes are nobody's
        assert bits(again) == bits(array)


def test_objects_survive_json() -> None:
    values = [None, "nan", math.nan, math.inf, True, 2**60, 0.1, "ü", np.int64(3), np.str_("s")]
    array = np.empty(len(values), object)
    array[:] = values
    again = tensor_from_json(json.loads(json.dumps(tensor_to_json(array), allow_nan=False))).tolist()
    assert again[2] != again[2]
    assert [*again[:2], *again[3:]] == [None, "nan", math.inf, True, 2**60, 0.1, "ü", 3, "s"]


def test_a_recording_survives_with_tables_tuples_and_lists() -> None:
    answer = (np.array([1.5, np.nan]), [np.array(["a"], object), np.array([1])])
    table = Table(("x", "y"), np.array([[0.1, 0.2]]))
    given = GoldenInput("columns", names=("a",), columns=(np.array(["2020-01-01"], "datetime64[ns]"),))
    recording = Recording({"python": "3.6.15"}, (given,), ({"kneighbors": answer, "transform": table},))
    again = Recording.from_bytes(recording.to_bytes())
    assert again.recorded_in == {"python": "3.6.15"}
    assert again.inputs[0].to_json() == given.to_json()
    for method, wanted in recording.answers[0].items():
        assert compare(wanted, again.answers[0][method], rtol=0) is None
    assert again.to_bytes() == recording.to_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"format": 1}',
        b'{"format": 9}',
        b'{"format":1,"recorded_in":{},"inputs":[],"answers":[{}]}',
    ],
)
def test_what_is_no_recording_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="golden rows"):
        Recording.from_bytes(data)


def test_parts_of_an_input_are_its_rows() -> None:
    for given in (
        GoldenInput("array", np.arange(6.0).reshape(3, 2)),
        GoldenInput("columns", names=("a",), columns=(np.arange(3),)),
        GoldenInput("list", values=("a", "b", "c")),
    ):
        assert given.rows == 3
        assert given.part(1, 3).rows == 2
    assert GoldenInput("list", values=("a", "b", "c")).part(1, 2).values == ("b",)


# comparing


def test_equal_answers_have_no_difference() -> None:
    for answer in (
        np.array([0, 1]),
        np.array(["a", None, math.nan], object),
        np.array([0.1, math.nan, math.inf, -math.inf]),
        np.array([], float),
        np.array(3.5),
        [np.array([1.0]), np.array([[1, 2]])],
        Table(("a",), np.array([[1.0]])),
        np.array(["2020"], "datetime64[ns]"),
    ):
        assert compare(answer, answer) is None
        assert max_ulp_difference(answer, answer) == 0


DIFFERENCES: dict[str, tuple[Any, Any, str]] = {
    "label": (
        np.array(["a", "b"], object),
        np.array(["a", "c"], object),
        "row 1: 'c' is answered where 'b' was recorded",
    ),
    "whole number": (np.array([0, 1, 2]), np.array([0, 1, 4]), "row 2: 4 is answered where 2 .* 1 of 3"),
    "probability": (
        np.array([[0.5, 0.5], [0.1, 0.9]]),
        np.array([[0.5, 0.5], [0.1, 48.3]]),
        "row 1, column 1: 48.3 is answered where 0.9 was recorded, the largest difference, 47.4; 1 of 4",
    ),
    "not a number": (np.array([1.0]), np.array([math.nan]), "nan is answered where 1.0"),
    "infinity": (np.array([-math.inf, 1.0]), np.array([math.inf, 1.0]), "row 0: inf is answered where -inf"),
    "shape": (np.zeros((2, 2)), np.zeros((2, 3)), r"shape \(2, 3\) is answered where \(2, 2\)"),
    "parts": ([np.zeros(1)], [np.zeros(1), np.zeros(1)], "2 parts are answered where 1"),
    "inside": ((np.zeros(1), np.zeros(1)), (np.zeros(1), np.ones(1)), "part 1: row 0: 1.0"),
    "array for list": ([np.zeros(1)], np.zeros(1), "an array is answered where a list"),
    "table for array": (np.zeros((1, 1)), Table(("a",), np.zeros((1, 1))), "a table is answered where an array"),
    "names": (Table(("a",), np.zeros((1, 1))), Table(("b",), np.zeros((1, 1))), "the columns"),
    "text for number": (np.array([1, 2]), np.array(["1", "2"]), "'1' is answered where 1"),
    "no number": (np.array(1.0), np.array(2.0), "^2.0 is answered where 1.0"),
}


@pytest.mark.parametrize(("expected", "got", "sentence"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_each_difference_has_its_sentence(expected: Any, got: Any, sentence: str) -> None:
    difference = compare(expected, got)
    assert difference is not None
    assert re.search(sentence, difference), difference
    assert max_ulp_difference(expected, got) > 4


def test_floats_may_differ_by_a_millionth_of_the_row() -> None:
    row = np.array([[1e-9, 1000.0]])
    assert compare(row, row + np.array([5e-4, 0])) is None
    assert compare(row, row + np.array([5e-3, 0])) is not None
    assert compare(np.array([1000.0]), np.array([1000.0005])) is None
    assert compare(np.array([1000.0, 1e-17]), np.array([1000.0, 0.0])) is None
    assert compare(np.array([1.0, 0.001]), np.array([1.0, 0.0011])) is not None
    narrow = np.array([1.0], np.float32)
    assert compare(narrow, np.nextafter(narrow, np.float32(2))) is None


def test_whole_and_float_labels_of_the_same_value_are_equal() -> None:
    assert compare(np.array([1, 2]), np.array([1.0, 2.0])) is None
    assert compare(np.array([1, 2], np.int32), np.array([1, 2])) is None
    assert compare(np.array(["a", "b"]), np.array(["a", "b"], object)) is None


@hypothesis.given(npst.arrays(np.float64, (3, 4), elements=st.floats(-1e6, 1e6)), st.integers(0, 9))
def test_ulps_are_counted_from_the_largest_of_the_row(X: Any, steps: int) -> None:
    moved = X.copy()
    at = np.abs(X[1]).argmax()
    if X[1, at] == 0:
        return
    for _ in range(steps):
        moved[1, at] = np.nextafter(moved[1, at], 0.0)
    assert max_ulp_difference(X, moved) == pytest.approx(steps, abs=steps / 2 + 0.01)


def test_batched_and_unbatched_answers_of_a_linear_model_are_a_few_ulps_apart() -> None:
    X, y = load_diabetes(return_X_y=True)
    model = LinearRegression().fit(X, y)
    alone = np.concatenate([model.predict(X[i : i + 1]) for i in range(len(X))])
    assert max_ulp_difference(alone, model.predict(X)) <= 4
    assert max_ulp_difference(model.predict(X), model.predict(X) * (1 + 1e-12)) > 4


def test_forms_of_answers_over_several_inputs() -> None:
    answers = (
        {
            "predict": np.array(["a"]),
            "kneighbors": (np.zeros((1, 3)), np.zeros((1, 3), np.int64)),
            "radius": np.zeros((1, 2)),
        },
        {
            "predict": np.array(["long"]),
            "kneighbors": (np.zeros((4, 3)), np.zeros((4, 3), np.int64)),
            "radius": np.zeros((4, 5)),
        },
    )
    forms = answer_forms(Recording({}, (), answers))
    assert forms == {
        "predict": [["|O", [-1]]],
        "kneighbors": [["<f8", [-1, 3]], ["<i8", [-1, 3]]],
        "radius": [["<f8", [-1, -1]]],
    }
