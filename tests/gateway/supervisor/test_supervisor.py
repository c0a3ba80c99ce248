"""The supervisor with everything real: a workspace, a gateway in a process of its own, children that are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from registry.model import Model
from registry.resources import ResourceConfiguration
from registry.workspace import Workspace
from tests.e2e.models import SETOSA, code_model, iris_probabilities, iris_svc
from tests.waiting import eventually

T = TypeVar("T")

# Runs a gateway and notes whether anything was ever unpickled in the supervisor.
PROGRAM = """\
import json, logging, sys
from pathlib import Path
unpickled = Path(sys.argv[3])
sys.addaudithook(lambda event, _: unpickled.write_text(event) if event == "pickle.find_class" else None)
logging.basicConfig(level="INFO", format="%(asctime)s %(levelname).1s %(message)s")
from gateway.settings import Settings
from gateway.supervisor.supervisor import serve
from registry.errors import FitserveError
from registry.workspace import Workspace
try:
    with Workspace.open(Path(sys.argv[1])) as workspace:
        code = serve(workspace, Settings(**json.loads(sys.argv[2])))
except FitserveError as error:
    print(f"refused: {error}")
    code = error.exit_code
sys.exit(code)
"""


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


class Gateway:
    """A running one, and the workspace that it serves."""

    def __init__(self, workspace: Workspace, process: subprocess.Popen[bytes], output: Path) -> None:
        self.workspace = workspace
        self.process = process
        self.output = output
        self.url = str(eventually(self._url))
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def _url(self) -> str | None:
        assert self.process.poll() is None, self.output.read_text()
        state = self.workspace.root / "gateway.json"
        if not state.exists():
            return None
        told = json.loads(state.read_text())
        return str(told["url"]) if told["pid"] == self.process.pid else None

    def register(self, name: str, path: Path, code: Path | None = None, **values: Any) -> Model:
        cpu, memory = values.pop("cpu", 1), values.pop("memory", 0.5)
        limits = ResourceConfiguration(cpu=cpu, memory_in_gb=memory)
        return Model.register(
            self.workspace,
            str(path),
            name,
            resource_configuration=limits,
            code=None if code is None else str(code),
            show_output=False,
            **values,
        )

    def status(self, name: str) -> dict[str, Any]:
        answer = self.http.get(f"/models/{name}")
        return dict(answer.json()) if answer.status_code == 200 else {}

    def version(self, name: str, number: int = 1) -> dict[str, Any]:
        return next((v for v in self.status(name).get("versions", ()) if v["version"] == number), {})

    def wait(self, name: str, number: int = 1, state: str = "live") -> dict[str, Any]:
        return eventually(lambda: self.version(name, number), lambda v: v.get("state") == state)

    def score(self, name: str, rows: Any = (SETOSA,), version: int | None = None) -> httpx.Response:
        path = f"/models/{name}/score" if version is None else f"/models/{name}/versions/{version}/score"
        return self.http.post(path, json={"data": list(rows)})

    def tree(self) -> list[int]:
        """Pids of everything below the supervisor."""
        told = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
        pairs = [tuple(map(int, line.split())) for line in told.stdout.splitlines()]
        found = {self.process.pid}
        while more := {pid for pid, parent in pairs if parent in found} - found:
            found |= more
        return sorted(found - {self.process.pid})

    def nursery(self) -> int:
        return next(pid for pid in self.tree() if "nursery.py" in Path(f"/proc/{pid}/cmdline").read_text())


@contextmanager
def serving(root: Path, env: Mapping[str, str] | None = None, **settings: Any) -> Iterator[Gateway]:
    with Workspace.open(root) as workspace:
        output = root.parent / f"{root.name}.log"
        arguments = [str(root), json.dumps({"port": 0, **settings}), str(root.parent / "unpickled")]
        environ = {key: value for key, value in os.environ.items() if not key.startswith("FITSERVE_")}
        with output.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environ | dict(env or {}),
            )
        try:
            gateway = Gateway(workspace, process, output)
            with gateway.http:
                yield gateway
        except BaseException:
            sys.stderr.write(output.read_text())
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            finally:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Shared by the tests that leave it as they found it; each uses models of its own."""
    folder = tmp_path_factory.mktemp("shared")
    with serving(folder / "ws") as gateway:
        yield gateway
    assert not (folder / "unpickled").exists()


