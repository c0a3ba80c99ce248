"""Servers side by side: each gets the same model and the same rows, its answers are held against scikit-learn's before any time is taken, then comes a
closed loop by wrk, and an open loop at 1, 2 and 4 times what the closed loop reached.

The empty uvicorn app stays up all the time. Ours alternates with it, window by window, so that a busy moment of the machine meets both. Of the others
one runs at a time; how fast the empty app is at that time is noted beside it.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
from sklearn.datasets import load_iris, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks.load import BODIES, Closed, closed
from benchmarks.openloop import open_loop
from benchmarks.running import Running, environment, running, versions
from benchmarks.servers import EMPTY, FITSERVE, ROWS, Server

DEADLINE_S: Final = 1.0
PROOF_S: Final = 60.0
TIMES: Final = (1, 2, 4)
CONNECTIONS: Final = (1, 32, 64)
Data = tuple[Any, Any]


@dataclass(frozen=True)
class Task:
    """A model to serve, what it is fitted on, and the least share of the empty app's rate that it is to reach at 64 connections."""

    name: str
    make: Callable[[], Any]
    data: Callable[[], Data]
    share: float
    times: float | None = None  # as fast as the best serving peer at 32 connections

    def fitted(self) -> tuple[Any, ROWS]:
        X, y = self.data()
        rows = np.round(X[:: max(1, len(X) // BODIES)][:BODIES], 4)
        return self.make().fit(X, y), rows.tolist()


def _iris() -> Data:
    X, y = load_iris(return_X_y=True)
    return X, y


def _twenty_columns() -> Data:
    X, y = make_classification(5000, n_features=20, n_informative=12, random_state=0)
    return X, y


TASKS: Final = (
    Task("SVC", lambda: SVC(kernel="linear", probability=True, random_state=0), _iris, 0.70, 8),
    Task("scaler + logistic regression", lambda: make_pipeline(StandardScaler(), LogisticRegression()), _iris, 0.65),
    Task("forest of 100", lambda: RandomForestClassifier(100, random_state=0), _iris, 0.50, 15),
    Task("boosting", lambda: HistGradientBoostingClassifier(random_state=0), _twenty_columns, 0.30),
)


@dataclass(frozen=True)
class Plan:
    """How long and how often. `environments` is where those of the peers are kept."""

    windows: int
    seconds: float
    open_seconds: float  # 0: no open loop
    environments: Path


@dataclass
class Result:
    """What was seen of one server with one model; lists of closed loops hold one entry a window, by connections."""

    cold_start_s: float
    memory_mb: float
    path: str = ""  # how the model's answers are made, where the server says so
    closed: dict[int, list[Closed]] = field(default_factory=dict)
    empty: dict[int, list[Closed]] = field(default_factory=dict)  # the empty app at the same time
    open: list[dict[str, float]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


def measure(task: Task, servers: Sequence[Server], plan: Plan, folder: Path) -> dict[str, Any]:
    """Server → what was seen of it as JSON, or the reason why nothing was."""
    model, rows = task.fitted()
    path = folder / "model.joblib"
    joblib.dump(model, path)
    found: dict[str, Any] = {}
    with running(EMPTY, path, plan.environments, folder / "empty", rows) as empty:
        for number, server in enumerate(servers):
            try:
                with running(server, path, plan.environments, folder / f"{number}", rows) as each:
                    found[server.name] = asdict(_measured(each, empty, model, rows, plan, folder))
            except Exception as error:  # a peer that cannot be had here is left out aloud; ours may not be
                if server is FITSERVE:
                    raise
                print(f"{server.name} is left out: {error}", file=sys.stderr, flush=True)
                found[server.name] = {"left out": str(error).splitlines()[0]}
            else:
                _tell(task, server, found[server.name])
    return found


def _measured(server: Running, empty: Running, model: Any, rows: ROWS, plan: Plan, folder: Path) -> Result:
    ours = server.server is FITSERVE
    server.check(model, rows)
    result = Result(server.cold_start_s, server.memory_mb(), _path(server) if ours else "")
    if server.server.packages:
        result.versions = versions(server.server, environment(server.server, plan.environments))
    for each in (server, empty) if ours else (server,):
        for connections in CONNECTIONS if ours else CONNECTIONS[-1:]:
            closed(each, rows, connections, 1, folder)  # warm
    for _ in range(plan.windows):
        for connections in CONNECTIONS:
            if ours:
                result.empty.setdefault(connections, []).append(closed(empty, rows, connections, plan.seconds, folder))
            result.closed.setdefault(connections, []).append(closed(server, rows, connections, plan.seconds, folder))
    if not ours:
        result.empty[32] = [closed(empty, rows, 32, 1, folder)]
    if plan.open_seconds:
        capacity = statistics.median(each.rate for each in result.closed[max(CONNECTIONS)])
        result.open = [_open(server, rows, times * capacity, times, plan.open_seconds) for times in TIMES]
    return result


def _open(server: Running, rows: ROWS, rate: float, times: float, seconds: float) -> dict[str, float]:
    requests = [server.request(row, f"x-request-timeout-ms: {DEADLINE_S * 1000:g}") for row in rows]
    seen = open_loop(server.port, requests, rate, seconds, deadline_s=DEADLINE_S)
    return {
        "times": times,
        "asked": rate,
        "good": seen.good,
        "p50_ms": seen.p_ms(50),
        "p99_ms": seen.p_ms(99),
        "sent": seen.sent / seconds,
        "refused": seen.refused / seconds,
        "unsent": seen.unsent / seconds,
        "failed": seen.failed,
        "late_ms": seen.late_ms,
        "cpu": seen.cpu_s / seconds,
    }


def _path(server: Running) -> str:
    """What the status of the model says of the way to `predict_proba`, once the gateway has found out which ways are right."""
    ends = time.monotonic() + PROOF_S
    while (version := _version(server)).get("proving") and time.monotonic() < ends:
        time.sleep(0.05)
    return str(((version.get("scoring") or {}).get("predict_proba") or {}).get("path", "public"))


def _version(server: Running) -> dict[str, Any]:
    (version,) = server.get("/models/model")["versions"]
    return dict(version)


def _tell(task: Task, server: Server, result: dict[str, Any]) -> None:
    rates = ", ".join(
        f"{statistics.median(each['rate'] for each in seen):,.0f} at {connections}"
        for connections, seen in result["closed"].items()
    )
    print(f"{task.name}: {server.name}: {rates} requests/s", flush=True)


def run(tasks: Sequence[Task], servers: Sequence[Server], plan: Plan, folder: Path) -> dict[str, Any]:
    """Task → server → what was seen."""
    found = {}
    for task in tasks:
        place = folder / task.name
        place.mkdir()
        found[task.name] = measure(task, servers, plan, place)
    return found
