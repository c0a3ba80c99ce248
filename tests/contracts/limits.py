"""What every back end for limits must do. Subclass `LimitsContract` and give it a `backend` fixture.

Real processes, started without site-packages so that they are quick; CPU is read from the group's own accounting,
since the machine that runs the tests may be busy.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.limits import Backend, Group
from registry.resources import ResourceConfiguration
from tests.waiting import eventually

MB = 1 << 20

SPIN = "while True: pass"
FOUR_SPIN = "import os\nos.fork(); os.fork()\nwhile True: pass"
# a digest of many rounds lets go of the interpreter's lock, so these threads run at once
EIGHT_THREADS_SPIN = """
import hashlib, threading
for _ in range(8):
    threading.Thread(target=hashlib.pbkdf2_hmac, args=("sha256", b"", b"", 10**9)).start()
"""
# 200 MB/s, so that the moment of passing a limit is known; says each MB
ALLOCATE = """
import time
kept = []
while True:
    kept.append(b"x" * (1 << 20)); print(len(kept), flush=True); time.sleep(0.005)
"""
# a daemon: no parent, no session in common
ORPHAN = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True); time.sleep(600)
    os._exit(0)
os.wait(); time.sleep(600)
"""
# always one process, never the same for long
HOPPING = """
import os
while True:
    if os.fork(): os._exit(0)
"""

# 300 at most, also where nothing holds it; who may fork no more says how many there are
FORKS = """
import os, time
for number in range(300):
    try:
        if os.fork() == 0: os.close(1); time.sleep(600)
    except BlockingIOError:
        print(number, "no more", flush=True); break
    time.sleep(0.002)
else:
    time.sleep(600)
"""
THREADS = """
import threading, time
for number in range(300):
    try:
        threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
    except RuntimeError:
        print(number, "no more", flush=True); import os; os._exit(0)
    time.sleep(0.002)
while True: sum(range(10**5))
"""

_PRELUDE = """
import json, resource, sys
extra = json.loads(sys.stdin.readline()).get("RLIMIT_DATA_EXTRA")
if extra:
    has = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (has + extra, has + extra))
"""


class Process(subprocess.Popen[str]):
    """A process that does nothing until `go`."""

    def __init__(self, code: str) -> None:
        command = [sys.executable, "-I", "-S", "-c", _PRELUDE + code]
        super().__init__(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True,
        )  # fmt: skip

    def go(self, rlimits: dict[str, int] | None = None) -> None:
        assert self.stdin is not None
        print(json.dumps(rlimits or {}), file=self.stdin, flush=True)

    def line(self) -> str:
        assert self.stdout is not None
        return self.stdout.readline().strip()