class Load:
    """Requests one after the other from several threads, every answer kept."""

    def __init__(self, gateway: Gateway, name: str, threads: int = 4) -> None:
        self.answers: list[tuple[int, str]] = []
        self._rounds = [0] * threads
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(gateway.url, name, n)) for n in range(threads)]

    def _run(self, url: str, name: str, number: int) -> None:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            while not self._stop.is_set():
                answer = client.post(f"/models/{name}/score", json={"data": [SETOSA]})
                self.answers.append((answer.status_code, answer.text))
                self._rounds[number] += 1

    def turn(self) -> None:
        """Wait until no request is under way that was so before."""
        before = list(self._rounds)
        eventually(lambda: all(now > then for now, then in zip(self._rounds, before, strict=True)))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        eventually(lambda: len(self.answers) > 10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def bad(self) -> list[tuple[int, str]]:
        return [answer for answer in self.answers if answer[0] != 200]


# versions


def test_a_model_answers_while_the_gateway_runs_and_its_next_version_takes_over_without_a_loss(
    gateway: Gateway, tmp_path: Path
) -> None:
    gateway.register("swap", iris_svc(tmp_path))
    first = gateway.wait("swap")
    with Load(gateway, "swap") as load:
        gateway.register("swap", iris_probabilities(tmp_path))
        gateway.wait("swap", 2)
        eventually(lambda: load.answers[-1][1], lambda text: "predict_proba" in text)
        eventually(lambda: gateway.version("swap"), lambda v: v["state"] == "idle")
    assert load.bad == []
    assert gateway.status("swap")["live"] == 2
    assert not any(alive(pid) for pid in first["pids"])
    assert gateway.score("swap", version=1).json() == {"predict": [0]}  # on demand


def test_how_long_a_start_took_is_told(gateway: Gateway, tmp_path: Path) -> None:
    gateway.register("phases", iris_svc(tmp_path))
    phases = gateway.wait("phases")["start_ms"]
    assert {"seen", "prepare", "fork", "load", "golden", "published"} <= set(phases)
    assert sum(phases.values()) < 5000


def test_a_new_version_that_cannot_be_loaded_leaves_the_old_one_serving(gateway: Gateway, tmp_path: Path) -> None:
    """Lesson: reload."""
    gateway.register("broken", iris_svc(tmp_path))
    gateway.wait("broken")
    path, code = code_model(tmp_path, "return X", name="gone")
    (code / "gone_model.py").write_text("raise RuntimeError('this module cannot be imported')\n")
    gateway.register("broken", path, code)
    failed = gateway.wait("broken", 2, "failed")
    assert "this module cannot be imported" in failed["reason"]
    assert any("RuntimeError" in line for line in failed["log"])
    assert gateway.status("broken")["live"] == 1
    assert gateway.score("broken").json() == {"predict": [0]}
    answer = gateway.score("broken", version=2)
    assert answer.status_code == 503
    assert "version 2 is failed" in answer.json()["message"]


def test_a_deleted_version_gives_way_to_the_one_before_and_the_last_one_leaves_nothing(
    gateway: Gateway, tmp_path: Path
) -> None:
    gateway.register("deleted", iris_svc(tmp_path))
    gateway.wait("deleted")
    second = gateway.register("deleted", iris_probabilities(tmp_path))
    pids = gateway.wait("deleted", 2)["pids"]
    second.delete()
    eventually(lambda: gateway.status("deleted"), lambda s: s["latest"] == 1 and s["state"] == "live")
    assert gateway.score("deleted").json() == {"predict": [0]}
    assert gateway.score("deleted", version=2).status_code == 404
    eventually(lambda: not any(alive(pid) for pid in pids))
    pids = gateway.version("deleted")["pids"]
    Model(gateway.workspace, name="deleted").delete()
    eventually(lambda: gateway.score("deleted").status_code, lambda code: code == 404)
    eventually(lambda: not any(alive(pid) for pid in pids))


def test_a_version_that_does_not_run_keeps_no_log_open(gateway: Gateway, tmp_path: Path) -> None:
    def open_logs() -> set[str]:
        found = set()
        for link in Path(f"/proc/{gateway.process.pid}/fd").iterdir():
            with suppress(OSError):  # closed in the meantime
                found.add(Path(os.readlink(link)).name)
        return {name for name in found if name.startswith("talking-")}

    path, code = code_model(tmp_path, "print('asked', flush=True); return np.zeros(len(X))", name="talking")
    gateway.register("talking", path, code)
    gateway.wait("talking")
    eventually(open_logs, lambda names: names == {"talking-1.log"})
    gateway.register("talking", path, code)
    gateway.wait("talking", 2)
    eventually(open_logs, lambda names: names == {"talking-2.log"})
    assert gateway.version("talking", 1)["log"][-1] == "asked"
    assert gateway.score("talking", version=1).status_code == 200
    eventually(open_logs, lambda names: names == {"talking-1.log", "talking-2.log"})
    for number in (1, 2):
        Model(gateway.workspace, name="talking", version=number).delete()
    eventually(open_logs, lambda names: not names)


def test_tags_and_limits_change_without_a_lost_request(gateway: Gateway, tmp_path: Path) -> None:
    model = gateway.register("changing", iris_svc(tmp_path))
    gateway.wait("changing")
    with Load(gateway, "changing") as load:
        model.update(tags={"stage": "test"})
        eventually(lambda: gateway.status("changing"), lambda s: s["tags"] == {"stage": "test"})
        model.update(resource_configuration=ResourceConfiguration(cpu=2, memory_in_gb=0.75))
        told = eventually(
            lambda: gateway.version("changing"),
            lambda v: v["limits"]["memory_in_gb"] == 0.75 and len(v["pids"]) == 2,
        )
        model.update(resource_configuration=ResourceConfiguration(cpu=2, memory_in_gb=0.8))
        eventually(lambda: gateway.version("changing"), lambda v: v["limits"]["memory_in_gb"] == 0.8)
    assert load.bad == []
    assert told["limits"]["asked"] == {"cpu": 2.0, "memory_in_gb": 0.75}


# golden rows


def test_answers_are_recorded_at_the_first_load_and_right_at_each_later_one(gateway: Gateway, tmp_path: Path) -> None:
    gateway.register("golden", iris_probabilities(tmp_path))
    first = gateway.wait("golden")
    assert first["golden"]["recorded_in"]["python"] == first["facts"]["python"]
    assert first["golden"]["answers"] >= 3
    assert first["unverified"] is False
    assert first["answers"] == 0  # nobody asked
    eventually(lambda: gateway.workspace.metadata.get_model("golden").golden)
    os.kill(first["pids"][0], signal.SIGKILL)
    again = eventually(lambda: gateway.version("golden"), lambda v: v["state"] == "live" and v["pids"] != first["pids"])
    assert again["golden"]["answers"] == first["golden"]["answers"]
    assert again["golden"]["max_difference_ulp"] == 0


def test_a_model_that_answers_otherwise_than_recorded_is_refused_with_the_difference(
    gateway: Gateway, tmp_path: Path
) -> None:
    source = tmp_path / "answer"
    source.write_text("1.0")
    path, code = code_model(tmp_path, f"return np.full(len(X), float(open({str(source)!r}).read()))", name="drifting")
    gateway.register("drifting", path, code)
    pids = gateway.wait("drifting")["pids"]
    source.write_text("48.3")
    os.kill(pids[0], signal.SIGKILL)
    told = gateway.wait("drifting", 1, "failed")
    assert (
        "answers differently than recorded: predict, row 0: 48.3 is answered where 1.0 was recorded" in told["reason"]
    )
    assert "the largest difference, 47.3" in told["reason"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return np.random.rand(len(X))", "differently each time"),
        ("raise ValueError('not these')", "answers none of the rows"),
        ("import os; os._exit(5)", "died over the rows"),
    ],
)
def test_what_cannot_be_verified_is_live_and_says_why(gateway: Gateway, tmp_path: Path, body: str, why: str) -> None:
    name = f"unverified-{why.split(maxsplit=1)[0]}"
    path, code = code_model(tmp_path, body, name="odd")
    gateway.register(name, path, code)
    told = gateway.wait(name)
    assert told["unverified"] is True
    assert why in told["golden"]["unverified"]
    assert gateway.workspace.metadata.get_model(name).golden is None


