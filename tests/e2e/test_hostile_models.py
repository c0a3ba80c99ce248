"""What a model sends that is no answer costs nobody but itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry import Model, Workspace
from tests.e2e.gateway import Gateway, serving
from tests.e2e.models import SETOSA, code_model, iris_svc
from tests.waiting import eventually

# Writes into its own scoring connection, past the child's server; well-behaved for golden rows.
HOSTILE = """
import os, socket, struct
word = {10.0: struct.pack("<IIQ", 16, 0, 1 << 40) + b'{"id": 1}'.ljust(16),
        11.0: struct.pack("<IIQ", (1 << 32) - 1, 0, 0),
        12.0: struct.pack("<IIQ", 10 ** 5, 0, 0) + b"[" * 10 ** 5,
        13.0: struct.pack("<IIQ", 16, 0, 0) + b"[" * 16}.get(float(np.asarray(X)[0, 0]))
if word is not None:
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            each = socket.socket(fileno=os.dup(fd))
            if each.getsockname().endswith(".sock"):  # not the control socket; the one that listens refuses
                each.setblocking(True)
                each.sendall(word)
        except (OSError, AttributeError, TypeError):
            pass
if np.asarray(X)[0, 0] == 20.0:
    return np.zeros((len(X), 3_000_000))
if np.asarray(X)[0, 0] == 21.0:
    return np.array(["a" * 2_000_000] * len(X), object)
return np.asarray(X)[:, 0]
"""


def resident_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("hostile")
    path, code = code_model(folder, HOSTILE, name="hostile")
    with Workspace.open(folder / "workspace") as workspace:
        Model.register(workspace, str(path), "hostile", code=code, show_output=False)
        Model.register(workspace, str(iris_svc(folder)), "iris", show_output=False)
    with serving(folder / "workspace", "--answer-limit-mb", "10") as gateway:
        for name in ("hostile", "iris"):
            gateway.wait_for(name)
        yield gateway


def http_process(gateway: Gateway) -> int:
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
    (pid,) = [pid for pid in children if b"gateway.http.process" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return int(pid)


@pytest.mark.parametrize("word", [10, 11, 12, 13])
def test_a_model_that_writes_into_its_wire_fails_alone(gateway: Gateway, word: int) -> None:
    pid = http_process(gateway)
    before = resident_mb(pid)
    answer = gateway.score("hostile", [[word, 1, 1, 1]])
    assert answer.status_code in {500, 503}, answer.text
    if word < 12:
        assert "larger than the 10 MB that are accepted of a model" in answer.json()["message"]
    assert gateway.score("iris", [SETOSA]).status_code == 200
    assert eventually(lambda: gateway.score("hostile", [[1, 1, 1, 1]]).json()) == {"predict": [1.0]}
    assert http_process(gateway) == pid
    assert resident_mb(pid) - before < 50


@pytest.mark.parametrize(("value", "size"), [(20, "24 MB"), (21, "2 MB")])
def test_an_answer_that_is_too_large_is_the_callers_to_mend(gateway: Gateway, value: int, size: str) -> None:
    answer = gateway.score("hostile", [[value, 1, 1, 1]])
    assert answer.status_code == 400
    assert f"the answer has {size}, more than the 10 MB that are accepted of a model; send fewer rows" in answer.text
    assert gateway.score("hostile", [[1, 1, 1, 1]]).json() == {"predict": [1.0]}
