"""Logs within bounds."""

from pathlib import Path

from trainer.log import BoundedLog, Follower, last_lines


def test_a_log_below_its_limit_is_kept_byte_by_byte(tmp_path: Path) -> None:
    with BoundedLog(tmp_path / "log", limit=10) as log:
        log.write(b"12345")
        log.write(b"67890")
    assert (tmp_path / "log").read_bytes() == b"1234567890"


def test_a_log_above_its_limit_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    with BoundedLog(tmp_path / "log", limit=1000) as log:
        for number in range(100_000):
            log.write(b"line %06d\n" % number)
    text = (tmp_path / "log").read_text()
    assert len(text) < 1000 + 64 * 1024 + 300
    assert text.startswith("line 000000\n")
    assert "[fitserve] this log has reached 1000 bytes" in text
    left_out = 100_000 * 12 - 1000 - 64 * 1024
    assert f"[fitserve] {left_out} bytes omitted" in text
    assert text.endswith("line 099999\n")


def test_the_end_is_not_told_twice(tmp_path: Path) -> None:
    with BoundedLog(tmp_path / "log", limit=8) as log:
        log.write(b"12345678abc")
    assert (tmp_path / "log").read_text() == (
        "12345678\n[fitserve] this log has reached 8 bytes; only its end follows\n[fitserve] 0 bytes omitted\nabc"
    )


def test_the_last_lines_are_those_with_something_in_them(tmp_path: Path) -> None:
    with BoundedLog(tmp_path / "log") as log:
        log.write(b"one\n\n \ntwo  \nthr\xff")
        assert log.last_lines(2) == "two\nthr\ufffd"
    assert last_lines(tmp_path / "log", 3) == "one\ntwo\nthr\ufffd"
    assert last_lines(tmp_path / "nowhere") == ""


def test_a_full_disk_shortens_the_log_and_raises_nothing() -> None:
    with BoundedLog(Path("/dev/full")) as log:
        log.write(b"first\n")
        log.write(b"second\n")
        assert log.last_lines() == "first\nsecond"


def test_a_follower_waits_for_the_other_half_of_a_character(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "log")
    assert list(follower.read()) == []
    with (tmp_path / "log").open("ab", buffering=0) as file:
        file.write("ab é".encode()[:-1])
        assert "".join(follower.read()) == "ab "
        file.write("é".encode()[-1:] + b"!")
        assert "".join(follower.read()) == "é!"
        assert list(follower.read()) == []