def proved(gateway: Gateway, name: str) -> dict[str, Any]:
    """Its status when it is known how it may be asked, which is soon after it is live."""
    gateway.wait(name)
    return eventually(lambda: gateway.version(name), lambda told: told["proving"] is False)


def test_the_status_tells_which_way_answers_go_and_what_that_gained(gateway: Gateway, tmp_path: Path) -> None:
    gateway.register("ways", iris_svc(tmp_path))
    told = proved(gateway, "ways")
    assert told["scoring"]["predict"]["path"] == "libsvm"
    assert told["scoring"]["predict"]["gain"] > 1
    assert told["batching"] == {"on": True, "alone": {}}


def test_rows_of_a_model_that_looks_at_its_neighbours_travel_alone(gateway: Gateway, tmp_path: Path) -> None:
    path, code = code_model(tmp_path, "return np.asarray(X)[:, 0] / np.asarray(X)[:, 0].sum()", name="neighbours")
    gateway.register("neighbours", path, code)
    told = proved(gateway, "neighbours")
    assert told["scoring"] == {"predict": {"path": "public"}}
    assert told["batching"]["alone"]["predict"] > 4
    with ThreadPoolExecutor(16) as pool:
        url = "/models/neighbours/score"
        answers = pool.map(lambda _: gateway.http.post(url, json={"data": [[2.0, 1, 1, 1]]}).json(), range(200))
        assert list(answers) == [{"predict": [1.0]}] * 200


