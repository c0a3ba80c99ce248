"""A version's log is appended to, bounded, and never in the model's way."""

import os
from pathlib import Path

from gateway.rundir.version_log import VersionLog


def test_what_was_printed_is_read_back_also_by_the_next_gateway(tmp_path: Path) -> None:
    log = VersionLog(tmp_path / "logs", "iris", 1)
    log.write(b"one\ntwo\n")
    log.close()
    again = VersionLog(tmp_path / "logs", "iris", 1)
    again.write(b"three \xff\n")
    again.close()
    assert again.path.name == "iris-1.log"
    assert again.path.stat().st_mode & 0o777 == 0o600
    assert again.tail() == ["one", "two", "three \ufffd"]
    assert again.tail(1) == ["three \ufffd"]


def test_a_log_never_grows_beyond_twice_its_bound(tmp_path: Path) -> None:
    log = VersionLog(tmp_path, "iris", 1, largest=1000)
    for number in range(500):
        log.write(f"line {number:04}\n".encode())
    log.close()
    assert log.tail(1) == ["line 0499"]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2000
    assert sorted(file.name for file in tmp_path.iterdir()) == ["iris-1.log", "iris-1.log.1"]


def test_the_longest_names_have_logs_of_their_own(tmp_path: Path) -> None:
    logs = [VersionLog(tmp_path, "m" * 254 + last, version, largest=10) for last in "ab" for version in (1, 2)]
    for number, log in enumerate(logs):
        log.write(b"put aside\n")
        log.write(f"line {number}\n".encode())
        log.close()
    assert [log.tail() for log in logs] == [[f"line {number}"] for number in range(4)]


def test_a_log_that_cannot_be_written_is_nobodys_trouble(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    log = VersionLog(tmp_path / "logs", "iris", 1)
    log.write(b"lost\n")
    assert log.tail() == []


def test_a_note_of_the_gateway_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    def is_open(log: VersionLog) -> bool:
        return any(
            os.path.realpath(f"/proc/self/fd/{number}") == str(log.path) for number in os.listdir("/proc/self/fd")
        )

    log = VersionLog(tmp_path, "quiet", 1)
    log.note("loaded")
    assert not is_open(log)
    log.write(b"said\n")
    log.note("loaded again")
    assert is_open(log)
    assert log.tail() == ["loaded", "said", "loaded again"]
    log.close()
