"""`/metrics` tells what happened, whichever HTTP process is asked."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.dataplane.counters import Histogram, merged
from registry.model import Model
from registry.workspace import Workspace
from tests.e2e.gateway import Gateway, serving
from tests.e2e.models import SETOSA, iris_svc
from tests.waiting import eventually

ROW = [SETOSA] if not isinstance(SETOSA[0], list) else SETOSA


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("metrics")
    with Workspace.open(folder / "workspace") as workspace:
        Model.register(workspace, iris_svc(folder), "iris", show_output=False)
    with serving(folder / "workspace", "--http-processes", "2") as gateway:
        gateway.wait_for("iris")
        yield gateway


def samples(gateway: Gateway) -> dict[tuple[str, frozenset[Any]], float]:
    answer = gateway.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = list(text_string_to_metric_families(answer.text))
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def of(found: dict[tuple[str, frozenset[Any]], float], name: str, **labels: str) -> float:
    return found[name, frozenset({"model": "iris", **labels}.items())]


def test_requests_are_counted_by_status_over_all_processes(gateway: Gateway) -> None:
    for _ in range(20):
        assert gateway.score("iris", ROW).status_code == 200
    for _ in range(3):
        assert gateway.score("iris", [["a", 1, 1, 1]]).status_code == 400
    found = samples(gateway)
    assert of(found, "fitserve_requests_total", version="1", status="200") == 20
    assert of(found, "fitserve_requests_total", version="1", status="400") == 3
    assert of(found, "fitserve_batch_requests_count", version="1") <= 20
    assert of(found, "fitserve_batch_requests_sum", version="1") == 20
    assert of(found, "fitserve_compute_seconds_count", version="1") == of(
        found, "fitserve_queue_seconds_count", version="1"
    )
    assert 0 < of(found, "fitserve_compute_seconds_sum", version="1") < 20
    assert of(found, "fitserve_queue_requests") == 0
    assert (
        samples(gateway)[
            "fitserve_requests_total", frozenset({"model": "iris", "version": "1", "status": "200"}.items())
        ]
        == 20
    )


def test_processes_and_their_limits_are_told(gateway: Gateway) -> None:
    found = samples(gateway)
    assert of(found, "fitserve_version_state", version="1", state="live") == 1
    assert of(found, "fitserve_version_state", version="1", state="failed") == 0
    assert of(found, "fitserve_processes", version="1") == 1
    assert of(found, "fitserve_memory_limit_bytes", version="1") == 0.5 * 2**30
    assert of(found, "fitserve_cpu_seconds_total", version="1") >= 0


def test_deaths_are_counted_by_cause(gateway: Gateway) -> None:
    os.kill(gateway.status("iris")["pids"][0], signal.SIGKILL)
    key = ("fitserve_restarts_total", frozenset({"model": "iris", "version": "1", "cause": "signal 9"}.items()))
    assert eventually(lambda: samples(gateway).get(key)) == 1


def test_sums_go_deep() -> None:
    a, b = Histogram((1, 2)), Histogram((1, 2))
    for value in (1, 1.5, 9):
        a.add(value)
    b.add(2)
    total = merged([{"m": {"n": 1, "h": a.to_json()}}, {"m": {"n": 2, "h": b.to_json()}, "other": {"n": 5}}])
    assert total == {"m": {"n": 3, "h": [13.5, 1, 2, 1]}, "other": {"n": 5}}