def test_an_environment_that_cannot_be_built_fails_its_version_alone(gateway: Gateway, tmp_path: Path) -> None:
    from registry.environment import Environment

    wanted = Environment("impossible")
    wanted.python.conda_dependencies.set_python_version("3.99")
    gateway.register("impossible", iris_svc(tmp_path), environment=wanted)
    gateway.register("beside", iris_svc(tmp_path))
    gateway.wait("beside")
    told = gateway.wait("impossible", 1, "failed")
    assert "3.99" in told["reason"]


# deaths


def test_killed_children_are_replaced_and_no_request_is_lost(gateway: Gateway, tmp_path: Path) -> None:
    gateway.register("killed", iris_svc(tmp_path), settings={"children": 2})
    pids = eventually(lambda: gateway.version("killed").get("pids", []), lambda pids: len(pids) == 2)
    with Load(gateway, "killed") as load:
        for pid in pids:  # two at once
            os.kill(pid, signal.SIGKILL)
        new = eventually(
            lambda: gateway.version("killed"), lambda v: len(v["pids"]) == 2 and not set(v["pids"]) & set(pids)
        )
        load.turn()  # who loses two processes in a row is told so: that is another test's matter
        os.kill(new["pids"][0], signal.SIGKILL)
        eventually(lambda: gateway.version("killed"), lambda v: v["restarts"] == 3 and len(v["pids"]) == 2)
    assert load.bad == []
    assert gateway.version("killed")["restarts_by_cause"] == {"signal 9": 3}
    assert gateway.version("killed")["state"] == "live"


def test_a_dead_nursery_takes_no_child_along_and_another_is_there_for_the_next_model(
    gateway: Gateway, tmp_path: Path
) -> None:
    gateway.register("orphan", iris_svc(tmp_path))
    pids = gateway.wait("orphan")["pids"]
    nursery = gateway.nursery()
    os.kill(nursery, signal.SIGKILL)
    eventually(lambda: not alive(nursery))
    gateway.register("orphan", iris_probabilities(tmp_path))
    gateway.wait("orphan", 2)
    assert gateway.nursery() != nursery
    gateway.register("second", iris_svc(tmp_path))
    gateway.wait("second")
    os.kill(gateway.nursery(), signal.SIGKILL)
    os.kill(gateway.wait("second")["pids"][0], signal.SIGKILL)  # both at once
    eventually(lambda: gateway.version("second"), lambda v: v["restarts"] == 1 and v["state"] == "live")
    assert gateway.score("second").json() == {"predict": [0]}
    assert not any(alive(pid) for pid in pids)  # ended by the swap


