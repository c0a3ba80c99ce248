"""Every way a child, a nursery or a supervisor can die, and what the others notice."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.supervisor import worker_process
from gateway.supervisor.log_tail import LogPipe, LogTail
from gateway.supervisor.nursery import Nursery, NurseryFailed
from gateway.supervisor.reaper import Exit
from gateway.supervisor.worker_client import Question, ScoringClient, ScoringError
from gateway.supervisor.worker_process import ChildFailed, ChildHandle, start_child
from gateway.worker import wire
from tests.gateway.worker.models import Stored, custom, iris_svc, rows
from tests.gateway.worker.nest import Nest, open_descriptors, running
from tests.waiting import until

NURSERY_DESCRIPTORS = 5  # nothing, twice its log, control, the child forked ahead


def end_of(place: Nest, model: Stored, **order: Any) -> tuple[BaseException | None, Exit, list[str]]:
    """What a caller sees, how the child ended, and its log, when `predict` is called."""

    async def work() -> tuple[BaseException | None, Exit, list[str]]:
        async with place.serving(model, **order) as (child, client):
            (seen,) = await asyncio.gather(client.array("predict", rows(1)), return_exceptions=True)
            async with asyncio.timeout(5):
                return seen if isinstance(seen, BaseException) else None, await child.exited, child.log.lines()

    return place.run(work())


def test_killed_in_mid_frame(place: Nest, tmp_path: Path) -> None:
    marker = tmp_path / "computing"
    model = custom(tmp_path, f"open({str(marker)!r}, 'w').close()\ntime.sleep(60)")

    async def work() -> tuple[Any, Exit, bool]:
        async with place.serving(model) as (child, client):
            asking = asyncio.ensure_future(client.array("predict", rows(1)))
            await until(marker.exists)
            os.kill(child.pid, signal.SIGKILL)
            (seen,) = await asyncio.gather(asking, return_exceptions=True)
            end = await asyncio.wait_for(child.exited, 2)
            assert child.socket_path is not None
            return seen, end, os.path.exists(child.socket_path)

    seen, end, socket_left = place.run(work())
    assert isinstance(seen, ConnectionError)
    assert end == Exit(signal=9)
    assert str(end) == "was killed by signal 9 (SIGKILL)"
    assert not socket_left


def test_a_child_leaves_a_note_of_what_it_began_last(place: Nest, tmp_path: Path) -> None:
    model = custom(tmp_path, "if X[0, 0] == 0: os._exit(1)\nreturn X[:, 0]")

    async def work() -> tuple[int, int]:
        async with place.serving(model) as (child, client):
            assert child.socket_path is not None
            note = wire.Note.read(child.socket_path)
            assert note is not None
            await client.array("predict", rows(1))
            before = note.number
            with pytest.raises(ConnectionError):
                await client.ask_all([Question.array("predict", np.full((1, 4), value)) for value in (1.0, 0.0)])
            await child.exited
            assert wire.Note.read(child.socket_path) is None
            return before, note.number

    assert place.run(work()) == (1, 3)


def test_what_a_model_forks_keeps_nobody_from_seeing_its_death(place: Nest, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    body = f"""\
if os.fork():
    while not os.path.exists({str(told)!r}): time.sleep(0.01)
    os._exit(3)
