"""From inputs of the wire to what a model gets, and from what it answers to the wire."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.preprocessing import OrdinalEncoder

from gateway.worker import wire
from gateway.worker.scoring import Scorer, quiet_warnings


class Echo:
    """Keeps what it got and answers with what it was told."""

    def __init__(self, answer: Any = None) -> None:
        self.got: Any = None
        self.answer = answer

    def predict(self, X: Any) -> Any:
        self.got = X
        if isinstance(self.answer, BaseException):
            raise self.answer
        return np.zeros(len(X)) if self.answer is None else self.answer


def scored(
    model: Any, given: dict[str, Any], body: wire.Body | None = None, **description: Any
) -> tuple[dict[str, Any], Any, bool]:
    """Header, decoded output (None for errors), and whether the process should end."""
    words = {"methods": ["predict"], "kind": "array", **description}
    scorer = Scorer(model, words, wire.arrays_from, wire.Body, 1000)
    header = {"id": 1, "method": "predict", "input": given, "checked": False}
    ((request, data),) = wire.FrameReader().feed(b"".join(wire.encode_frame(header, body.arrays if body else ())))
    answer, arrays, fatal = scorer.answer(request, data)
    ((answer, data),) = wire.FrameReader().feed(b"".join(wire.encode_frame(answer, arrays)))
    return answer, wire.arrays_from(answer["output"], data) if answer["ok"] else None, fatal


def array(X: Any) -> tuple[dict[str, Any], wire.Body]:
    body = wire.Body()
    return {"kind": "array", "array": body.add(np.asarray(X))}, body


def columns(**arrays: Any) -> tuple[dict[str, Any], wire.Body]:
    body = wire.Body()
    return {
        "kind": "columns",
        "names": list(arrays),
        "columns": [body.add(np.asarray(c)) for c in arrays.values()],
    }, body


def test_a_number_of_no_category_is_the_callers_mistake() -> None:
    encoder = OrdinalEncoder().fit([[1], [2]])
    scorer = Scorer(encoder, {"methods": ["inverse_transform"], "kind": "array"}, wire.arrays_from, wire.Body, 1000)
    given, body = array([[7]])
    header = {"id": 1, "method": "inverse_transform", "input": given, "checked": False}
    ((request, data),) = wire.FrameReader().feed(b"".join(wire.encode_frame(header, body.arrays)))
    assert scorer.answer(request, data)[0]["error"]["kind"] == "input"


def test_an_array_stays_one_unless_the_model_needs_names() -> None:
    model = Echo()
    scored(model, *array([[1.0, 2.0]]), feature_names=["a", "b"])
    assert isinstance(model.got, np.ndarray)
    scored(model, *array([[1.0, 2.0]]), feature_names=["a", "b"], kind="columns")
    assert model.got.to_dict("list") == {"a": [1.0], "b": [2.0]}


def test_columns_come_in_the_models_order() -> None:
    model = Echo()
    given = columns(extra=[9.0], b=[2.0], a=[1.0])
    scored(model, *given, feature_names=["a", "b"], kind="columns")
    assert list(model.got.columns) == ["a", "b", "extra"]
    scored(model, *columns(b=[2.0, 4.0], a=[1, 3]), feature_names=["a", "b"])
    assert isinstance(model.got, np.ndarray)
    assert model.got.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_columns_keep_their_types() -> None:
    model = Echo()
    given = columns(
        n=[1, 2],
        t=np.array(["2026-01-01", "2026-01-02"], "datetime64[us]"),
        s=np.array(["p", None], object),
        b=[True, False],
    )
    scored(model, *given, kind="columns")
    assert [dtype.kind for dtype in model.got.dtypes][:2] == ["i", "M"]
    assert model.got["b"].dtype == bool
    assert model.got["s"].isna().tolist() == [False, True]


def test_a_list_is_passed_as_it_is() -> None:
    model = Echo(np.zeros(2))
    scored(model, {"kind": "list", "values": ["x", "y"]}, kind="list", item="text")
    assert model.got == ["x", "y"]
    scored(model, {"kind": "list", "values": ["x", "y"]}, kind="list", item="label")
    assert model.got.tolist() == ["x", "y"]
    assert isinstance(model.got, np.ndarray)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (np.array([1, 2]), [1, 2]),
        (np.array(["p", "q"]), ["p", "q"]),
        (np.float32(1.5), 1.5),
        (3, 3),
        ("word", "word"),
        ([1, 2.5], [1.0, 2.5]),
        (["p", "q"], ["p", "q"]),
        (pd.Series([1, 2]), [1, 2]),
        (pd.Series(["p", None]), ["p", float("nan")]),
        (sparse.csr_matrix([[0, 1.0]]), [[0.0, 1.0]]),
        (sparse.coo_array(np.array([[0, 1.0]])), [[0.0, 1.0]]),
        (pd.array([1, None], dtype="Int64"), [1.0, None]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_answers_that_are_one_array(answer: Any, expected: Any) -> None:
    header, got, _ = scored(Echo(answer), *array([[1.0]]))
    assert header["ok"], header
    assert header["exec_ns"] > 0
    assert repr(got.tolist()).replace("None", "nan") == repr(expected).replace("None", "nan")


def test_answers_of_several_arrays() -> None:
    _, got, _ = scored(Echo([np.array([[0.2, 0.8]]), np.array([[1.0, 0.0]])]), *array([[1.0]]))
    assert [part.tolist() for part in got] == [[[0.2, 0.8]], [[1.0, 0.0]]]
    _, got, _ = scored(Echo((np.array([0.5]), sparse.csr_matrix([[1]]))), *array([[1.0]]))
    assert isinstance(got, tuple)
    assert [part.tolist() for part in got] == [[0.5], [[1]]]
    ragged = np.empty(2, object)
    ragged[:] = [np.array([1, 2]), np.array([3])]
    _, got, _ = scored(Echo(ragged), *array([[1.0]]))
    assert [part.tolist() for part in got] == [[1, 2], [3]]


def test_a_frame_keeps_its_names() -> None:
    _, got, _ = scored(Echo(pd.DataFrame({"p": [1, 2], "q": ["x", "y"]})), *array([[1.0]]))
    assert got.names == ["p", "q"]
    assert got.array.tolist() == [[1, "x"], [2, "y"]]


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (ValueError("X has 3 features"), "input", "X has 3 features"),
        (TypeError("not a number"), "input", "not a number"),
        (KeyError("k"), "model", "'k'"),
        (np.linalg.LinAlgError("singular"), "model", "singular"),
        (RecursionError("deep"), "model", "deep"),
        (KeyboardInterrupt(), "model", ""),
        ({1: 2}, "model", "the model answered with a dict, not with an array"),
        (sparse.csr_matrix((1000, 1000)), "input", "1000 rows and 1000 columns"),
        (ValueError("x" * 5000), "input", "…"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors(answer: Any, kind: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    header, _, fatal = scored(Echo(answer), *array([[1.0]]))
    assert header["error"]["kind"] == kind
    assert message in header["error"]["message"]
    assert len(header["error"]["message"]) <= 1000
    assert not fatal


def test_a_model_that_is_not_fitted_is_not_the_callers_fault(capsys: pytest.CaptureFixture[str]) -> None:
    from sklearn.svm import SVC

    header, _, _ = scored(SVC(), *array([[1.0]]))
    assert header["error"]["kind"] == "model"


def test_out_of_memory_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    header, _, fatal = scored(Echo(MemoryError()), *array([[1.0]]))
    assert header["error"]["kind"] == "memory"
    assert fatal


def test_a_repeated_error_is_one_line_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    scorer = Scorer(Echo(ValueError("bad row")), {"methods": ["predict"], "kind": "array"}, wire.arrays_from, wire.Body)
    given, body = array([[1.0]])
    for _ in range(3):
        scorer.answer({"id": 1, "method": "predict", "input": given}, body.arrays[0].tobytes())
    log = capsys.readouterr().err
    assert log.count("Traceback") == 1
    assert log.count("ValueError: bad row") == 3


def test_warnings_are_shown_once_under_one_filter(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        quiet_warnings()
        assert len(warnings.filters) == 1
        for _ in range(3):
            with warnings.catch_warnings():
                warnings.warn("look out", UserWarning, stacklevel=1)
                warnings.warn("X does not have valid feature names, but SVC was fitted", UserWarning, stacklevel=1)
    assert capsys.readouterr().err.count("UserWarning: ") == 1


def test_an_error_that_cannot_be_written_does_not_end_the_process() -> None:
    class Mute(ValueError):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    answer, _, fatal = scored(Echo(Mute()), *array([[1.0]]))
    assert (answer["error"]["kind"], answer["error"]["type"], fatal) == ("input", "Mute", False)


class Greedy:
    """Writes into the rows it gets, as a transformer with `copy=False` does."""

    def transform(self, X: Any) -> Any:
        X *= 2
        return X

    def predict(self, X: Any) -> Any:
        return X.sum(axis=1)

    def kneighbors(self, X: Any) -> Any:
        return X + 1, np.arange(len(X))


@pytest.mark.parametrize("named", [False, True])
def test_several_methods_are_a_tuple_each_of_rows_of_its_own(named: bool) -> None:
    kind = {"kind": "columns", "feature_names": ["a", "b"]} if named else {}
    description = {"methods": ["transform", "predict", "kneighbors"], **kind}
    scorer = Scorer(Greedy(), {"kind": "array", **description}, wire.arrays_from, wire.Body)
    given, body = columns(a=[1.0, 3.0], b=[2.0, 4.0]) if named else array([[1.0, 2.0], [3.0, 4.0]])

    def asked(method: str) -> Any:
        header = {"id": 1, "method": method, "input": given}
        ((request, data),) = wire.FrameReader().feed(b"".join(wire.encode_frame(header, body.arrays)))
        answer, arrays, _ = scorer.answer(request, data)
        ((answer, data),) = wire.FrameReader().feed(b"".join(wire.encode_frame(answer, arrays)))
        return wire.arrays_from(answer["output"], data) if answer["ok"] else answer["error"]["kind"]

    doubled, sums, (near, places) = asked("transform,predict,kneighbors")
    assert np.asarray(getattr(doubled, "array", doubled)).tolist() == [[2, 4], [6, 8]]
    assert sums.tolist() == [3, 7]
    assert np.asarray(getattr(near, "array", near)).tolist() == [[2, 3], [4, 5]]
    assert places.tolist() == [0, 1]
    assert asked("transform,fit") == asked("transform,") == "method"