def test_a_model_that_passes_its_memory_limit_dies_alone_and_says_so(gateway: Gateway, tmp_path: Path) -> None:
    body = "if X[0, 0] == 666:\n    kept = []\n    while True:\n        kept.append(np.ones(2**20))\nreturn np.zeros(len(X))"
    path, code = code_model(tmp_path, body, name="hungry")
    gateway.register("hungry", path, code, memory=0.3)
    gateway.register("neighbour", iris_svc(tmp_path))
    before = gateway.wait("hungry")["pids"]
    neighbour = gateway.wait("neighbour")["pids"]
    with Load(gateway, "neighbour", threads=1) as load:
        answer = gateway.score("hungry", [[666.0, 0, 0, 0]])
    assert answer.status_code == 503
    assert "0.3 GB" in answer.json()["message"]
    assert "peak 0." in answer.json()["message"]
    assert load.bad == []
    told = eventually(lambda: gateway.version("hungry"), lambda v: v["state"] == "live" and v["pids"] != before)
    assert set(told["restarts_by_cause"]) == {"memory"}  # once; again where the verdict came too late for the caller
    assert gateway.version("neighbour")["pids"] == neighbour
    assert gateway.score("hungry", [[1.0, 0, 0, 0]]).status_code == 200


def test_a_version_that_always_dies_is_quarantined_until_it_is_mended(gateway: Gateway, tmp_path: Path) -> None:
    path, code = code_model(tmp_path, "return X", name="dying")
    source = (code / "dying_model.py").read_text()
    (code / "dying_model.py").write_text(f"import os\nprint('last words')\nos._exit(3)\n{source}")
    gateway.register("dying", path, code)
    told = gateway.wait("dying", 1, "quarantined")
    assert told["restarts_by_cause"] == {"exit 3": 5}
    assert "5 deaths in a row" in told["reason"]
    assert "last words" in told["log"]
    assert told["pids"] == []
    assert gateway.score("dying").status_code == 503
    gateway.register("dying", iris_svc(tmp_path))
    gateway.wait("dying", 2)
    assert gateway.score("dying").json() == {"predict": [0]}


def test_requests_that_kill_a_model_do_not_take_it_from_others(gateway: Gateway, tmp_path: Path) -> None:
    path, code = code_model(tmp_path, "if X[0, 0] == 666:\n    os._exit(3)\nreturn np.zeros(len(X))", name="touchy")
    source = (code / "touchy_model.py").read_text()
    (code / "touchy_model.py").write_text(f"import os\n{source}")
    gateway.register("touchy", path, code)
    gateway.wait("touchy")
    for _ in range(4):  # each is tried more than once: more deaths in a row than one that never answers may have
        assert gateway.score("touchy", [[666.0, 0, 0, 0]]).status_code == 503
    assert gateway.score("touchy", [[1.0, 0, 0, 0]]).status_code == 200
    told = gateway.version("touchy")
    assert told["state"] == "live"
    assert told["restarts_by_cause"]["exit 3"] >= 8


def test_running_out_of_memory_while_loading_is_a_failure_with_numbers_and_not_a_loop(
    gateway: Gateway, tmp_path: Path
) -> None:
    path, code = code_model(tmp_path, "return X", name="greedy")
    source = (code / "greedy_model.py").read_text()
    (code / "greedy_model.py").write_text(f"{source}\nkept = [np.ones(2**17) for _ in range(400)]\n")
    model = gateway.register("greedy", path, code, memory=0.2)
    told = gateway.wait("greedy", 1, "failed")
    assert "0.2 GB" in told["reason"]
    assert "ran out" in told["reason"]
    assert told["restarts"] == 1
    model.update(resource_configuration=ResourceConfiguration(memory_in_gb=0.8))
    gateway.wait("greedy", 1, "live")


def test_a_file_larger_than_the_limit_is_refused_without_a_start(gateway: Gateway, tmp_path: Path) -> None:
    path = iris_svc(tmp_path)
    with path.open("ab") as file:
        file.truncate(40 * 2**20)
    gateway.register("large", path, memory=0.02)
    told = gateway.wait("large", 1, "failed")
    assert "40 MiB" in told["reason"]
    assert "20.48 MiB" in told["reason"]
    assert told["restarts"] == 0
    assert "fork" not in told["start_ms"]