os.setsid()
with open({str(told)!r} + "-", "w") as file: file.write(str(os.getpid()))
os.rename({str(told)!r} + "-", {str(told)!r})
time.sleep(600)"""
    try:
        seen, end, _ = end_of(place, custom(tmp_path, body))
        assert isinstance(seen, ConnectionError)
        assert end == Exit(code=3)
        assert running(int(told.read_text()))
    finally:
        os.kill(int(told.read_text()), signal.SIGKILL)


def test_a_nursery_that_does_not_answer_is_ended(place: Nest) -> None:
    """Or each start would wait for it anew."""

    async def work() -> Exit:
        nursery = await Nursery.start(sys.executable, place.reaper)
        os.kill(nursery.pid, signal.SIGSTOP)
        with pytest.raises(NurseryFailed, match="did not answer"):
            await nursery.fork(timeout=0.1)
        return await asyncio.wait_for(nursery.exited, 5)

    assert place.run(work()) == Exit(signal=9)


def test_os_exit_zero_is_a_death_too(place: Nest, tmp_path: Path) -> None:
    seen, end, _ = end_of(place, custom(tmp_path, "os._exit(0)"))
    assert isinstance(seen, ConnectionError)
    assert end == Exit(code=0)


def test_a_segfault_leaves_its_traceback(place: Nest, tmp_path: Path) -> None:
    seen, end, log = end_of(place, custom(tmp_path, "ctypes.string_at(0)"))
    assert isinstance(seen, ConnectionError)
    assert end == Exit(signal=signal.SIGSEGV)
    assert any("in predict" in line for line in log)


def test_out_of_memory_is_answered_before_the_end(place: Nest, tmp_path: Path) -> None:
    model = custom(tmp_path, "kept = []\nwhile True: kept.append(np.ones(1 << 20))")
    seen, end, log = end_of(place, model, rlimits={"RLIMIT_DATA_EXTRA": 200 << 20})
    assert isinstance(seen, ScoringError)
    assert seen.kind == "memory"
    assert end.code == 137
    assert end.out_of_memory
    assert any("MemoryError" in line for line in log)


def test_the_data_limit_counts_from_what_is_there(place: Nest, tmp_path: Path) -> None:
    model = custom(tmp_path, "return np.array([np.ones((int(X[0, 0]), 1 << 17)).nbytes >> 20])")

    async def work() -> tuple[Any, ScoringError]:
        async with place.serving(model, rlimits={"RLIMIT_DATA_EXTRA": 200 << 20}) as (_, client):
            below = await client.array("predict", np.full((1, 4), 150.0))
            with pytest.raises(ScoringError) as raised:
                await client.array("predict", np.full((1, 4), 250.0))
            return below, raised.value

    below, error = place.run(work())
    assert below.tolist() == [150]
    assert error.kind == "memory"


def test_a_request_that_does_not_fit_into_memory(place: Nest, tmp_path: Path) -> None:
    async def work() -> tuple[ScoringError, Exit]:
        async with place.serving(iris_svc(tmp_path), rlimits={"RLIMIT_DATA_EXTRA": 30 << 20}) as (child, client):
            with pytest.raises(ScoringError) as raised:
                await client.array("predict", np.ones((10_000_000, 1)))
            return raised.value, await child.exited

    error, end = place.run(work())
    assert error.kind == "memory"
    assert "80000000 bytes" in error.message
    assert end.code == 137


def test_a_model_too_large_for_its_memory(place: Nest, tmp_path: Path) -> None:
    model = custom(tmp_path, "return X", before="held = np.ones((1 << 24, 8))")

    async def work() -> tuple[ChildFailed, Exit]:
        child = await place.fork()
        with pytest.raises(ChildFailed) as raised:
            await child.go(model.order(place.socket(), rlimits={"RLIMIT_DATA_EXTRA": 100 << 20}), 20)
        return raised.value, await child.exited

    failure, end = place.run(work())
    assert failure.kind == "memory"
    assert end.code == 137


def test_a_death_while_loading_is_told(place: Nest, tmp_path: Path) -> None:
    model = custom(tmp_path, "return X", before="os.kill(os.getpid(), 9)")

    async def work() -> ChildFailed:
        child = await place.fork()
        with pytest.raises(ChildFailed) as raised:
            await child.go(model.order(place.socket()), 20)
        return raised.value

    failure = place.run(work())
    assert failure.kind == "died"
    assert failure.reason == "its process was killed by signal 9 (SIGKILL) before it could load the model"
    assert failure.exit == Exit(signal=9)


def test_a_start_has_a_deadline(place: Nest, tmp_path: Path) -> None:
    model = custom(tmp_path, "return X", before="time.sleep(60)")

    async def work() -> ChildFailed:
        child = await place.fork()
        with pytest.raises(ChildFailed) as raised:
            await child.go(model.order(place.socket()), 0.2)
        assert child.alive
        child.kill()
        await child.exited
        return raised.value

    failure = place.run(work())
    assert (failure.kind, failure.reason) == ("timeout", "it did not load the model within 0.2 s")


def test_processes_that_a_model_started_end_with_it(place: Nest, tmp_path: Path) -> None:
    model = custom(
        tmp_path,
        "pid = os.fork()\nif pid == 0:\n    time.sleep(120)\n    os._exit(0)\nreturn np.array([pid])",
    )

    async def work(kill: bool) -> None:
        async with place.serving(model) as (child, client):
            (pid,) = (await client.array("predict", rows(1))).tolist()
            assert running(pid)
            if kill:
                child.kill()
            else:
                assert (await child.end()).code == 0
            await child.exited
            await until(lambda: not Path(f"/proc/{pid}").exists())  # dead, adopted and reaped

    place.run(work(kill=True))
    place.run(work(kill=False))


def test_two_deaths_at_once_are_both_seen(place: Nest, tmp_path: Path) -> None:
    model = iris_svc(tmp_path)

    async def work() -> list[Exit]:
        children = [await place.start(model) for _ in range(4)]
        for child in children:
            os.kill(child.pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            return [await child.exited for child in children]

    assert place.run(work()) == [Exit(signal=9)] * 4


def test_a_child_ends_when_its_control_socket_closes(place: Nest, tmp_path: Path) -> None:
    async def work() -> Exit:
        child = await place.start(iris_svc(tmp_path))
        child._close_control()
        return await asyncio.wait_for(child.exited, 5)

    assert place.run(work()) == Exit(code=0)


def test_children_outlive_their_nursery(place: Nest, tmp_path: Path) -> None:
    model = iris_svc(tmp_path)

    async def work() -> Any:
        nursery = await Nursery.start(sys.executable, place.reaper)
        serving, waiting = await nursery.fork(), await nursery.fork()
        await serving.hello()
        await serving.go(model.order(place.socket()), 20)
        await waiting.hello()
        nursery.kill()
        assert await nursery.exited == Exit(signal=9)
        with pytest.raises(NurseryFailed):
            await nursery.fork()
        await waiting.go(model.order(place.socket()), 20)
        answers = []
        for child in (serving, waiting):
            assert child.socket_path is not None
            async with await ScoringClient.open(child.socket_path) as client:
                answers += (await client.array("predict", rows(2))).tolist()
            await child.end()
        return answers

    assert place.run(work()) == [0, 0, 0, 0]


SUPERVISOR = """
import asyncio, json, sys
from gateway.supervisor.nursery import Nursery
from gateway.supervisor.reaper import Reaper, become_subreaper
from gateway.supervisor.worker_process import start_child

