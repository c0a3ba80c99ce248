import io
import json
import math
import sys
from typing import Any

import numpy as np
import pandas
import pytest

from gateway.errors import SchemaMismatch
from gateway.schema.columns import column_array
from gateway.schema.infer import schema_for
from gateway.schema.samples import BadSample, read_sample
from gateway.schema.schema import ModelSchema
from registry.errors import MissingExtra
from tests.gateway.protocols.wire import NAMED, PLAIN, TEXT

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3]]


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def schema(description: dict[str, Any], sample: bytes | None = None, name: str | None = None) -> ModelSchema:
    """As it comes out of the routing table."""
    return ModelSchema.from_json(json.loads(json.dumps(schema_for(description, sample, name))))


def test_a_plain_models_schema_is_small() -> None:
    assert schema_for({"kind": "array", "n_features": 4, "allows_nan": False}) == {
        "kind": "array",
        "width": 4,
        "allows_nan": False,
        "example": [[0.0, 0.0, 0.0, 0.0]],
    }


@pytest.mark.parametrize("description", [PLAIN, NAMED, TEXT, {}, {"kind": "list", "item": "label", "classes": ["a"]}])
def test_a_schema_survives_json(description: dict[str, Any]) -> None:
    first = schema(description)
    assert ModelSchema.from_json(json.loads(json.dumps(first.to_json()))) == first


def test_the_model_tells_names_types_and_categories() -> None:
    found = schema(NAMED)
    assert found.names == ("age", "income", "town", "member")
    assert [column.type for column in found.columns] == ["number", "number", "string", "boolean"]
    assert found.columns[2].categories == ("Bern", "Rome")
    assert found.example == ({"age": 0.0, "income": 0.0, "town": "Bern", "member": False},)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.csv", b"a,b,c,d\n5.1,3.5,1.4,0.2\n6.2,2.9,4.3,1.3\n"),
        ("s.csv", b"5.1,3.5,1.4,0.2\n6.2,2.9,4.3,1.3\n"),
        ("s.CSV", b"\xef\xbb\xbfa,b,c,d\r\n5.1,3.5,1.4,0.2\r\n6.2,2.9,4.3,1.3"),
        ("s.json", json.dumps(ROWS).encode()),
        ("s.json", json.dumps({"data": ROWS}).encode()),
        ("s.json", json.dumps({"data": ROWS, "method": "predict"}).encode()),
        ("s.json", json.dumps({"columns": ["a", "b", "c", "d"], "data": ROWS}).encode()),
        ("s.json", json.dumps([dict(zip("abcd", row, strict=True)) for row in ROWS]).encode()),
        ("s.json", json.dumps(dict(zip("abcd", map(list, zip(*ROWS, strict=True)), strict=True))).encode()),
        ("s.jsonl", b"\n".join(json.dumps(row).encode() for row in ROWS)),
        ("s.npy", npy(np.array(ROWS))),
    ],
)
def test_a_sample_of_any_format_gives_the_example(name: str, content: bytes) -> None:
    found = schema(PLAIN, content, name)
    assert list(found.example) == ROWS
    assert found.width == 4
    assert found.numeric
    assert found.sample is not None
    assert found.sample["format"] == "numpy.ndarray"
    assert found.sample["items"] == {"type": "array", "items": {"type": "number", "format": "double"}}


def test_a_sample_gives_names_to_a_model_that_was_fitted_without() -> None:
    assert schema(PLAIN, b"a,b,c,d\n1,2,3,4\n", "s.csv").names == ("a", "b", "c", "d")


def test_a_sample_of_narrow_floats_sets_the_dtype() -> None:
    found = schema(PLAIN, npy(np.array(ROWS, np.float32)), "s.npy")
    assert found.rows.alone([[0.1, 1, 2, 3]]).dtype == np.float32
    assert schema(PLAIN, npy(np.array([[1, 2, 3, 4]])), "s.npy").rows.alone([[1, 2, 3, 4.5]]).tolist() == [
        [1, 2, 3, 4.5]
    ]


def test_a_samples_columns_are_put_into_the_models_order_and_types_filled_in() -> None:
    description = {"kind": "columns", "feature_names": ["x", "when", "ok"], "column_types": {"when": "datetime"}}
    content = b"ok,x,when\ntrue,1,2026-01-01\nfalse,,2026-01-02\n"
    found = schema(description, content, "s.csv")
    assert [(column.name, column.type) for column in found.columns] == [
        ("x", "number"),
        ("when", "datetime"),
        ("ok", "boolean"),
    ]
    assert found.example == (
        {"x": 1, "when": "2026-01-01", "ok": True},
        {"x": None, "when": "2026-01-02", "ok": False},
    )
    assert found.sample is not None
    assert found.sample["format"] == "pandas.DataFrame:records"
    assert found.sample["items"]["properties"] == {
        "x": {"type": "number", "format": "double"},
        "when": {"type": "string", "format": "date-time"},
        "ok": {"type": "boolean"},
    }


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("s.csv", b"1,2,3\n", "it has 3 columns, and the model takes 4"),
        ("s.csv", b"1,2,3,4\n1,2\n", "line 2 of the CSV has 2 fields, line 1 has 4"),
        ("s.csv", b"", "the CSV holds no lines"),
        ("s.csv", b"a,b,c,d\n", "holds no rows"),
        ("s.csv", b"\xff\xfe\x00", "the CSV is not UTF-8"),
        ("s.json", b"{", "Expecting property name"),
        ("s.json", b"[" * 100_000, "recursion"),
        ("s.json", b"3", "it must hold rows"),
        ("s.json", b"[]", "it must hold rows"),
        ("s.json", b"[[1,2,3,4],[1]]", "its rows are not all of one length"),
        ("s.json", b"[1,2,3]", "it holds single values, and the model takes rows"),
        ("s.npy", npy(np.array([[object()]], object)), "Object arrays cannot be loaded"),
        ("s.npy", npy(np.zeros((2, 2, 4))), "it must have 2 dimensions"),
        ("s.npy", b"nothing", "pickle"),
        ("s.xlsx", b"", "its name must end in one of .csv, .tsv, .json, .jsonl, .parquet, .npy"),
    ],
)
def test_a_bad_sample_is_refused_with_the_reason(name: str, content: bytes, problem: str) -> None:
    with pytest.raises(BadSample) as caught:
        schema_for(PLAIN, content, name)
    assert str(caught.value).startswith(f"the sample {name} cannot be used: ")
    assert problem in str(caught.value)


