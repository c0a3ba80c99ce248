"""Files that commands read: what is wrong with one is a sentence, and a log that grows is followed."""

import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gateway.cli.logs import _growth, find_log
from gateway.client.table_files import (
    TEXT,
    Answers,
    Rows,
    check_output,
    column_types,
    in_parts,
    read_rows,
    write_answers,
)
from gateway.protocols.mlflow import csv_request
from gateway.rundir.version_log import VersionLog
from gateway.schema.samples import read_sample
from gateway.schema.schema import ANY
from registry.artifacts.sample import read_sample as bytes_of
from registry.errors import InvalidArgument, MissingExtra
from registry.sdk.model import Model
from registry.sdk.workspace import Workspace
from tests.e2e.models import iris_svc


@pytest.mark.parametrize(("name", "content"), [("rows.csv", b""), ("rows.json", b"\xff\xfe\x00"), ("rows.npy", b"x")])
def test_a_file_that_holds_something_else_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InvalidArgument, match=rf"{name} cannot be read as {file.suffix}: "):
        read_rows(str(file), sys.stdin, {})


def test_a_log_is_followed_over_the_place_where_another_file_begins(tmp_path: Path) -> None:
    log = VersionLog(tmp_path, "iris", 1, largest=100)
    log.write(b"a" * 90 + b"\n")
    pieces = _growth(log.path, 91, None)
    log.write(b"first line of the next file\n")
    assert next(pieces) == "first line of the next file\n"
    log.write(b"and the second\n")
    assert next(pieces) == "and the second\n"
    log.close()


@pytest.mark.parametrize("name", ["iris", "i" * 255])
def test_the_log_that_is_shown_is_the_one_that_is_written(tmp_path: Path, name: str) -> None:
    with Workspace.open(tmp_path / "ws") as workspace:
        Model.register(workspace, str(iris_svc(tmp_path)), name, show_output=False)
        log = VersionLog(workspace.logs_dir, name, 1)
        log.write(b"one line\n")
        log.close()
        path, _ = find_log(workspace, name)
        assert path.read_text() == "one line\n"


PARTS: list[tuple[Any, Any]] = [
    ([[1, 2], [3, 4], [5, 6]], [[3, 4]]),
    ({"columns": ["a", "b"], "data": [[1, 2], [3, 4], [5, 6]]}, {"columns": ["a", "b"], "data": [[3, 4]]}),
    ({"a": [1, 3, 5], "b": [2, 4, 6]}, {"a": [3], "b": [4]}),
    (np.array([[1, 2], [3, 4], [5, 6]]), [[3, 4]]),
    (pd.DataFrame({"a": [0.1, None, 0.3], "b": ["x", "y", "z"]}), {"columns": ["a", "b"], "data": [[None, "y"]]}),
    (["one", "two", "three"], ["two"]),
]


@pytest.mark.parametrize(("data", "second"), PARTS)
def test_a_part_of_any_form_has_the_rows_between(data: Any, second: Any) -> None:
    rows = Rows(data, {"method": "predict"})
    assert len(rows) == 3
    assert json.loads(rows.body(1, 2)) == {"data": second, "method": "predict"}


def test_numbers_of_a_csv_are_sent_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n0.12345678901234567\n")
    assert json.loads(read_rows(str(tmp_path / "rows.csv"), sys.stdin, {}).body(0, 1))["data"]["data"] == [
        [0.12345678901234567]
    ]


