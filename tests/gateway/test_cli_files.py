"""Files that commands read: what is wrong with one is a sentence, and a log that grows is followed."""

from pathlib import Path

import pytest

from gateway.cli.logs import _growth
from gateway.cli.score import read_data
from gateway.version_log import VersionLog
from registry.errors import InvalidArgument


@pytest.mark.parametrize(
    ("name", "content"), [("rows.csv", b""), ("rows.json", b"\xff\xfe\x00"), ("rows.npy", b"x"), ("rows.parquet", b"x")]
)
def test_a_file_that_holds_something_else_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InvalidArgument, match=rf"{name} cannot be read as {file.suffix}: "):
        read_data(str(file))


def test_a_log_is_followed_over_the_place_where_another_file_begins(tmp_path: Path) -> None:
    log = VersionLog(tmp_path, "iris", 1, largest=100)
    log.write(b"a" * 90 + b"\n")
    pieces = _growth(log.path, 91, None)
    log.write(b"first line of the next file\n")
    assert next(pieces) == "first line of the next file\n"
    log.write(b"and the second\n")
    assert next(pieces) == "and the second\n"
    log.close()
