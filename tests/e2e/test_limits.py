"""Limits as callers and neighbours see them, with each back end that this machine has."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from registry.limits import survey
from tests.e2e.gateway import Gateway, fitserve, serving
from tests.e2e.models import SETOSA, code_model, iris_svc
from tests.waiting import eventually

WORKING = {name: reason for name, reason in survey() if name != "none"}

# Values of the first feature choose what the model does, so that recorded golden rows stay harmless.
HUNGRY = """\
if X[0, 0] == 666:
    kept = []
    while True:
        kept.append(np.ones(2**20))
return np.zeros(len(X))
"""
SPINNING = """\
import os, time
if X[0, 0] == 777:
    end = time.monotonic() + X[0, 1]
    if X[0, 2]:
        for _ in range(int(X[0, 2])):
            if os.fork() == 0:
                while time.monotonic() < end:
                    pass
                os._exit(0)
    while time.monotonic() < end:
        pass
return np.zeros(len(X))
"""


FORKING = """\
import os, time
if X[0, 0] == 888:
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(600)
return np.zeros(len(X))
"""


@pytest.fixture(scope="module", params=["cgroup2", "cgroup1", "watchdog"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    backend = request.param
    if WORKING.get(backend, "unknown") is not None:
        pytest.skip(f"{backend}: {WORKING.get(backend)}")
    folder = tmp_path_factory.mktemp(backend)
    with serving(folder / "ws", "--model-tasks", "40", env={"FITSERVE_LIMITS": backend}) as gateway:
        hungry, hungry_code = code_model(folder, HUNGRY, name="hungry")
        spinning, spinning_code = code_model(folder, SPINNING, name="spinning")
        forking, forking_code = code_model(folder, FORKING, name="forking")
        for name, file, more in (
            ("iris", iris_svc(folder), ()),
            ("forking", forking, ("--code", str(forking_code))),
            ("hungry", hungry, ("--code", str(hungry_code), "--memory", "0.3")),
            ("spinning", spinning, ("--code", str(spinning_code), "--cpu", "0.5")),
            ("pair", spinning, ("--code", str(spinning_code), "--cpu", "0.5", "--children", "2")),
        ):
            done = fitserve("register", str(file), "--name", name, *more, workspace=gateway.workspace)
            assert done.returncode == 0, done.stderr
        gateway.backend = backend  # type: ignore[attr-defined]
        yield gateway


def test_the_status_says_what_is_in_force(gateway: Gateway) -> None:
    limits = gateway.status("spinning")["limits"]
    assert limits["enforcement"] == gateway.backend  # type: ignore[attr-defined]
    assert limits["cpu"] == 0.5
    assert limits["memory_in_gb"] == 0.5


def test_a_hungry_model_dies_alone_and_its_caller_is_told_both_numbers(gateway: Gateway) -> None:
    """Lesson: limits."""
    stop, failures, answers = threading.Event(), [], 0

    def neighbour() -> None:
        nonlocal answers
        with httpx.Client(base_url=gateway.url, timeout=30, trust_env=False) as client:
            while not stop.is_set():
                answer = client.post("/models/iris/score", json={"data": [SETOSA]})
                if answer.status_code != 200 or answer.json() != {"predict": [0]}:
                    failures.append(answer.text)
                answers += 1

    thread = threading.Thread(target=neighbour)
    thread.start()
    before = gateway.status("hungry")
    try:
        answer = gateway.score("hungry", [[666.0, 0, 0, 0]])
    finally:
        stop.set()
        thread.join()
    assert answer.status_code == 503, answer.text
    assert "memory limit" in answer.json()["message"]
    assert "0.3 GB" in answer.json()["message"]
    assert "peak 0." in answer.json()["message"]
    assert failures == []
    assert answers > 0
    after = eventually(lambda: gateway.status("hungry"), lambda s: s.get("pids"), what="the restart")
    assert set(after["pids"]).isdisjoint(before["pids"])
    assert after["restarts"] > before["restarts"]
    assert gateway.score("hungry", [[1.0, 0, 0, 0]]).json() == {"predict": [0.0]}


@pytest.mark.parametrize("processes", [0, 3])
def test_a_spinning_model_uses_its_half_core_with_all_that_it_starts(gateway: Gateway, processes: int) -> None:
    used, seconds = spin(gateway, ["spinning"], processes)
    assert 0.1 < used / seconds < 0.6  # a busy machine gives less than the limit; benchmarks/limits.py is exact


def test_two_children_of_one_model_share_one_limit(gateway: Gateway) -> None:
    eventually(lambda: gateway.status("pair")["pids"], lambda pids: len(pids) == 2, what="the second child")
    used, seconds = spin(gateway, ["pair", "pair"], 0)
    assert 0.1 < used / seconds < 0.6  # a busy machine gives less than the limit; benchmarks/limits.py is exact


def spin(gateway: Gateway, models: list[str], processes: int) -> tuple[float, float]:
    """Keep the models busy; (CPU seconds, seconds) in a window inside that time, by the group's own account."""
    length = 4.0
    threads = [
        threading.Thread(target=gateway.score, args=(model, [[777.0, length, float(processes), 0]])) for model in models
    ]
    for thread in threads:
        thread.start()
    try:
        started = eventually(lambda: cpu(gateway, models[0]), lambda now: now > 0.2, what="the spinning")
        begin = time.monotonic()
        time.sleep(2.5)  # the window that is measured, not a wait for something
        return cpu(gateway, models[0]) - started, time.monotonic() - begin
    finally:
        for thread in threads:
            thread.join()


def cpu(gateway: Gateway, model: str) -> float:
    return float(gateway.status(model)["usage"]["cpu_seconds"])


def test_no_group_is_left_behind(tmp_path: Path) -> None:
    def groups(pid: int) -> list[Path]:
        return [path for path in Path("/sys/fs/cgroup").glob(f"**/fitserve*-{pid}-*") if path.is_dir()]

    with serving(tmp_path / "ws") as gateway:
        done = fitserve("register", str(iris_svc(tmp_path)), "--name", "iris", workspace=gateway.workspace)
        assert done.returncode == 0
        pid = gateway.process.pid
        if gateway.status("iris")["limits"]["enforcement"].startswith("cgroup"):
            assert groups(pid)
    assert groups(pid) == []


def test_who_forks_without_end_costs_nobody_else_an_answer(gateway: Gateway) -> None:
    gateway.wait_for("forking")
    gateway.wait_for("iris")
    failures, stop = [], threading.Event()

    def neighbour() -> None:
        while not stop.is_set():
            answer = gateway.score("iris", [SETOSA])
            if answer.status_code != 200:
                failures.append(answer.text)

    thread = threading.Thread(target=neighbour)
    thread.start()
    try:
        answer = gateway.score("forking", [[888, 0, 0, 0]])
    finally:
        stop.set()
        thread.join()
    assert answer.status_code in (500, 503), answer.text
    assert failures == []
    eventually(lambda: gateway.score("forking", [[1, 0, 0, 0]]), lambda a: a.status_code == 200)
