"""Files that commands read: what is wrong with one is a sentence, and a log that grows is followed."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gateway.cli.logs import _growth, find_log
from gateway.client.table_files import Answers, Rows, check_output, column_types, in_parts, read_rows, write_answers
from gateway.rundir.version_log import VersionLog
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


@pytest.mark.parametrize(
    ("content", "data"),
    [
        (b"5.1,3.5\n6.2,3.4\n", [[5.1, 3.5], [6.2, 3.4]]),
        (b"\xef\xbb\xbf5.1,3.5\r\n6.2,3.4\r\n", [[5.1, 3.5], [6.2, 3.4]]),
        (b"5.1;3.5\n6.2;3.4\n", [[5.1, 3.5], [6.2, 3.4]]),
        (b"5,1;3,5\n6,2;3,4\n", [[5.1, 3.5], [6.2, 3.4]]),
        (b"5.1\t3.5\n6.2\t3.4\n", [[5.1, 3.5], [6.2, 3.4]]),
        (b"a;b\n1;2\n", {"columns": ["a", "b"], "data": [[1, 2]]}),
        (b'text,n\n"one; two\nthree, four",2\n', {"columns": ["text", "n"], "data": [["one; two\nthree, four", 2]]}),
        (b"0,1\n5.1,3.5\n", {"columns": ["0", "1"], "data": [[5.1, 3.5]]}),
    ],
)
def test_a_csv_keeps_each_row_with_a_header_or_without(content: bytes, data: object, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(content)
    rows = read_rows(str(file), sys.stdin, {})
    assert json.loads(rows.body(0, len(rows)))["data"] == data
    piped = read_rows("-", io.StringIO(content.decode(), newline=""), {})
    assert len(piped) == len(rows)


def test_fewer_answers_than_rows_are_not_written(tmp_path: Path) -> None:
    answers = Answers()
    answers.add({"predict": [1, 2]}, 3)
    with pytest.raises(InvalidArgument, match="3 rows were sent"):
        write_answers(answers, tmp_path / "out.csv", 3)
