"""What only the watchdog has to promise: nothing stays stopped, whoever dies, and its thread goes on."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.limits import guard, proc
from registry.limits.watchdog import Watchdog, WatchdogGroup
from registry.resources import ResourceConfiguration
from tests.contracts.limits import SPIN, dead, running, state
from tests.waiting import eventually

SUPERVISOR = """
import os, subprocess, sys, time
from registry.limits.watchdog import Watchdog
from registry.resources import ResourceConfiguration
backend = Watchdog()
group = backend.create("left-1-1", ResourceConfiguration(cpu=0.02, memory_in_gb=0.1))
code = "import os\\nif os.fork() == 0: os.setsid()\\nprint(os.getpid(), flush=True)\\nwhile True: pass"
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()\\n" + code], stdin=subprocess.PIPE, text=True)
group.add(child.pid)
group.set_cpu(0.02)
print(os.getpid(), flush=True)
print(file=child.stdin, flush=True)
while group.usage().throttled_seconds < 0.1: time.sleep(0.01)
print("throttled", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def backend() -> Iterator[Watchdog]:
    backend = Watchdog()
    reason = backend.available()
    if reason:
        pytest.skip(f"no watchdog here: {reason}")
    yield backend
    backend.close()


@pytest.fixture
def group(backend: Watchdog) -> WatchdogGroup:
    return backend.create("iris-1-1", ResourceConfiguration(cpu=1, memory_in_gb=0.0625))


def guards(supervisor: int) -> list[int]:
    """Guards that watch over this process."""
    owner = str(guard.owner_mark(supervisor, proc.start_time(supervisor) or 0)).encode()
    found = []
    for pid in proc.pids():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if owner in words and state(pid) != "Z":
            found.append(pid)
    return found


class Left:
    """A supervisor in a process of its own, with two spinning processes that rest most of the time."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", SUPERVISOR]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = {self.process.stdout.readline().strip() for _ in range(4)}
        self.spinning = [int(word) for word in said - {"throttled", str(self.process.pid)}]

    def exit(self) -> int:
        """Without closing its back end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()

    def kill(self) -> None:
        self.process.kill()
        self.exit()


def test_the_guard_ends_what_a_killed_supervisor_leaves() -> None:
    left = Left()
    eventually(lambda: len(guards(left.process.pid)) == 1)
    left.kill()
    eventually(lambda: dead(*left.spinning))


def test_the_guard_ends_what_a_supervisor_forgets() -> None:
    left = Left()
    assert left.exit() == 0
    eventually(lambda: dead(*left.spinning))


def test_even_without_its_guard_the_next_supervisor_ends_them(backend: Watchdog) -> None:
    left = Left()
    for pid in eventually(lambda: guards(left.process.pid)):
        os.kill(pid, signal.SIGKILL)
    left.kill()
    assert not dead(*left.spinning)
    eventually(lambda: backend.clean_stale() == 0)
    eventually(lambda: dead(*left.spinning))


def test_a_guard_that_somebody_killed_is_replaced(backend: Watchdog, group: WatchdogGroup) -> None:
    (first,) = eventually(lambda: guards(os.getpid()))
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: [pid for pid in guards(os.getpid()) if pid != first])


def test_the_guard_ends_with_the_back_end(backend: Watchdog, group: WatchdogGroup) -> None:
    eventually(lambda: len(guards(os.getpid())) == 1)
    backend.close()
    assert guards(os.getpid()) == []


def test_the_thread_goes_on_after_a_surprise(
    backend: Watchdog, group: WatchdogGroup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    surprises = []

    def surprise(_: str, size: int = 0) -> bytes:
        surprises.append(1)
        raise MemoryError("for once")

    with caplog.at_level(logging.CRITICAL), running(SPIN, group):
        with monkeypatch.context() as patched:
            patched.setattr(proc, "read", surprise)
            eventually(lambda: len(surprises) > 2)
        group.set_cpu(0.2)
        eventually(lambda: group.usage().throttled_seconds > 0)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_a_whole_core_is_held_by_pinning_and_nobody_is_stopped(group: WatchdogGroup) -> None:
    with running("import os\nos.fork()\nwhile True: pass", group):
        everywhere = os.sched_getaffinity(0)
        pids = eventually(lambda: group.pids() if len(group.pids()) == 2 else None)
        group.set_cpu(1)
        one = os.sched_getaffinity(pids[0])
        assert len(one) == 1
        assert os.sched_getaffinity(pids[1]) == one
        group.set_cpu(None)
        assert os.sched_getaffinity(pids[0]) == os.sched_getaffinity(pids[1]) == everywhere
        assert group.usage().throttled_seconds < 0.05


def test_a_process_knows_what_to_set_itself(group: WatchdogGroup) -> None:
    extra = group.rlimits()["RLIMIT_DATA_EXTRA"]
    assert group.limits.memory_bytes <= extra < 2.1 * group.limits.memory_bytes
    group.set_memory(2**30)
    assert group.rlimits()["RLIMIT_DATA_EXTRA"] == extra - group.limits.memory_bytes + 2**30


def test_marks_tell_owners_and_groups_apart() -> None:
    owner = guard.owner_mark(4_194_303, 123_456_789)
    marks = {guard.group_mark(owner, number) for number in range(1000)}
    assert len(marks) == 1000
    assert {mark & guard.OWNER_MASK for mark in marks} == {owner}
    assert {guard.owner_pid(mark) for mark in marks} == {4_194_303}
    assert owner != guard.owner_mark(4_194_303, 123_456_788)
    assert max(marks) < 2**63


def test_this_process_carries_no_mark() -> None:
    limit = guard.mark_limit()
    assert limit is not None
    assert guard.read_mark(limit, os.getpid()) == 0
    assert guard.read_mark(limit, 4_194_304) == 0
