"""Logs are bounded whatever a model prints."""

import asyncio
import os

from gateway.supervisor.log_tail import LogPipe, LogTail
from tests.waiting import until


def test_the_last_lines_are_kept() -> None:
    tail = LogTail(lines=3)
    for chunk in (b"one\ntw", b"o\nthree\nfour\n", b"fi"):
        tail.write(chunk)
    assert tail.lines() == ["two", "three", "four", "fi"]
    assert tail.lines(2) == ["four", "fi"]
    assert tail.lines(0) == []


def test_bytes_are_bounded_too() -> None:
    tail = LogTail(nbytes=1000)
    for number in range(1000):
        tail.write(b"%d " % number + b"x" * 95 + b"\n")
    assert sum(len(line) + 1 for line in tail.lines()) <= 1000
    assert tail.lines()[-1].startswith("999 ")
    endless = LogTail(nbytes=1000)
    for _ in range(100):
        endless.write(b"y" * 1000)
    assert 0 < sum(len(line) for line in endless.lines()) <= 1250


def test_what_is_no_text_does_not_break_it() -> None:
    tail = LogTail()
    tail.write(b"\xff\xfe\n")
    assert tail.lines() == ["��"]


def test_the_sink_gets_everything() -> None:
    got: list[bytes] = []
    tail = LogTail(got.append, lines=1)
    tail.write(b"a\nb\n")
    tail.write(b"c\n")
    assert b"".join(got) == b"a\nb\nc\n"


def test_a_pipe_is_drained_to_its_end() -> None:
    async def work() -> list[str]:
        tail = LogTail()
        pipe = LogPipe(tail)
        os.write(pipe.writing, b"first\n")
        await until(tail.lines)
        os.write(pipe.writing, b"last words")
        pipe.close()
        pipe.close()
        return tail.lines()

    assert asyncio.run(work()) == ["first", "last words"]
