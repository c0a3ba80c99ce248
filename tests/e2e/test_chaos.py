"""Nothing that dies or changes costs a caller an answer, except the one whose request it was. `benchmarks/chaos.py` is the long version."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from registry import Model, ResourceConfiguration, Workspace
from registry.limits import survey
from tests.e2e.gateway import Gateway, serving
from tests.e2e.load import FLOWERS, Load
from tests.e2e.models import SETOSA, code_model, iris_svc
from tests.waiting import eventually

RATE = 100

# Values of the first feature choose what the model does, so that recorded golden rows stay harmless.
FRAGILE = """\
import ctypes, os, signal, sys, time
for what, seconds in X[:, :2]:
    if what == 661:
        os._exit(0)
    if what == 662:
        ctypes.string_at(0)
    if what == 663:
        os.kill(os.getpid(), signal.SIGKILL)
    if what == 664:
        sys.exit("model code ends the process")
    if what == 665:
        os.abort()
    if what == 700:
        time.sleep(seconds)
return (X[:, 3] > 0.5).astype(int) + (X[:, 3] > 1.5)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chaos")


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[Gateway]:
    with serving(folder / "ws") as gateway:
        register(gateway, "iris")
        fragile, code = code_model(folder, FRAGILE, name="fragile")
        register(gateway, "fragile", fragile, code=str(code))
        yield gateway


def register(gateway: Gateway, name: str, file: Path | None = None, **options: object) -> Model:
    """Register a version, and wait until it is the one that answers."""
    file = file or iris_svc(gateway.workspace.parent)
    with Workspace.open(gateway.workspace) as workspace:
        model = Model.register(workspace, str(file), name, show_output=False, **options)  # type: ignore[arg-type]
    eventually(lambda: gateway.status(name).get("live"), lambda v: v == model.version, what=f"{model.id} live")
    gateway.wait_for(name, model.version)
    return model


def load(gateway: Gateway, model: str = "iris") -> Load:
    return Load(str(gateway.url), model, RATE)


def pids(gateway: Gateway, model: str = "iris", count: int = 1) -> list[int]:
    asked = lambda: [int(pid) for pid in gateway.status(model).get("pids", ())]  # noqa: E731
    return eventually(asked, lambda found: len(found) >= count, what=f"{count} children of {model}")


def started(pid: int) -> int:
    """Clock ticks; 0 when it has gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return 0


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, the oldest first."""
    below = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a process that ends while we look
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, path.read_text().split()):
                below += [child, *descendants(child)]
    return sorted(below, key=started)


def processes(gateway: Gateway, kind: str) -> list[int]:
    """Children of the supervisor with `kind` in their command, the oldest first: a nursery is older than what it forked."""
    found = descendants(gateway.process.pid)
    return [pid for pid in found if kind.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_killed_children_cost_nobody_an_answer(gateway: Gateway) -> None:
    """Lesson: dead workers."""
    with load(gateway) as callers:
        for _ in range(6):
            (victim,) = pids(gateway)
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: pids(gateway), lambda now, victim=victim: victim not in now)  # type: ignore[misc]
    assert callers.failures == {}
    assert len(callers.latencies) == callers.sent > 0


def test_the_nursery_dies_and_the_next_child_does_not_wait_for_a_new_one(gateway: Gateway) -> None:
    with load(gateway) as callers:
        nursery = processes(gateway, "nursery.py")[0]
        os.kill(nursery, signal.SIGKILL)
        eventually(lambda: gateway.log.count("a nursery died, starting another"), what="the next nursery")
        os.kill(pids(gateway)[0], signal.SIGKILL)
        eventually(lambda: pids(gateway))
    assert callers.failures == {}


def test_swaps_of_version_lose_nothing(gateway: Gateway) -> None:
    """Lesson: reload."""
    with load(gateway) as callers:
        for _ in range(5):
            register(gateway, "iris")
    assert callers.failures == {}


def test_limits_are_changed_under_load(gateway: Gateway) -> None:
    with load(gateway) as callers:
        for cpu, memory in ((2, 0.5), (1, 0.6), (0.5, 0.4), (1, 0.5)):
            with Workspace.open(gateway.workspace) as workspace:
                Model(workspace, "iris").update(resource_configuration=ResourceConfiguration(cpu, memory))
            eventually(
                lambda: gateway.status("iris"),
                lambda now, cpu=cpu, memory=memory: (
                    (now["limits"]["cpu"], now["limits"]["memory_in_gb"], now["state"])  # type: ignore[misc]
                    == (cpu, memory, "live")
                ),
                what=f"{cpu} cores, {memory} GB",
            )
            pids(gateway, count=max(1, int(cpu)))
    assert callers.failures == {}