@contextlib.contextmanager
def running(code: str, group: Group | None = None, *, rlimits: bool = True) -> Iterator[Process]:
    process = Process(code)
    try:
        if group is not None:
            group.add(process.pid)
        process.go(group.rlimits() if group is not None and rlimits else None)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def state(pid: int) -> str:
    """One letter, empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def dead(*pids: int) -> bool:
    return all(state(pid) in ("", "Z", "X") for pid in pids)


def uses(group: Group, cores: float, seconds: float = 2.0, within: float = 0.1) -> None:
    """Assert that a group which wants more uses this many cores.

    A limit is no promise: where others use the machine too, the group may get less. And whoever holds the limit from outside may be
    kept waiting now and then, but not always: one of three looks must find it held. A limit that is not held is so in each.
    """
    looks = []
    for _ in range(3):
        before, busy, start = group.usage().cpu_seconds, busy_seconds(), time.monotonic()
        threading.Event().wait(seconds)
        elapsed = time.monotonic() - start
        own = group.usage().cpu_seconds - before
        used, others = own / elapsed, (busy_seconds() - busy - own) / elapsed
        looks.append(f"{used:.2f} cores, others {others:.2f}")
        if used < cores + within and (used > cores - within or others > 0.3):
            return
    raise AssertionError(f"{cores} cores ± {within} expected: {'; '.join(looks)}")


def is_held_back(group: Group) -> None:
    """Wait until the limit was felt. On a machine that others fill, a group may never come so far."""
    before, busy, start = group.usage().cpu_seconds, busy_seconds(), time.monotonic()
    while not group.usage().throttled_seconds > 0:
        elapsed = time.monotonic() - start
        if elapsed > 10:
            others = (busy_seconds() - busy - (group.usage().cpu_seconds - before)) / elapsed
            assert others > (os.cpu_count() or 1) - 1, f"never throttled, although others use {others:.2f} cores only"
            return
        threading.Event().wait(0.01)


def busy_seconds() -> float:
    """Of all CPUs together, since boot."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def median_time(call: Callable[[], object]) -> float:
    times = []
    for _ in range(200):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class LimitsContract:
    """Subclasses give `backend`, freshly made and closed afterwards."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        raise AssertionError("a subclass gives the back end")

    @pytest.fixture
    def group(self, backend: Backend) -> Iterator[Group]:
        """A group with half a core and 64 MB."""
        group = backend.create("iris-1-1", ResourceConfiguration(cpu=0.5, memory_in_gb=0.0625))
        yield group
        group.close()

    def test_it_says_what_it_is(self, backend: Backend, group: Group) -> None:
        assert backend.available() is None
        assert group.enforcement == backend.enforcement
        assert (group.name, group.limits.cpu) == ("iris-1-1", 0.5)

    @pytest.mark.parametrize(
        "code", [SPIN, FOUR_SPIN, EIGHT_THREADS_SPIN], ids=["one", "four processes", "eight threads"]
    )
    def test_all_that_spins_in_a_group_shares_half_a_core(self, group: Group, code: str) -> None:
        with running(code, group):
            group.set_cpu(0.5)
            is_held_back(group)
            uses(group, 0.5)

    def test_a_process_that_is_expected_goes_in_by_itself(self, group: Group) -> None:
        enter = "for door in json.loads(sys.stdin.readline()): open(door, 'w').write('0')\nprint('in', flush=True)\n"
        process = Process(enter + SPIN)
        try:
            doors = group.expect(process.pid)
            process.go()
            assert process.stdin is not None
            print(json.dumps([*doors]), file=process.stdin, flush=True)
            assert process.line() == "in"
            assert process.pid in group.pids()
            group.kill()
            assert process.wait(10) == -signal.SIGKILL
        finally:
            process.kill()
            process.__exit__(None, None, None)

    def test_two_processes_that_are_added_share_one_limit(self, group: Group) -> None:
        group.set_cpu(0.3)
        with running(SPIN, group), running(SPIN, group):
            is_held_back(group)
            uses(group, 0.3)

    def test_the_cpu_limit_can_be_lifted_and_set_again(self, group: Group) -> None:
        group.set_cpu(0.1)
        with running(SPIN, group) as process:
            is_held_back(group)
            group.set_cpu(None)
            held = group.usage().throttled_seconds
            uses(group, 1.0, 1.0, within=0.5)
            assert group.usage().throttled_seconds == pytest.approx(held, abs=0.02)
            assert state(process.pid) != "T"
            group.set_cpu(0.1)
            uses(group, 0.1)

    def test_its_accounting_is_that_of_the_process(self, group: Group) -> None:
        code = """