def test_a_model_that_prints_without_end_holds_up_nobody(gateway: Gateway, tmp_path: Path) -> None:
    body = "import os\nif X[0, 0] == 5.1:\n    while True: os.write(1, b'noise ' * 10000)\nreturn np.zeros(len(X))"
    path, code = code_model(tmp_path, body, name="noisy")
    gateway.register("noisy", path, code, settings={"max_compute_s": 3})
    gateway.register("quiet", iris_svc(tmp_path))
    gateway.wait("noisy")
    gateway.wait("quiet")
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(gateway.score("noisy")))
    thread.start()
    eventually(lambda: any("noise" in line for line in gateway.version("noisy")["log"]))
    gateway.register("quiet", iris_probabilities(tmp_path))
    gateway.wait("quiet", 2)
    assert thread.is_alive()
    thread.join()
    assert answers[0].status_code == 504
    told = eventually(lambda: gateway.version("noisy"), lambda v: v["restarts"] and v["state"] == "live")
    assert told["restarts_by_cause"] == {"stuck": 1}
    sizes = [file.stat().st_size for file in (gateway.workspace.root / "logs").glob("noisy-1.log*")]
    assert sum(sizes) < 21 * 2**20


def test_changed_bytes_are_never_loaded(gateway: Gateway, tmp_path: Path) -> None:
    model = gateway.register("changed", iris_svc(tmp_path, C=1.5))
    pids = gateway.wait("changed")["pids"]
    stored = gateway.workspace.artifacts.local_path(gateway.workspace.metadata.get_model("changed").artifact.digest)
    stored.chmod(0o600)
    stored.write_bytes(stored.read_bytes() + b"\n")
    os.kill(pids[0], signal.SIGKILL)
    told = gateway.wait("changed", model.version, "failed")
    assert "changed on disk" in told["reason"]
    assert gateway.score("changed").status_code == 503


# memory is promised


def test_more_than_the_machine_has_is_refused_with_numbers(gateway: Gateway, tmp_path: Path) -> None:
    gateway.register("huge", iris_svc(tmp_path), memory=9000)
    told = gateway.wait("huge", 1, "failed")
    assert "asks for 9000 GB of memory" in told["reason"]


def test_the_least_recently_used_makes_room_for_what_is_asked_for(tmp_path: Path) -> None:
    half = third_of_machine() * 1.4
    with serving(tmp_path / "ws") as gateway:
        for name in ("one", "two"):
            gateway.register(name, iris_svc(tmp_path), memory=half)
            gateway.wait(name)
        gateway.register("three", iris_svc(tmp_path), memory=half)
        parked = gateway.wait("three", 1, "idle")
        assert eventually(lambda: gateway.version("three")["reason"], bool)
        assert parked["pids"] == []
        assert gateway.score("two").status_code == 200
        eventually(lambda: gateway.version("two")["answers"])
        assert gateway.score("three").status_code == 200
        assert gateway.version("one")["state"] == "idle"
        assert gateway.version("two")["state"] == "live"


@pytest.mark.parametrize("swap", ["together", "stop-first"])
def test_two_versions_that_do_not_fit_together(tmp_path: Path, swap: str) -> None:
    most = third_of_machine() * 2
    with serving(tmp_path / "ws", swap=swap) as gateway:
        gateway.register("big", iris_svc(tmp_path), memory=most)
        gateway.wait("big")
        with Load(gateway, "big") as load:
            gateway.register("big", iris_probabilities(tmp_path), memory=most)
            if swap == "together":
                told = gateway.wait("big", 2, "failed")
                assert f"asks for {most:g} GB" in told["reason"]
            else:
                gateway.wait("big", 2, "live")
                eventually(lambda: load.answers[-1][1], lambda text: "predict_proba" in text)
        assert load.bad == []
        assert gateway.status("big")["live"] == (1 if swap == "together" else 2)


def third_of_machine() -> int:
    from registry.limits import machine_memory_bytes

    return machine_memory_bytes() // 2**30 // 3


def test_models_start_at_first_use_and_stop_when_nobody_asks(tmp_path: Path) -> None:
    """Lesson: memory of many models."""
    with serving(tmp_path / "ws", start="first-use", idle_s=2) as gateway:
        gateway.register("lazy", iris_svc(tmp_path))
        assert gateway.wait("lazy", 1, "idle")["pids"] == []
        assert gateway.score("lazy").json() == {"predict": [0]}
        pids = gateway.wait("lazy", 1, "live")["pids"]
        assert gateway.wait("lazy", 1, "idle")["pids"] == []
        assert not any(alive(pid) for pid in pids)
        assert gateway.score("lazy").json() == {"predict": [0]}


# the gateway as a whole