def test_deleting_the_version_that_answers_moves_its_callers_to_the_one_before(gateway: Gateway) -> None:
    first, second = register(gateway, "iris"), register(gateway, "iris")
    with load(gateway) as callers:
        with Workspace.open(gateway.workspace) as workspace:
            Model(workspace, id=second.id).delete()
        eventually(lambda: gateway.status("iris").get("live"), lambda live: live == first.version)
    assert callers.failures == {}


def test_deleting_the_model_gives_404_and_nothing_else(gateway: Gateway) -> None:
    model = register(gateway, "gone")
    with load(gateway, "gone") as callers:
        with Workspace.open(gateway.workspace) as workspace:
            Model(workspace, id=model.id).delete()
        eventually(lambda: callers.failed > 10, what="refusals")
    assert all(what.startswith("404 ") for what in callers.failures), callers.failures


@pytest.mark.parametrize("poison", [661, 662, 663, 664, 665], ids=["_exit", "segfault", "kill", "sys.exit", "abort"])
def test_only_the_poisonous_request_fails(gateway: Gateway, poison: float) -> None:
    """Lesson: dead workers."""
    with load(gateway, "fragile") as callers:
        answer = gateway.score("fragile", [[poison, 0, 0, 0]])
        with ThreadPoolExecutor(8) as pool:  # travelling with others
            asked = [pool.submit(gateway.score, "fragile", [flower]) for flower in FLOWERS * 4]
            bad = pool.submit(gateway.score, "fragile", [[poison, 0, 0, 0]])
            assert [each.result().json() for each in asked] == [
                {"predict": [0]},
                {"predict": [1]},
                {"predict": [2]},
            ] * 4
            assert bad.result().status_code in {500, 503}
    assert answer.status_code in {500, 503}, answer.text
    assert "fragile" in answer.json()["message"]
    assert callers.failures == {}


def test_both_children_of_a_model_die_at_once(gateway: Gateway) -> None:
    """Lesson: dead workers."""
    register(gateway, "pair", resource_configuration=ResourceConfiguration(2, 0.5))
    both = pids(gateway, "pair", 2)
    with load(gateway, "pair") as callers:
        for pid in both:
            os.kill(pid, signal.SIGKILL)
        eventually(
            lambda: pids(gateway, "pair", 2), lambda now: set(now).isdisjoint(both), what="two others in their place"
        )
    assert callers.failures == {}


@pytest.fixture(scope="module")
def two(folder: Path) -> Iterator[Gateway]:
    """With two HTTP processes."""
    with serving(folder / "two", "--http-processes", "2") as gateway:
        register(gateway, "iris")
        yield gateway


