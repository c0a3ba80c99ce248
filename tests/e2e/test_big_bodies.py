"""Large bodies and answers through a real gateway: exact, whatever dies meanwhile, and nothing is left behind."""

import gzip
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import orjson
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from registry import Model, ResourceConfiguration, Workspace
from tests.e2e.gateway import Gateway, serving
from tests.waiting import eventually

X = np.random.default_rng(0).normal(size=(4_000, 20))
MODEL = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, np.where(X[:, 0] > 0, "yes", "no"))
WIDE = PolynomialFeatures(3).fit(X[:10])  # 1,771 columns
BODY = orjson.dumps({"data": X.tolist(), "method": "predict_proba"})  # 1.6 MB
ANSWER = {"predict_proba": MODEL.predict_proba(X).tolist()}
JSON = {"Content-Type": "application/json"}

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("big")
    joblib.dump(MODEL, folder / "big.joblib")
    joblib.dump(WIDE, folder / "wide.joblib")
    with serving(folder / "workspace") as gateway:
        with Workspace.open(gateway.workspace) as workspace:
            for name in ("big", "wide"):
                path = str(folder / f"{name}.joblib")
                Model.register(
                    workspace, path, name, resource_configuration=ResourceConfiguration(1, 1), show_output=False
                )
        for name in ("big", "wide"):
            gateway.wait_for(name)
        yield gateway


def ask(gateway: Gateway, body: bytes = BODY, **headers: str) -> httpx.Response:
    return gateway.http.post("/models/big/score", content=body, headers={**JSON, **headers})


def children_of(pid: int, word: str) -> list[int]:
    """Processes that `pid` started and that have `word` in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and word.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def http_process(gateway: Gateway) -> int:
    return children_of(gateway.process.pid, "gateway.http.process")[0]


def test_answers_are_exact_in_json_gzip_chunks_and_binary(gateway: Gateway) -> None:
    assert ask(gateway).json() == ANSWER
    assert ask(gateway, gzip.compress(BODY, 1), **{"Content-Encoding": "gzip"}).json() == ANSWER
    half = len(BODY) // 2
    chunked = gateway.http.post("/models/big/score", content=iter([BODY[:half], BODY[half:]]), headers=JSON)
    assert chunked.json() == ANSWER
    labels = gateway.http.post("/models/big/predict", content=BODY.replace(b"predict_proba", b"predict"), headers=JSON)
    assert labels.json() == {"predict": MODEL.predict(X).tolist()}
    for times in (1, 4):  # 0.6 MB is read in the loop, 2.6 MB is not
        rows = np.tile(X, (times, 1))
        spec = {"name": "x", "shape": list(rows.shape), "datatype": "FP64"}
        head = orjson.dumps(
            {
                "inputs": [{**spec, "parameters": {"binary_data_size": rows.nbytes}}],
                "outputs": [{"name": "predict_proba", "parameters": {"binary_data": True}}],
            }
        )
        length = {"Inference-Header-Content-Length": str(len(head))}
        answer = gateway.http.post("/v2/models/big/infer", content=head + rows.tobytes(), headers=length)
        start = int(answer.headers["inference-header-content-length"])
        assert answer.content[start:] == MODEL.predict_proba(rows).tobytes()


@pytest.mark.parametrize("query", ["", "?classes=1"])  # the second goes the way of any ASGI server
def test_a_large_answer_to_a_small_request_is_exact(gateway: Gateway, query: str) -> None:
    """Lesson: big JSON."""
    answer = gateway.http.post(f"/models/wide/transform{query}", json={"data": X[:60].tolist()})
    assert answer.json()["transform"] == WIDE.transform(X[:60]).tolist()
    assert len(answer.content) > 1_000_000


def test_a_bomb_is_refused_while_others_are_answered(gateway: Gateway) -> None:
    bomb = gzip.compress(b'{"data": ' + b" " * 80_000_000)
    with ThreadPoolExecutor(1) as beside:
        refused = beside.submit(ask, gateway, bomb, **{"Content-Encoding": "gzip"})
        assert gateway.http.post("/models/big/predict", json={"data": X[:1].tolist()}).status_code == 200
        assert refused.result().status_code == 413


def test_nobody_loses_an_answer_when_the_desk_or_the_child_dies(gateway: Gateway) -> None:
    done = threading.Event()

    def stream() -> list[Any]:
        wrong: list[Any] = []
        with httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as client:
            while not done.is_set():
                answer = client.post("/models/big/score", content=BODY, headers=JSON)
                if answer.status_code != 200 or answer.json() != ANSWER:
                    wrong.append((answer.status_code, answer.content[:200]))
        return wrong

    ask(gateway)
    http = http_process(gateway)
    with ThreadPoolExecutor(2) as pool:
        streams = [pool.submit(stream) for _ in range(2)]
        try:
            for _ in range(3):
                (desk,) = eventually(lambda: children_of(http, "gateway.http.offload"), what="a desk")
                os.kill(desk, signal.SIGKILL)
                child = eventually(lambda: gateway.status("big")["pids"], what="a child")[0]
                os.kill(child, signal.SIGKILL)
                killed = {desk, child}
                eventually(lambda: gateway.status("big")["pids"], killed.isdisjoint, what="another child")
                eventually(lambda: children_of(http, "gateway.http.offload"), killed.isdisjoint, what="another desk")
        finally:
            done.set()
        assert [each.result() for each in streams] == [[], []]
    gateway.wait_for("big")
    assert http_process(gateway) == http


def test_many_large_bodies_leave_no_files_and_no_memory_behind(gateway: Gateway) -> None:
    http = http_process(gateway)
    ask(gateway)

    def seen() -> tuple[int, int]:
        """Open files and resident bytes."""
        resident = int(Path(f"/proc/{http}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return len(os.listdir(f"/proc/{http}/fd")), resident

    def some(times: int) -> None:
        for _ in range(times):
            assert ask(gateway).status_code == 200
            assert ask(gateway, BODY[:-1]).status_code == 400
            assert ask(gateway, gzip.compress(BODY[:400_000], 1), **{"Content-Encoding": "gzip"}).status_code == 400
            with socket.create_connection((httpx.URL(gateway.url).host, httpx.URL(gateway.url).port or 80)) as gone:
                head = f"POST /models/big/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}"
                gone.sendall(head.encode() + b"\r\n\r\n" + BODY[:900_000])

    some(3)
    files, resident = seen()
    some(12)
    eventually(lambda: seen()[0], lambda count: count <= files, what="files closed")
    assert seen()[1] < resident + 32_000_000, "twelve times four bodies of 1.6 MB would be 77 MB"
