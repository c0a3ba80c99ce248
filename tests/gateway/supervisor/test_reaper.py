"""Ends of processes, seen once and by whoever asks."""

import asyncio
import os
import sys

from gateway.supervisor.reaper import Exit
from tests.gateway.worker.nest import Nest


def test_ends_by_code_and_by_signal(place: Nest) -> None:
    async def work() -> list[Exit]:
        ends = [
            place.reaper.spawn([sys.executable, "-c", code])[1]
            for code in ("raise SystemExit(3)", "import os; os.kill(os.getpid(), 15)", "")
        ]
        async with asyncio.timeout(20):
            return [await end for end in ends]

    three, terminated, fine = place.run(work())
    assert (str(three), three.code) == ("exited with code 3", 3)
    assert str(terminated) == "was killed by signal 15 (SIGTERM)"
    assert fine == Exit(code=0)


def test_an_end_before_anyone_asked_is_remembered(place: Nest) -> None:
    async def work() -> Exit:
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], {})
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        place.reaper.reap()
        return await asyncio.wait_for(place.reaper.watch(pid), 1)

    assert place.run(work()) == Exit(code=7)


def test_who_is_no_child_has_ended(place: Nest) -> None:
    async def work() -> Exit:
        return await asyncio.wait_for(place.reaper.watch(2**22 + 5), 1)

    end = place.run(work())
    assert end == Exit()
    assert str(end) == "ended"


def test_orphans_are_adopted_and_reaped(place: Nest) -> None:
    async def work() -> None:
        reading, writing = os.pipe()
        _, end = place.reaper.spawn(["/bin/sh", "-c", "sleep 0.05 & echo $!"], stdout=writing)
        await end
        orphan = int(os.read(reading, 100))
        os.close(reading)
        os.close(writing)
        await asyncio.wait_for(place.reaper.watch(orphan), 5)
        assert not os.path.exists(f"/proc/{orphan}")

    place.run(work())
