"""Events between a script and its launcher."""

from pathlib import Path

from trainer.shim.azureml._fitserve.wire import EventReader, EventWriter, collapse, find_file, is_plain_name, list_files


def test_a_reader_gives_each_complete_line_once(tmp_path: Path) -> None:
    reader, writer = EventReader(str(tmp_path / "events.jsonl")), EventWriter(str(tmp_path))
    assert reader.read() == []
    writer.write({"type": "a"})
    assert [(number, event["type"]) for number, event in reader.read()] == [(0, "a")]
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"type": "ha')
        file.flush()
        assert reader.read() == []
        file.write(b'lf"}\n\xff\n[]\n')
    writer.write({"type": "b"})
    assert [(number, event["type"]) for number, event in reader.read()] == [(1, "half"), (4, "b")]
    assert [number for number, _ in EventReader(str(tmp_path / "events.jsonl")).read()] == [0, 1, 4]


def test_the_last_kind_of_a_name_counts() -> None:
    assert collapse([("x", "scalar", 1), ("x", "row", {"a": 1})]) == {"x": {"a": 1}}
    assert collapse([("x", "row", {"a": 1}), ("x", "scalar", 1)]) == {"x": 1}
    assert collapse([("x", "scalar", 1), ("x", "list", [2, 3])]) == {"x": [1, 2, 3]}
    assert collapse([("x", "list", []), ("x", "scalar", 1)]) == {"x": [1]}
    assert collapse([("x", "table", {"a": []})]) == {"x": {}}
    assert collapse([]) == {}


def test_names_that_lead_out_are_no_names(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "files" / "link").symlink_to("/etc/hostname")
    (tmp_path / "files" / "ok").write_text("x")
    for name in ("../secret", "./ok", "a/../ok", "/etc/hostname", "", "ok\0", "..", "a\\b"):
        assert not is_plain_name(name)
        assert find_file(str(tmp_path), name) is None
    assert find_file(str(tmp_path), "link") is None
    assert list_files(str(tmp_path)) == ["ok"]