import time
print("ready", flush=True); sys.stdin.readline()
start = time.process_time()
while time.process_time() < start + 0.5: pass
print(time.process_time() - start, flush=True); sys.stdin.readline()
"""
        with running(code, group) as process:
            assert process.line() == "ready"
            before = group.usage().cpu_seconds
            print(file=process.stdin, flush=True)
            used = float(process.line())
            assert group.usage().cpu_seconds - before == pytest.approx(used, abs=0.1)

    def test_who_allocates_without_end_is_dead_within_a_second(self, backend: Backend, group: Group) -> None:
        neighbour = backend.create("neighbour-1-1", ResourceConfiguration(cpu=1, memory_in_gb=0.0625))
        with running("input()", neighbour) as beside, running(ALLOCATE, group, rlimits=False) as process:
            passed = None
            while line := process.line():
                if int(line) >= 64 and passed is None:
                    passed = time.monotonic()
            process.wait(timeout=5)
            assert process.returncode == -signal.SIGKILL
            assert passed is None or time.monotonic() - passed < 1.0
            assert eventually(lambda: group.usage().oom_kills) == 1
            assert 55 * MB < group.usage().memory_peak_bytes < 120 * MB
            assert not dead(beside.pid)
            assert neighbour.usage().oom_kills == 0

    def test_one_large_allocation_does_not_succeed(self, group: Group) -> None:
        with running("x = b'x' * (1 << 30)\nprint('has it', flush=True)", group) as process:
            assert process.line() == ""
            assert process.wait(timeout=5) != 0

    def test_all_of_a_group_dies_when_a_helper_allocates_without_end(self, group: Group) -> None:
        with running(
            f"import os, time\nif os.fork() == 0:\n  exec({ALLOCATE!r})\ntime.sleep(600)", group, rlimits=False
        ) as p:
            assert p.wait(timeout=10) == -signal.SIGKILL
            eventually(lambda: dead(*group.pids()))
            assert group.usage().oom_kills >= 1

    def test_files_that_are_read_do_not_count(self, group: Group) -> None:
        with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:  # /tmp may be memory
            for _ in range(100):
                file.write(os.urandom(MB))
            file.flush()
            self.read_a_file(group, file.name)

    def read_a_file(self, group: Group, file: str) -> None:
        code = f"""
import mmap
with open({file!r}, "rb") as f:
    mapped = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
    sum(mapped[i] for i in range(0, len(mapped), 4096))
    while f.read(1 << 20): pass
    print("read", flush=True); input()
"""
        with running(code, group) as process:
            assert process.line() == "read"
            threading.Event().wait(0.5)  # several samples
            assert not dead(process.pid)
            assert group.usage().memory_bytes < 40 * MB
            assert group.usage().oom_kills == 0

    def test_memory_that_was_inherited_does_not_count(self, group: Group) -> None:
        """A child of a nursery, whose pages it shares."""
        nursery = f"""
import os, time
ballast = b"x" * {100 * MB}
if os.fork() == 0:
    print(os.getpid(), flush=True); sys.stdin.readline()
    own = b"x" * {20 * MB}
    print("more", flush=True); time.sleep(600)