async def main():
    become_subreaper()
    reaper = Reaper()
    reaper.start()
    nursery = await Nursery.start(sys.executable, reaper)
    order = json.loads(sys.argv[1])
    serving, waiting, fresh = await nursery.fork(), await nursery.fork(), start_child(sys.executable, reaper)
    for child in (serving, waiting, fresh):
        await child.hello()
    loading = await nursery.fork()
    loading.send("go", **{**order, "listen": order["listen"] + "2", "artifact": "/dev/zero"})
    await serving.go(order, 20)
    print(nursery.pid, serving.pid, waiting.pid, fresh.pid, loading.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_nothing_outlives_a_killed_supervisor(place: Nest, tmp_path: Path) -> None:
    import json

    order = json.dumps(iris_svc(tmp_path).order(place.folder / "killed.sock"))
    with subprocess.Popen([sys.executable, "-c", SUPERVISOR, order], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pids = [int(word) for word in supervisor.stdout.readline().split()]
        assert len(pids) == 5
        assert all(running(pid) for pid in pids)
        supervisor.kill()
    place.run(until(lambda: not any(running(pid) for pid in pids)))


def test_starting_and_ending_children_leaks_nothing(place: Nest, tmp_path: Path) -> None:
    model = iris_svc(tmp_path)

    async def one(fresh: bool = False) -> None:
        async with place.serving(model, fresh=fresh) as (_, client):
            await client.array("predict", rows(1))

    async def failing() -> None:
        child = await place.fork()
        with pytest.raises(ChildFailed):
            await child.go(model.order(place.socket(), digest="0" * 64), 20)
        await child.exited

    async def work() -> None:
        await one()
        await one(fresh=True)
        await failing()
        ours = open_descriptors(os.getpid())
        await until(lambda: len(open_descriptors(place.nursery.pid)) == NURSERY_DESCRIPTORS)
        for _ in range(10):
            await one()
            await failing()
        await one(fresh=True)
        assert {item.split()[0] for item in open_descriptors(os.getpid())} == {item.split()[0] for item in ours}
        await until(lambda: len(open_descriptors(place.nursery.pid)) == NURSERY_DESCRIPTORS)

    place.run(work())


def test_a_client_that_leaves_costs_nothing(place: Nest, tmp_path: Path) -> None:
    async def work() -> None:
        async with place.serving(iris_svc(tmp_path)) as (child, client):
            await client.ping()
            before = len(open_descriptors(child.pid))
            for _ in range(20):
                assert child.socket_path is not None
                async with await ScoringClient.open(child.socket_path) as guest:
                    await guest.array("predict", rows(1))
            await client.ping()
            await until(lambda: len(open_descriptors(child.pid)) == before)

    place.run(work())


@pytest.mark.parametrize("fresh", [False, True])
def test_a_child_can_be_killed_as_soon_as_it_is_there(place: Nest, fresh: bool) -> None:
    """Before it has said anything, and before it leads a process group."""

    async def work() -> None:
        child = start_child(place.python, place.reaper) if fresh else await place.nursery.fork()
        child.kill()
        async with asyncio.timeout(10):
            await child.exited

    place.run(work())


def test_a_terminals_signals_do_not_reach_the_nursery(place: Nest) -> None:
    assert os.getsid(place.nursery.pid) == place.nursery.pid


@pytest.mark.parametrize("words", [b"x" * 200, b"not JSON\n", b"[]\n", b"{}\n"])
def test_a_child_that_talks_nonsense_to_the_supervisor_is_killed(
    place: Nest, words: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "_LONGEST_MESSAGE", 100)

    async def work() -> Exit:
        ours, theirs = socket.socketpair()
        pid, exited = place.reaper.spawn([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        child = ChildHandle(pid, ours, LogPipe(LogTail()), LogTail(), exited)
        with theirs:
            theirs.sendall(words)
            async with asyncio.timeout(10):
                return await child.exited

    assert place.run(work()) == Exit(signal=9)


def test_giving_up_a_fork_leaves_no_descriptor_behind(place: Nest) -> None:
    async def work() -> None:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            forking = asyncio.create_task(place.nursery.fork())
            await asyncio.sleep(0)
            forking.cancel()
            await asyncio.wait([forking])
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)

    place.run(work())