def test_a_sample_with_other_names_is_refused() -> None:
    with pytest.raises(BadSample, match="its columns are 'age', 'x', 'town', 'member', and the model takes 'age'"):
        schema_for(NAMED, b"age,x,town,member\n1,2,Bern,true\n", "s.csv")


def test_parquet_needs_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match="pyarrow"):
        schema_for(PLAIN, b"PAR1", "s.parquet")


def parquet(frame: pandas.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


def test_a_parquet_sample_gives_names_types_and_an_example() -> None:
    with pytest.raises(BadSample, match=r"s\.parquet cannot be used"):
        schema_for(PLAIN, b"PAR1", "s.parquet")
    frame = pandas.DataFrame({"age": [31.5, None], "town": ["Bern", None], "member": [True, False], "n": [1, 2]})
    found = schema({"kind": "columns", "feature_names": ["n", "age", "town", "member"]}, parquet(frame), "s.parquet")
    assert [column.name for column in found.columns] == ["n", "age", "town", "member"]
    assert [column.type for column in found.columns] == ["number", "number", "string", "boolean"]
    assert found.example[0] == {"n": 1, "age": 31.5, "town": "Bern", "member": True}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_have_the_unit_of_a_parquet_sample(unit: str) -> None:
    times = np.array(["2026-01-31T22:15:01", "NaT"], f"datetime64[{unit}]")
    sample = parquet(pandas.DataFrame({"at": times}))
    found = schema({"kind": "columns", "feature_names": ["at"], "time_dtype": "<M8[s]"}, sample, "s.parquet")
    assert found.columns[0].dtype == f"<M8[{unit}]"  # Parquet has no seconds, but says what it was
    array = column_array(found.columns[0], ["2026-01-31T23:15:01.123456789+01:00", None], str)
    expected = np.array(["2026-01-31T22:15:01.123456789", "NaT"], f"datetime64[{unit}]")
    assert array.dtype == expected.dtype
    assert array.astype(str).tolist() == expected.astype(str).tolist()


def test_times_of_an_unknown_unit_have_that_of_the_models_pandas() -> None:
    named = {"kind": "columns", "feature_names": ["at"], "time_dtype": "<M8[ns]"}
    assert schema(named, b"at\n2026-01-01\n", "s.csv").columns[0].dtype == "<M8[ns]"
    told = schema({**named, "column_types": {"at": "datetime"}}).columns[0]
    assert told.dtype == "<M8[ns]"
    with pytest.raises(SchemaMismatch, match="from the year 1678 to 2261"):
        column_array(told, ["1066-10-14"], str)


def test_a_sample_of_text_and_of_records() -> None:
    assert schema(TEXT, b'["buy", "sell"]', "s.json").example == ("buy", "sell")
    assert schema(TEXT, b"text\nbuy\nsell now\n", "s.csv").example == ("buy", "sell now")
    records = schema({"kind": "list", "item": "record"}, b'[{"a": 1}, {"b": "x"}]', "s.json")
    assert records.example == ({"a": 1}, {"b": "x"})
    assert schema({"kind": "list"}, b'["buy"]', "s.json").item == "text"
    with pytest.raises(BadSample, match="the model takes a list of texts"):
        schema_for(TEXT, b"[1, 2]", "s.json")


def test_no_sample_makes_an_example_that_the_schema_itself_takes() -> None:
    from gateway.protocols.tables import table_request

    for description in (PLAIN, NAMED, TEXT):
        found = schema(description)
        assert table_request(found, "predict", list(found.example)).n_rows == 1


def test_a_wide_model_has_no_made_up_example() -> None:
    assert schema({"kind": "array", "n_features": 10_000}).example == ()


def test_samples_are_typed_from_more_rows_than_are_shown() -> None:
    rows = "\n".join(f"{i},{'x' if i == 900 else i}" for i in range(1000))
    sample = read_sample(f"a,b\n{rows}\n".encode(), "s.csv")
    found = schema({"kind": "columns", "feature_names": ["a", "b"]}, f"a,b\n{rows}\n".encode(), "s.csv")
    assert len(sample.rows) == 1000
    assert len(found.example) == 5
    assert [column.type for column in found.columns] == ["number", "string"]


def test_a_missing_value_in_a_sample_is_null() -> None:
    found = schema(PLAIN | {"allows_nan": True}, b"1,2,3,\n1,2,3,nan\n", "s.csv")
    assert found.example == ([1, 2, 3, None], [1, 2, 3, None])
    assert math.isnan(found.rows.alone([[1, 2, 3, None]])[0, 3])


def test_text_that_is_a_time_in_every_row_is_a_time_unless_the_model_says_otherwise() -> None:
    content = b"when,day\n2026-01-01T10:00:00,2026-01-01\n,2026-01-02\n"
    found = schema(
        {"kind": "columns", "feature_names": ["when", "day"], "column_types": {"day": "string"}}, content, "s.csv"
    )
    assert [column.type for column in found.columns] == ["datetime", "string"]