def test_two_http_processes_have_no_floor_of_44_ms(two: Gateway) -> None:
    """Lesson: two workers, 44 ms: Nagle's algorithm with delayed acknowledgement slows every answer, so the quickest tells."""
    times = []
    for _ in range(60):
        with httpx.Client(
            base_url=str(two.url), trust_env=False
        ) as client:  # a connection each: both processes take their turn
            for _ in range(3):
                begun = time.perf_counter()
                assert client.post("/models/iris/score", json={"data": [SETOSA]}).status_code == 200
                times.append(time.perf_counter() - begun)
    assert sorted(times)[len(times) // 4] < 0.03


def test_an_http_process_dies_and_the_other_goes_on(two: Gateway) -> None:
    victim, other = processes(two, "gateway.http.process")
    with load(two) as callers:
        os.kill(victim, signal.SIGKILL)
        answered = len(callers.latencies)
        eventually(lambda: len(callers.latencies) > answered + RATE // 2, what="answers by the other")
        again = eventually(lambda: processes(two, "gateway.http.process"), lambda now: len({*now} - {victim}) == 2)
    assert other in again
    # Lost is at most what was on its connections; nobody is refused, mistaken for another, or kept waiting.
    assert all(what.startswith("connection lost") for what in callers.failures), callers.failures
    assert callers.failed < RATE
    register(two, "iris")  # both know the table: the old version is released


def test_stopping_answers_what_was_accepted_and_waits_for_no_idle_connection(folder: Path, two: Gateway) -> None:
    fragile, code = code_model(folder, FRAGILE, name="slow")
    register(two, "slow", fragile, code=str(code))
    address = (two.http.base_url.host, two.http.base_url.port or 0)
    idle = [socket.create_connection(address) for _ in range(20)]
    with httpx.Client(base_url=str(two.url), trust_env=False) as keeping, ThreadPoolExecutor(12) as pool:
        assert keeping.get("/healthz").status_code == 200  # and keeps its connection
        slow = [pool.submit(two.score, "slow", [[700, 0.1, 0, 0.2]]) for _ in range(12)]
        eventually(lambda: any(each.done() for each in slow), what="the first answer")
        begun = time.monotonic()
        assert two.stop() == 0
        took = time.monotonic() - begun
        answers = [each.result() for each in slow]
    assert [answer.status_code for answer in answers] == [200] * 12
    assert all(answer.json() == {"predict": [0]} for answer in answers)
    assert took < 8
    for connection in idle:
        connection.close()


def test_a_killed_supervisor_leaves_nothing_and_the_next_start_is_clean(folder: Path) -> None:
    with serving(folder / "killed") as gateway:
        register(gateway, "iris")
        first, below = gateway.process.pid, descendants(gateway.process.pid)
        assert len(below) >= 3  # an HTTP process, a nursery, a child
        with load(gateway) as callers:
            gateway.process.kill()
            gateway.process.wait()
            eventually(lambda: [pid for pid in below if alive(pid)], lambda left: not left, "the end of all")
        assert callers.sent > 0
    with serving(folder / "killed", "--drain-s", "1") as gateway:
        gateway.wait_for("iris")
        assert gateway.score("iris", [SETOSA]).json() == {"predict": [0]}
        assert list(Path("/sys/fs/cgroup").glob(f"**/fitserve*-{first}-*")) == []
        stop_while_a_request_never_ends(gateway, folder)


def stop_while_a_request_never_ends(gateway: Gateway, folder: Path) -> None:
    fragile, code = code_model(folder, FRAGILE, name="endless")
    register(gateway, "endless", fragile, code=str(code))
    below = descendants(gateway.process.pid)
    with ThreadPoolExecutor(1) as pool:
        endless = pool.submit(_quietly, gateway, "endless", [[700, 600, 0, 0]])
        begun = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - begun < 8
        endless.result(10)
    assert [pid for pid in below if alive(pid)] == []


def _quietly(gateway: Gateway, model: str, data: object) -> None:
    with contextlib.suppress(httpx.TransportError):  # the gateway goes away, as it should
        httpx.post(f"{gateway.url}/models/{model}/score", json={"data": data}, timeout=60, trust_env=False)


# Many processes that are nobody's children, ignore what can be ignored, and outlive a request.
FERTILE = """\
import os, signal, time
if X[0, 0] == 671:
    for _ in range(60):
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            if X[0, 1]:
                os.setsid()
            if os.fork():
                os._exit(0)
            time.sleep(600)
            os._exit(0)
if X[0, 0] == 672:
    for number in range(1, 65):
        if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
            signal.signal(number, signal.SIG_IGN)
return np.zeros(len(X))
"""


@pytest.mark.parametrize("backend", ["cgroup1", "watchdog"])
def test_what_a_model_starts_does_not_outlive_it(folder: Path, backend: str) -> None:
    reason = {str(name): why for name, why in survey()}.get(backend, "unknown")
    if reason is not None:
        pytest.skip(f"{backend}: {reason}")
    with serving(folder / f"fertile-{backend}", env={"FITSERVE_LIMITS": backend}) as gateway:
        fertile, code = code_model(folder, FERTILE, name=f"fertile_{backend}")
        register(gateway, "fertile", fertile, code=str(code))
        for own_session in (0.0, 1.0):
            before = set(descendants(gateway.process.pid))
            (child,) = pids(gateway, "fertile")
            assert gateway.score("fertile", [[671.0, own_session, 0, 0]]).status_code == 200
            brood = eventually(
                lambda before=before: [pid for pid in descendants(gateway.process.pid) if pid not in before],  # type: ignore[misc]
                lambda found: len(found) >= 60,
                what="the brood",
            )
            os.kill(child, signal.SIGKILL)
            eventually(lambda brood=brood: [pid for pid in brood if comes_from_model(pid)], lambda left: not left)  # type: ignore[misc]
            assert gateway.score("fertile", [[0.0, 0, 0, 0]]).status_code == 200
        assert gateway.score("fertile", [[671.0, 1, 0, 0]]).status_code == 200
        assert gateway.score("fertile", [[672.0, 0, 0, 0]]).status_code == 200  # from now on deaf
        below = descendants(gateway.process.pid)
        begun = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - begun < 10
        assert [pid for pid in below if alive(pid)] == []


def comes_from_model(pid: int) -> bool:
    """It runs, and ignores SIGTERM, as only the brood does."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    ignored = int(next(line for line in status.splitlines() if line.startswith("SigIgn:")).split()[1], 16)
    return alive(pid) and bool(ignored >> (signal.SIGTERM - 1) & 1)