def test_answers_are_put_together_in_order_and_written(tmp_path: Path) -> None:
    answers = Answers()
    answers.add({"predict_proba": [[0.1, 0.9], [0.2, 0.8]]}, 2)
    answers.add({"predict_proba": [[0.3, 0.7]]}, 1)
    write_answers(answers, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "predict_proba_0,predict_proba_1\n0.1,0.9\n0.2,0.8\n0.3,0.7\n"
    write_answers(answers, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text().splitlines()[2] == '{"predict_proba_0":0.3,"predict_proba_1":0.7}'
    several = Answers()
    several.add({"kneighbors": [[[0.5], [0.6], [0.7]], [[1], [2], [3]]]}, 3)
    several.add({"kneighbors": [[[0.8]], [[4]]]}, 1)
    assert several.columns() == {"kneighbors_0_0": [0.5, 0.6, 0.7, 0.8], "kneighbors_1_0": [1, 2, 3, 4]}
    square = Answers()  # as many arrays as rows
    square.add({"kneighbors": [[[0.5], [0.6]], [[1], [2]]], "predict_proba": [[0.1, 0.9], [0.2, 0.8]]}, 2)
    assert square.columns() == {
        "kneighbors_0_0": [0.5, 0.6],
        "kneighbors_1_0": [1, 2],
        "predict_proba_0": [0.1, 0.2],
        "predict_proba_1": [0.9, 0.8],
    }


def test_parquet_in_and_out_or_the_extra_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers()
    answers.add({"predict": [1, 2]}, 2)
    file = tmp_path / "out.parquet"
    with monkeypatch.context() as patch:
        for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
            patch.setitem(sys.modules, name, None)
        patch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(MissingExtra, match=r"pip install pyarrow \(fitserve's extra 'parquet'"):
            write_answers(answers, file)
    write_answers(answers, file)
    assert json.loads(read_rows(str(file), sys.stdin, {}).body(0, 2))["data"] == {
        "columns": ["predict"],
        "data": [[1], [2]],
    }


def test_a_csv_is_read_by_the_types_of_the_columns(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("code,age,note\n007,1,\nNA,x,b\n,,c\n")
    types = column_types(document({"code": {"type": ["string", "null"]}, "age": {"type": "number"}}))
    sent = json.loads(read_rows(str(file), sys.stdin, types).body(0, 3))["data"]["data"]
    assert sent == [["007", 1.0, None], ["NA", "x", "b"], [None, None, "c"]]
    assert column_types({"swagger": "2.0"}) == column_types(document(None)) == {}


def document(properties: Any) -> dict[str, Any]:
    data = {"type": "array", "items": {"type": "object", "properties": properties}}
    return {"components": {"schemas": {"ServiceInput": {"properties": {"data": data}}}}}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("rows.csv", "a,b\n", "the CSV holds no rows but its header"),
        ("rows.txt", "a\n1\n", r"rows\.txt ends in none of \.json, "),
    ],
)
def test_what_holds_nothing_to_send_says_so(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidArgument, match=sentence):
        in_parts(lambda body, where: body, read_rows(str(tmp_path / name), sys.stdin, {}))


def test_a_part_that_is_refused_says_which_rows_it_holds() -> None:
    told: list[str] = []

    def post(body: bytes, where: str) -> bytes:
        told.append(where)
        return json.dumps({"predict": json.loads(body)["data"]}).encode()

    assert in_parts(post, Rows([[1], [2], [3]]), 2).body == {"predict": [[1], [2], [3]]}
    assert told == ["rows 0 to 1 of all (counted from 0): ", "rows 2 to 2 of all (counted from 0): "]


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    check_output(tmp_path / "answers.csv")
    for path in (tmp_path / "nowhere" / "answers.csv", tmp_path / "answers.xlsx"):
        with pytest.raises(InvalidArgument, match="output"):
            check_output(path)


CSV: list[tuple[bytes, object]] = [
    (b"5.1,3.5\n6.2,3.4\n5.1,3.5\n", [[5.1, 3.5], [6.2, 3.4], [5.1, 3.5]]),
    (b"\xef\xbb\xbf5.1,3.5\r\n6.2,3.4\r\n", [[5.1, 3.5], [6.2, 3.4]]),
    (b"5.1;3.5\n6.2;3.4\n", [[5.1, 3.5], [6.2, 3.4]]),
    (b"5,1;3,5\n6,2;3,4\n", [[5.1, 3.5], [6.2, 3.4]]),
    (b"5.1\t3.5\n6.2\t3.4\n", [[5.1, 3.5], [6.2, 3.4]]),
    (b"a;b\n1;2,5\n", {"columns": ["a", "b"], "data": [[1, 2.5]]}),
    (b"a,b\n1,x;y\n2,u;v\n", {"columns": ["a", "b"], "data": [[1, "x;y"], [2, "u;v"]]}),
    (b"1,x;y\n2,u;v\n", [[1, "x;y"], [2, "u;v"]]),  # each line has one semicolon as well
    (b'text,n\n"one; two\nthree, four",2\n', {"columns": ["text", "n"], "data": [["one; two\nthree, four", 2]]}),
    (b"0,1\n5.1,3.5\n", {"columns": ["0", "1"], "data": [[5.1, 3.5]]}),
    (b"\n5.1,3.5\n\n6.2,3.4\n\n", [[5.1, 3.5], [6.2, 3.4]]),
    (b"5.1,\n,3.4\n", [[5.1, None], [None, 3.4]]),
    (b"good film\nbad film\n", [["good film"], ["bad film"]]),  # texts without a header
    (b"text\ngood film\n", {"columns": ["text"], "data": [["good film"]]}),
    (b"red\nblue\nred\n", [["red"], ["blue"], ["red"]]),
    (b'1\n""\n3\n', [[1], [None], [3]]),
]


@pytest.mark.parametrize(("content", "data"), CSV)
def test_a_csv_keeps_each_row_on_every_way(content: bytes, data: Any, tmp_path: Path) -> None:
    """From a file, on standard input, as a sample and over HTTP: one reader, one rule."""
    file = tmp_path / "rows.csv"
    file.write_bytes(content)
    rows = read_rows(str(file), sys.stdin, {})
    assert json.loads(rows.body(0, len(rows)))["data"] == data
    piped = read_rows("-", io.StringIO(content.decode(), newline=""), {})
    assert json.loads(piped.body(0, len(piped)))["data"] == data
    count = len(data["data"] if isinstance(data, dict) else data)
    assert len(read_sample(content, "rows.csv").rows) == len(rows) == count
    assert csv_request(ANY, "predict", content, None).n_rows == count


def test_a_tsv_is_separated_by_tabs_whatever_else_is_in_it(tmp_path: Path) -> None:
    content = b"1\ta,b\n2\tc,d\n"
    (tmp_path / "rows.tsv").write_bytes(content)
    rows = read_rows(str(tmp_path / "rows.tsv"), sys.stdin, {})
    assert json.loads(rows.body(0, 2))["data"] == [[1, "a,b"], [2, "c,d"]]
    assert read_sample(content, "rows.tsv").rows == [[1, "a,b"], [2, "c,d"]]
    assert bytes_of("sample", tmp_path / "rows.tsv") == (content, "rows.tsv")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"1\n\n3\n", "line 2 of the CSV is empty"),  # a missing value, or none: not for us to guess
        (b"1,2\n3\n", "line 2 of the CSV has 1 fields, line 1 has 2"),
        (b'1,"2\n3,4\n', "not CSV"),
        (b"\xff\xfe1\x002\x00", "not UTF-8"),
    ],
)
def test_a_csv_that_could_lose_a_row_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(InvalidArgument, match=sentence):
        read_rows(str(tmp_path / "rows.csv"), sys.stdin, {})


