"""Who is measured: how each is installed in an environment of its own, started and asked. One entry a server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sklearn

from registry.model import Model
from registry.workspace import Workspace

APPS: Final = Path(__file__).parent / "apps"
ROWS = list[list[float]]
SAME: Final = [f"scikit-learn=={sklearn.__version__}", "joblib"]
START_S: Final = 120.0


@dataclass(frozen=True)
class Place:
    """Where one server lives: its environment's programs, the model, a scratch folder, a free port and the one after."""

    bin: Path
    model: Path
    folder: Path
    port: int


@dataclass(frozen=True)
class Server:
    """`start` gives the command; `prepare` runs before the clock of the cold start."""

    name: str
    start: Callable[[Place], list[str]]
    path: str
    packages: tuple[str, ...] = ()  # in an environment of its own; none: in ours
    key: str = "data"
    answer: Callable[[Any], Any] = lambda told: told["predict_proba"]
    prepare: Callable[[Place], list[str] | None] = lambda _: None
    scores: bool = True  # False: there are no answers to check

    def body(self, rows: ROWS) -> bytes:
        if self.key == "inputs of v2":
            data = [value for row in rows for value in row]
            tensor = {"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": data}
            return json.dumps({"inputs": [tensor], "outputs": [{"name": "predict_proba"}]}).encode()
        return json.dumps({self.key: rows}).encode()


def _uvicorn(app: str) -> Callable[[Place], list[str]]:
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    return lambda at: [str(at.bin / "uvicorn"), app, "--app-dir", str(APPS), "--port", str(at.port), *options]


def _registered(at: Place) -> None:
    with Workspace.open(at.folder / "workspace") as workspace:
        Model.register(workspace, at.model, "model", show_output=False)


def _fitserve(at: Place) -> list[str]:
    return [
        sys.executable,
        "-m",
        "gateway.cli",
        "--workspace",
        str(at.folder / "workspace"),
        "serve",
        "--port",
        str(at.port),
    ]


def _mlserver(at: Place) -> list[str]:
    ports = {"http_port": at.port, "grpc_port": at.port + 1, "metrics_port": at.port + 2}
    (at.folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", **ports}))
    model = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": str(at.model)}}
    (at.folder / "model-settings.json").write_text(json.dumps({**model, "max_batch_size": 32, "max_batch_time": 0.005}))
    return [str(at.bin / "mlserver"), "start", str(at.folder)]


def _v2_rows(told: Any) -> Any:
    output = told["outputs"][0]
    rows, width = output["shape"]
    return [output["data"][row * width : (row + 1) * width] for row in range(rows)]


OURS: Final = (
    Server("fitserve", _fitserve, "/models/model/score", prepare=_registered),
    Server("empty uvicorn app", _uvicorn("empty:app"), "/", scores=False),
    Server("FastAPI by hand", _uvicorn("fastapi_app:app"), "/predict", packages=("fastapi", "uvicorn[standard]")),
)
PEERS: Final = (
    Server(
        "Azure's server",
        lambda at: [str(at.bin / "azmlinfsrv"), "--entry_script", str(APPS / "azure_score.py"), "--port", str(at.port)],
        "/score",
        packages=("azureml-inference-server-http", "inference-schema"),
        answer=lambda told: told,
    ),
    Server(
        "MLflow",
        lambda at: [str(at.bin / "mlflow"), "models", "serve", "-m", str(at.folder / "saved"), "--env-manager", "local", "-p", str(at.port)],
        "/invocations",
        packages=("mlflow",),
        key="inputs",
        answer=lambda told: told["predictions"],
        prepare=lambda at: [str(at.bin / "python"), str(APPS / "mlflow_save.py"), str(at.folder / "saved")],
    ),
    # Its workers do not start under newer uvloops.
    Server("MLServer", _mlserver, "/v2/models/m/infer", ("mlserver", "mlserver-sklearn", "uvloop<0.22"), "inputs of v2", _v2_rows),
    Server(
        "BentoML",
        lambda at: [str(at.bin / "bentoml"), "serve", "bento_service:Served", "--working-dir", str(APPS), "-p", str(at.port), "--host", "127.0.0.1"],
        "/predict",
        packages=("bentoml",),
        answer=lambda told: told,
    ),
    Server("Ray Serve", lambda at: [str(at.bin / "python"), str(APPS / "ray_app.py"), str(at.port)], "/", packages=("ray[serve]",)),
    Server("LitServe", lambda at: [str(at.bin / "python"), str(APPS / "litserve_app.py"), str(at.port)], "/predict", packages=("litserve",)),
)  # fmt: skip


def environment(server: Server, root: Path) -> Path:
    """The folder of programs of its environment, made when it is not there yet."""
    if not server.packages:
        return Path(sys.executable).parent
    folder = root / server.name.replace(" ", "-").replace("'", "").lower()
    if not (folder / "ready").exists():
        print(f"installing {server.name}", file=sys.stderr, flush=True)
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, "--clear", str(folder)], check=True)
        target = ["--python", str(folder / "bin" / "python")]
        subprocess.run(["uv", "pip", "install", "--quiet", *target, *server.packages, *SAME], check=True)
        (folder / "ready").touch()
    return folder / "bin"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass(frozen=True)
class Running:
    server: Server
    port: int
    pid: int
    cold_start_s: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.server.path}"

    def ask(self, rows: ROWS) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url, self.server.body(rows), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return self.server.answer(json.load(answer))

    def processes(self) -> list[int]:
        """It and all that descend from it."""
        parents: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
        found, waiting = [], [self.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting += parents.get(pid, [])
        return found

    def cpu_seconds(self) -> float:
        ticks, total = os.sysconf("SC_CLK_TCK"), 0
        for pid in self.processes():
            fields = _read(pid, "stat").rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12]) if fields else 0
        return total / ticks

    def memory_mb(self) -> float:
        """Proportional: what processes share is divided among them."""
        lines = [line.split() for pid in self.processes() for line in _read(pid, "smaps_rollup").splitlines()]
        return sum(int(words[1]) for words in lines if words[0] == "Pss:") / 1024


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


@contextmanager
def running(server: Server, model: Path, environments: Path, folder: Path, rows: ROWS) -> Iterator[Running]:
    """Started and answering; everything of it ends with the block."""
    folder.mkdir(parents=True)
    at = Place(environment(server, environments), model, folder, free_port())
    environ: Mapping[str, str] = {**os.environ, "BENCH_MODEL": str(model)}
    before = server.prepare(at)
    if before is not None:
        subprocess.run(before, env=environ, check=True, cwd=folder)
    with (folder / "output").open("wb") as output:
        began = time.monotonic()
        options: dict[str, Any] = {"env": environ, "stdout": output, "stderr": output, "start_new_session": True}
        where = Path(__file__).parent.parent if server.name == "fitserve" else folder
        process = subprocess.Popen(server.start(at), cwd=where, **options)
        try:
            yield _answering(server, at.port, process, began, rows, folder / "output")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _answering(
    server: Server, port: int, process: subprocess.Popen[bytes], began: float, rows: ROWS, output: Path
) -> Running:
    while time.monotonic() < began + START_S:
        found = Running(server, port, process.pid, time.monotonic() - began)
        try:
            found.ask(rows[:1])
            return found
        except OSError:  # also what urllib raises for a status
            if process.poll() is not None:
                break
            time.sleep(0.01)
    raise RuntimeError(f"{server.name} does not answer; its output ends with:\n{output.read_text()[-2000:]}")
