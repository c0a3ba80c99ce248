"""The image as its users run it."""

import json
import secrets
import threading
import time
from pathlib import Path

import pytest

from registry.limits import machine_cores
from tests.container.engine import Container, engine, running
from tests.e2e.models import SETOSA, code_model, iris_svc
from tests.e2e.test_limits import HUNGRY
from tests.waiting import eventually

#: The container's own group may be divided by the user that owns it, who is root inside; as docs/container.md shows.
WRITABLE_CGROUP = (
    ("--user", "0", "--cgroupns", "private", "--security-opt", "unmask=/sys/fs/cgroup")
    if Path("/sys/fs/cgroup/cgroup.controllers").exists()
    else ("--user", "0", "--cgroupns", "host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw")
)


def test_the_main_job_runs_inside(served: Container) -> None:
    assert "registered iris:1: 1 core, 0.5 GB" in served.log
    with served.client() as client:
        assert client.post("/models/iris/score", json={"data": [SETOSA]}).json() == {"predict": [0]}
        assert client.get("/models", headers={"authorization": "Bearer wrong"}).status_code == 401
        limits = client.get("/models/iris").json()["limits"]
        assert (limits["enforcement"] != "none", limits["memory_in_gb"]) == (True, 0.5)
    assert json.loads(served.exec("fitserve", "score", "iris", json.dumps([SETOSA]))) == {"predict": [0]}
    assert served.exec("fitserve", "healthcheck").strip() == "healthy"


def test_it_is_nobody_and_can_write_only_its_volume(served: Container) -> None:
    assert "uid=10001(fitserve) gid=0(root)" in served.exec("id")
    writable = served.exec(
        "sh", "-c", "for d in / /opt/fitserve /fitserve /usr /workspace; do test -w $d && echo $d; done; true"
    )
    assert writable.split() == ["/workspace"]
    tools = served.exec("sh", "-c", "for t in gcc cc make git; do command -v $t; done; true")
    assert tools == ""


def test_the_containers_own_limits_are_read(served: Container) -> None:
    machine = json.loads(served.exec("fitserve", "doctor", "--json"))
    assert machine["machine"]["memory_gb"] == 2
    assert machine["machine"]["cores"] == min(1.5, machine_cores())
    assert machine["limits"]["in_force"] != "none"


def test_more_than_the_container_holds_is_not_promised(image: str, tmp_path: Path) -> None:
    model = iris_svc(tmp_path)
    tmp_path.chmod(0o755)
    flags = ("-v", f"{tmp_path}:/models:ro", "--memory", "1g", "-e", "FITSERVE_KEY=0123456789")
    with running(image, flags=flags) as container:
        container.wait_until_ready()
        for name, memory in (("small", "0.3"), ("large", "0.6")):
            command = ("fitserve", "register", f"/models/{model.name}", "--name", name, "--memory", memory)
            container.exec("sh", "-c", " ".join(command) + " || true")
        with container.client("0123456789") as client:
            refused = eventually(
                lambda: client.get("/models/large").json(), lambda e: "0.50 GB" in str(e) or "promised" in str(e)
            )
            assert "asks for 0.6 GB of memory" in str(refused)
            assert client.post("/models/small/score", json={"data": [SETOSA]}).status_code == 200


@pytest.mark.parametrize("writable", [(), WRITABLE_CGROUP], ids=["default", "writable-cgroup"])
def test_a_hungry_model_dies_alone(image: str, tmp_path: Path, writable: tuple[str, ...]) -> None:
    hungry, _ = code_model(tmp_path, HUNGRY, name="hungry")
    iris = iris_svc(tmp_path)
    tmp_path.chmod(0o755)
    flags = ("-v", f"{tmp_path}:/models:ro", "--memory", "3g", "-e", "FITSERVE_KEY=0123456789", *writable)
    with running(image, flags=flags) as container:
        container.wait_until_ready()
        facts = json.loads(container.exec("fitserve", "doctor", "--json"))
        assert facts["machine"]["memory_gb"] == 3
        if writable and not facts["limits"]["in_force"].startswith("cgroup"):
            pytest.skip(f"this engine gives no writable cgroup: {facts['limits']['back_ends']}")
        more = ("--code", "/models/hungry-code", "--memory", "0.3")
        container.exec("fitserve", "register", f"/models/{iris.name}", "--name", "iris")
        container.exec("fitserve", "register", f"/models/{hungry.name}", "--name", "hungry", *more)
        failures, answers, stop = [], 0, threading.Event()

        def neighbour() -> None:
            nonlocal answers
            with container.client("0123456789") as client:
                while not stop.is_set():
                    answer = client.post("/models/iris/score", json={"data": [SETOSA]})
                    if answer.status_code != 200:
                        failures.append(answer.text)
                    answers += 1

        thread = threading.Thread(target=neighbour)
        thread.start()
        with container.client("0123456789") as client:
            died = client.post("/models/hungry/score", json={"data": [[666, 0, 0, 0]]})
            stop.set()
            thread.join()
            assert died.status_code >= 500, died.text
            assert "0.3 GB" in died.text
            well = eventually(
                lambda: client.post("/models/hungry/score", json={"data": [[1, 0, 0, 0]]}),
                lambda a: a.status_code == 200,
            )
            assert well.json() == {"predict": [0.0]}
            held = client.get("/models/hungry").json()["limits"]["enforcement"]
            assert held == facts["limits"]["in_force"]
        print(
            f"\n{held}: answers of the neighbour meanwhile: {answers}, failed: {len(failures)}; the caller: {died.text[:200]}"
        )
        assert (failures, answers > 0) == ([], True)
        assert container.state["Running"]


def test_a_stopped_container_has_drained_and_its_volume_goes_on(image: str) -> None:
    volume = f"fitserve-test-{secrets.token_hex(4)}"
    flags = ("-v", f"{volume}:/workspace", "--read-only")
    try:
        with running(image, "up", "examples/train_iris.py", flags=flags) as container:
            first = container.wait_for_line("serving in the foreground", 180)
            key = container.key
            took, code = container.stop(10)
            assert (code, took < 10) == (0, True), container.log
        with running(image, flags=flags) as container:
            ready = container.wait_until_ready()
            assert "key (shown" not in container.log
            with container.client(key) as client:
                assert client.post("/models/iris/score", json={"data": [SETOSA]}).json() == {"predict": [0]}
        print(f"\nup until the first answer: {first:.1f} s; stop: {took:.1f} s; serve until ready: {ready:.1f} s")
    finally:
        engine("volume", "rm", "-f", volume)


def test_a_stop_while_training_is_not_waited_for(image: str) -> None:
    script = "import time, sys; print('training', flush=True); time.sleep(600)"
    command = f"printf '%s' \"{script}\" > /tmp/train.py && exec fitserve up /tmp/train.py"
    with running(image, "-c", command, flags=("--entrypoint", "/bin/sh")) as container:
        container.wait_for_line("training", 60)
        began = time.monotonic()
        took, code = container.stop(20)
        assert code != 137, container.log
        assert took < 15
        assert time.monotonic() - began < 20
