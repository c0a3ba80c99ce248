"""inference-schema's defects, each as a script's decorator would meet it."""

import datetime
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from inference_schema.parameter_types import numpy_parameter_type, pandas_parameter_type, standard_py_parameter_type
from inference_schema.schema_decorators import input_schema

from gateway.worker.entry_script import _finite
from gateway.worker.inference_schema_fixes import mend, parameter_of

Numpy = numpy_parameter_type.NumpyParameterType
Pandas = pandas_parameter_type.PandasParameterType
Standard = standard_py_parameter_type.StandardPythonParameterType
FRAME = pd.DataFrame({"age": [1, 2], "town": ["a", "b"]})


@pytest.fixture(autouse=True)
def mended() -> Iterator[None]:
    kept = [
        (cls, name, vars(cls)[name])
        for cls in (Numpy, Pandas, Standard)
        for name in ("deserialize_input", "input_to_swagger")
    ]
    mend()
    mend()  # once is enough
    yield
    for cls, name, value in kept:
        setattr(cls, name, value)
        if "_mended_here" in vars(cls):
            del cls._mended_here


def test_a_date_is_read() -> None:
    dates = Standard(datetime.date(2020, 1, 1))
    assert dates.deserialize_input("2024-05-06") == datetime.date(2024, 5, 6)
    with pytest.raises(ValueError, match="does not match format"):
        dates.deserialize_input("6 May")
    assert Standard(1.5).deserialize_input(2) == 2


def test_fractions_are_not_cut_off_where_the_sample_holds_integers() -> None:
    assert Numpy(np.array([[1, 2]])).deserialize_input([[1.0, 3]]).tolist() == [[1, 3]]
    with pytest.raises(ValueError, match=r"1\.5 is none"):
        Numpy(np.array([[1, 2]])).deserialize_input([[1.5, 2]])
    assert Numpy(np.array([[1.0, 2]])).deserialize_input([[1.5, 2]]).tolist() == [[1.5, 2]]
    with pytest.raises(ValueError, match=r"column 'age': .* 1\.5 is none"):
        Pandas(FRAME).deserialize_input([{"age": 1.5, "town": "x"}])


def test_nanoseconds_and_booleans_are_documented() -> None:
    document = Numpy(np.array(["2026-01-02"], "datetime64[ns]")).input_to_swagger()
    assert document["items"]["type"] == "string"
    assert Numpy(np.array([True, False])).input_to_swagger()["example"] == [True, False]


@pytest.mark.parametrize(
    ("orient", "given"),
    [
        ("records", [{"town": "x", "age": 3}]),
        ("split", {"columns": ["town", "age"], "data": [["x", 3]]}),
        ("columns", {"town": {"0": "x"}, "age": {"0": 3}}),
        ("index", {"0": {"town": "x", "age": 3}}),
    ],
)
def test_columns_are_taken_by_name(orient: str, given: Any) -> None:
    frame = Pandas(FRAME, orient=orient).deserialize_input(given)
    assert (list(frame.columns), frame.values.tolist()) == (["age", "town"], [[3, "x"]])


def test_missing_and_unknown_columns_are_named() -> None:
    with pytest.raises(ValueError, match="missing column 'town'; unknown column 'city'; it takes 'age', 'town'"):
        Pandas(FRAME).deserialize_input([{"city": "x", "age": 3}])
    with pytest.raises(ValueError, match="missing column 'town'"):
        Pandas(FRAME).deserialize_input([{"age": 3}])
    assert Pandas(FRAME, orient="values").deserialize_input([[3, "x"]]).shape == (1, 2)
    loose = Pandas(FRAME, enforce_shape=False, enforce_column_type=False)
    assert list(loose.deserialize_input([{"age": 3, "more": 1}]).columns) == ["age", "more"]


def test_the_parameter_that_was_refused_is_known() -> None:
    @input_schema("data", Numpy(np.array([1.0])))  # type: ignore[untyped-decorator]
    @input_schema("how", Standard("x"))  # type: ignore[untyped-decorator]
    def run(data: Any, how: Any) -> Any:
        raise KeyError(how)

    with pytest.raises(ValueError, match="Expected") as wrong:
        run(data=[1.0], how=3)
    assert parameter_of(wrong.value) == "how"
    with pytest.raises(KeyError) as own:
        run(data=[1.0], how="y")
    assert parameter_of(own.value) is None


def test_numpys_values_are_json() -> None:
    given = {"a": np.arange(2), "b": np.float32(1.5), np.int64(3): (np.bool_(True), np.array([[np.nan]]))}
    assert _finite(given) == {"a": [0, 1], "b": 1.5, 3: [True, [[None]]]}
    assert _finite(np.array(["2026-01-02"], "datetime64[D]")) == ["2026-01-02"]