time.sleep(600)
"""
        with running(nursery) as process:
            child = int(process.line())
            group.add(child)
            print(file=process.stdin, flush=True)
            assert process.line() == "more"
            threading.Event().wait(0.5)
            assert not dead(child)
            assert group.usage().memory_bytes < 60 * MB
            assert eventually(lambda: group.usage().memory_peak_bytes > 15 * MB)

    def test_lowering_the_memory_limit_below_what_is_used_ends_the_group(self, group: Group) -> None:
        with running(f"x = b'x' * {40 * MB}\nprint('has it', flush=True)\nsys.stdin.readline()", group) as process:
            assert process.line() == "has it"
            group.set_memory(20 * MB)
            assert process.wait(timeout=5) == -signal.SIGKILL
            assert eventually(lambda: group.usage().oom_kills) >= 1

    def test_raising_the_memory_limit_makes_room(self, group: Group) -> None:
        group.set_memory(256 * MB)
        code = f"x = b'x' * {150 * MB}\nprint('has it', flush=True)\nsys.stdin.readline()"
        with running(code, group) as process:
            assert process.line() == "has it"
            assert eventually(lambda: group.usage().memory_bytes > 140 * MB)

    def test_what_a_process_leaves_behind_belongs_to_the_group(self, group: Group) -> None:
        with running(ORPHAN, group) as process:
            orphan = int(process.line())
            eventually(lambda: set(group.pids()) == {process.pid, orphan})
            group.kill()
            eventually(lambda: dead(process.pid, orphan))

    def test_kill_gets_those_that_fork_faster_than_one_can_look(self, group: Group) -> None:
        with running(HOPPING, group) as process:
            process.wait(timeout=10)  # from here on somebody else is it
            eventually(group.pids)
            group.kill()
            eventually(lambda: dead(*group.pids()))
            assert eventually(lambda: not [pid for pid in group.pids() if not dead(pid)])

    def test_who_forks_without_end_stays_within_its_tasks(self, backend: Backend) -> None:
        group = backend.create("forks-1-1", ResourceConfiguration(cpu=1, memory_in_gb=0.25), tasks=40)
        with running(FORKS, group) as process:
            said, _ = process.communicate(timeout=30)
            assert "no more" in said or process.returncode == -signal.SIGKILL
            if "no more" in said:
                assert 0 < int(said.split()[0]) < 40
            eventually(lambda: len(group.pids()) <= 40)
        group.close()

    def test_threads_count_among_the_tasks(self, backend: Backend) -> None:
        group = backend.create("threads-1-1", ResourceConfiguration(cpu=1, memory_in_gb=0.25), tasks=40)
        with running(THREADS, group) as process:
            said, _ = process.communicate(timeout=30)
            assert "no more" in said or process.returncode == -signal.SIGKILL
        group.close()

    def test_a_group_that_was_killed_can_be_used_again(self, group: Group) -> None:
        group.set_cpu(0.2)
        with running(SPIN, group):
            is_held_back(group)
            group.kill()
        with running("print('again', flush=True)", group) as process:
            assert process.line() == "again"

    def test_close_ends_everything_and_may_be_called_twice(self, backend: Backend) -> None:
        group = backend.create("closing-1-1", ResourceConfiguration(cpu=0.1, memory_in_gb=0.0625))
        with running(ORPHAN, group) as process, running(SPIN, group) as spinning:
            orphan = int(process.line())
            group.set_cpu(0.1)
            is_held_back(group)
            group.close()
            group.close()
            eventually(lambda: dead(process.pid, orphan, spinning.pid))

    def test_closing_the_back_end_ends_all_groups(self, backend: Backend) -> None:
        groups = [backend.create(f"many-1-{i}", ResourceConfiguration(cpu=1, memory_in_gb=0.0625)) for i in range(3)]
        with running("input()", groups[0]) as one, running("input()", groups[1]) as two:
            backend.close()
            eventually(lambda: dead(one.pid, two.pid))

    def test_adding_a_process_that_is_gone_is_an_error(self, group: Group) -> None:
        with running("") as process:
            process.wait()
        with pytest.raises(ProcessLookupError):
            group.add(process.pid)

    def test_usage_is_quick(self, group: Group) -> None:
        """200 µs; on a machine that is emulated or overloaded, no more than some dozen small files cost there."""
        with running("input()", group):
            reading = median_time(Path("/proc/self/stat").read_bytes)
            assert median_time(group.usage) < (200e-6 if reading < 40e-6 else 30 * reading)

    def test_a_killed_supervisor_leaves_nothing_that_cannot_be_cleaned(self, backend: Backend, group: Group) -> None:
        supervisor = f"""
import os, signal, subprocess, sys, time
from registry.limits import make_backend
from registry.resources import ResourceConfiguration
backend = make_backend({backend.enforcement!r}, "contract")
assert backend.available() is None
group = backend.create("left-1-1", ResourceConfiguration(cpu=0.2, memory_in_gb=0.1))
code = "import os\\nif os.fork() == 0: os.setsid()\\nprint(os.getpid(), flush=True)\\nwhile True: pass"
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()\\n" + code], stdin=subprocess.PIPE, text=True)
group.add(child.pid)
group.set_cpu(0.2)
print(file=child.stdin, flush=True)
while group.usage().throttled_seconds == 0: time.sleep(0.01)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""
        command = [sys.executable, "-c", supervisor]
        with (
            running("input()", group) as mine,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started,
        ):
            assert started.stdin is not None
            assert started.stdout is not None
            left = [int(started.stdout.readline()) for _ in range(2)]
            print(file=started.stdin, flush=True)
            assert started.wait(timeout=30) == -signal.SIGKILL
            eventually(lambda: dead(*left))  # its guard ended them; of what the kernel keeps, folders are left
            assert backend.clean_stale() in ((0, 1) if backend.enforcement == "watchdog" else (1,))
            eventually(lambda: backend.clean_stale() == 0)
            assert not dead(mine.pid)
            assert group.pids() == [mine.pid]