def test_what_the_model_takes_tells_the_delimiter_and_the_header(tmp_path: Path) -> None:
    def sent(content: str, types: dict[str, str], header: bool | None = None) -> Any:
        (tmp_path / "rows.csv").write_text(content)
        rows = read_rows(str(tmp_path / "rows.csv"), sys.stdin, types, header)
        return json.loads(rows.body(0, len(rows)))["data"]

    numbers = {"2019": "number", "2020": "number"}
    assert sent("2019,2020\n1,2\n", numbers) == {"columns": ["2019", "2020"], "data": [[1, 2]]}
    assert sent("1,5;2\n3,5;4\n", numbers) == [[1.5, 2], [3.5, 4]]
    texts = {TEXT: "string"}
    assert sent("one;two\nthree;four\n", texts) == [["one;two"], ["three;four"]]
    assert sent("12\nNA\n", texts) == [["12"], ["NA"]]
    assert sent("red\nblue\n", texts) == {"columns": ["red"], "data": [["blue"]]}
    assert sent("red\nblue\n", texts, header=False) == [["red"], ["blue"]]
    assert sent("1\n2\n", {}, header=True) == {"columns": ["1"], "data": [[2]]}
    assert sent("price;n\n12,50;1\n", {"price": "string", "n": "number"})["data"] == [["12,50", 1]]
    assert (
        column_types(
            {"components": {"schemas": {"ServiceInput": {"properties": {"data": {"items": {"type": "string"}}}}}}}
        )
        == texts
    )


def test_a_guess_about_the_first_line_is_told(tmp_path: Path) -> None:
    def note(content: str) -> str:
        (tmp_path / "rows.csv").write_text(content)
        return read_rows(str(tmp_path / "rows.csv"), sys.stdin, {}).note

    assert note("red\nblue\n") == "the first line is taken as the header: red"
    assert note("good film\nbad film\n") == "the first line is taken as a row: good film"
    assert note("a,b\n1,x\n") == note("1,x\n2,y\n") == ""


@pytest.mark.parametrize(
    "data", [np.array([[np.inf, np.nan], [-np.inf, 1]]), [[float("inf"), None], [float("-inf"), 1]]]
)
def test_infinity_is_not_sent_as_a_missing_value(data: Any) -> None:
    ((first, second), (third, fourth)) = json.loads(Rows(data).body(0, 2))["data"]
    assert (first, third, fourth) == (float("inf"), float("-inf"), 1)
    assert second is None or math.isnan(second)


def test_another_number_of_answers_than_rows_is_an_error() -> None:
    def post(body: bytes, where: str) -> bytes:
        return json.dumps({"predict": json.loads(body)["data"][1:]}).encode()

    with pytest.raises(InvalidArgument, match="3 rows were sent and predict has 2 answers"):
        in_parts(post, Rows([[1], [2], [3]]))
    answers = Answers()
    answers.add({"predict": [1, 2, 3], "classes": ["a"]}, 3)
    answers.check(3)
    with pytest.raises(InvalidArgument, match="4 rows were sent"):
        answers.check(4)