SLOW = "import time\nif X[0, 0] == 5.1: time.sleep({})\nreturn np.zeros(len(X))"


def test_swaps_are_lossless_with_several_http_processes_one_of_which_dies(tmp_path: Path) -> None:
    with serving(tmp_path / "ws", http_processes=2) as gateway:
        gateway.register("iris", iris_svc(tmp_path))
        gateway.wait("iris")
        with Load(gateway, "iris", threads=6) as load:
            for number in range(2, 6):
                gateway.register("iris", iris_svc(tmp_path) if number % 2 else iris_probabilities(tmp_path))
                gateway.wait("iris", number)
                gateway.wait("iris", number - 1, "idle")
        assert load.bad == []
        victim = next(pid for pid in gateway.tree() if "gateway.http" in Path(f"/proc/{pid}/cmdline").read_text())
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: not alive(victim))
        gateway.register("iris", iris_svc(tmp_path))
        eventually(lambda: told(gateway, "iris", 6))
        assert eventually(lambda: http_pids(gateway), lambda pids: len(pids) == 2 and victim not in pids)


def told(gateway: Gateway, name: str, number: int) -> bool:
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        try:
            return bool(client.get(f"/models/{name}").json()["live"] == number)
        except (httpx.TransportError, KeyError):
            return False


def http_pids(gateway: Gateway) -> list[int]:
    return [pid for pid in gateway.tree() if "gateway.http.process" in Path(f"/proc/{pid}/cmdline").read_text()]


def test_a_killed_supervisor_leaves_no_process_and_the_next_one_starts_clean(tmp_path: Path) -> None:
    with serving(tmp_path / "ws") as gateway:
        gateway.register("iris", iris_svc(tmp_path))
        gateway.wait("iris")
        tree = gateway.tree()
        assert len(tree) >= 3
        gateway.process.kill()
        eventually(lambda: [pid for pid in tree if alive(pid)], lambda left: not left)
    with serving(tmp_path / "ws") as gateway:
        gateway.wait("iris")
        assert gateway.score("iris").json() == {"predict": [0]}
        tree = gateway.tree()
    assert not any(alive(pid) for pid in tree)
    assert not (tmp_path / "ws" / "gateway.json").exists()


def test_stopping_answers_what_was_accepted(tmp_path: Path) -> None:
    path, code = code_model(tmp_path, SLOW.format(1), name="slow")
    with serving(tmp_path / "ws") as gateway:
        gateway.register("slow", path, code)
        gateway.wait("slow")
        answers: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: answers.append(gateway.score("slow")))
        thread.start()
        time.sleep(0.3)  # the request is on its way; there is nothing to ask for that
        gateway.process.send_signal(signal.SIGTERM)
        thread.join()
        assert [answer.status_code for answer in answers] == [200]
        assert gateway.process.wait(10) == 0


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    path, code = code_model(tmp_path, SLOW.format(30), name="slow")
    with serving(tmp_path / "ws", drain_s=25) as gateway:
        gateway.register("slow", path, code)
        pids = gateway.wait("slow")["pids"]

        def ask() -> None:
            with pytest.raises(httpx.TransportError):
                gateway.score("slow")

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.3)  # as above
        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: "stopping" in gateway.output.read_text())
        began = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(10)
        assert time.monotonic() - began < 5
        thread.join()
        assert not any(alive(pid) for pid in pids)


def test_a_second_gateway_and_a_port_in_use_are_refused_in_one_line(gateway: Gateway, tmp_path: Path) -> None:
    def refused(root: Path, settings: dict[str, Any]) -> str:
        arguments = [str(root), json.dumps(settings), str(tmp_path / "unpickled")]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 3, done.stderr
        return done.stdout

    assert f"at {gateway.url}" in refused(gateway.workspace.root, {"port": 0})
    port = int(gateway.url.rpartition(":")[2])
    assert f"port {port} on 127.0.0.1 is in use" in refused(tmp_path / "other", {"port": port})


def test_an_http_process_that_cannot_start_ends_the_gateway(tmp_path: Path) -> None:
    program = PROGRAM.replace("loads(sys.argv[2])))", "loads(sys.argv[2])), http_command=['false'])")
    arguments = [str(tmp_path / "ws"), '{"port": 0}', str(tmp_path / "unpickled")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "refused: the HTTP process exited with code 1 before it accepted a connection" in done.stdout
