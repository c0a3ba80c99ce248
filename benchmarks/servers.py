"""Who is measured: how each server is installed in an environment of its own, prepared, started and asked. One entry a server; where it has a switch
for workers or for batching, a second entry has it on. All run under the Python and with the scikit-learn of the one who measures.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sklearn

from registry.sdk.model import Model
from registry.sdk.workspace import Workspace

APPS: Final = Path(__file__).parent / "apps"
ROWS = list[list[float]]
SAME: Final = (f"scikit-learn=={sklearn.__version__}", "joblib")


@dataclass(frozen=True)
class Place:
    """Where one server lives: its environment's programs, the model, a scratch folder, and the first of three free ports."""

    bin: Path
    model: Path
    folder: Path
    port: int


@dataclass(frozen=True)
class Server:
    """`start` gives the command; `prepare` runs before the clock of the cold start; `answer` finds the probabilities in what it tells."""

    name: str
    start: Callable[[Place], list[str]]
    path: str
    packages: tuple[str, ...] = ()  # of its environment; none: ours
    key: str = "data"
    answer: Callable[[Any], Any] = lambda told: told["predict_proba"]
    prepare: Callable[[Place], list[str] | None] = lambda _: None
    serving: bool = True  # False: written by hand, so no serving peer
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


def _app(name: str, *arguments: str) -> Callable[[Place], list[str]]:
    return lambda at: [str(at.bin / "python"), str(APPS / name), str(at.port), *arguments]


def _registered(at: Place) -> None:
    with Workspace.open(at.folder / "workspace") as workspace:
        Model.register(workspace, str(at.model), "model", show_output=False)


def _fitserve(at: Place) -> list[str]:
    command = [sys.executable, "-m", "gateway.cli", "--workspace", str(at.folder / "workspace")]
    return [*command, "serve", "--port", str(at.port)]


def _azure(at: Place) -> list[str]:
    options = ["--entry_script", str(APPS / "azure_score.py"), "--port", str(at.port)]
    return [str(at.bin / "azmlinfsrv"), *options]


def _mlflow(at: Place) -> list[str]:
    options = ["-m", str(at.folder / "saved"), "--env-manager", "local", "-p", str(at.port)]
    return [str(at.bin / "mlflow"), "models", "serve", *options]


def _saved(at: Place) -> list[str]:
    return [str(at.bin / "python"), str(APPS / "mlflow_save.py"), str(at.folder / "saved")]


def _mlserver(**batching: float) -> Callable[[Place], list[str]]:
    def start(at: Place) -> list[str]:
        ports = {"http_port": at.port, "grpc_port": at.port + 1, "metrics_port": at.port + 2}
        (at.folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", **ports}))
        model = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": str(at.model)}}
        (at.folder / "model-settings.json").write_text(json.dumps({**model, **batching}))
        return [str(at.bin / "mlserver"), "start", str(at.folder)]

    return start


def _bento(service: str) -> Callable[[Place], list[str]]:
    def start(at: Place) -> list[str]:
        options = ["--working-dir", str(APPS), "-p", str(at.port), "--host", "127.0.0.1"]
        return [str(at.bin / "bentoml"), "serve", f"bento_service:{service}", *options]

    return start


def _workers(start: Callable[[Place], list[str]], *options: str, variable: str = "") -> Callable[[Place], list[str]]:
    """The same with more words, or with a variable set by env(1)."""
    return lambda at: [*(["env", variable] if variable else []), *start(at), *options]


def _v2_rows(told: Any) -> Any:
    output = told["outputs"][0]
    rows, width = output["shape"]
    return [output["data"][row * width : (row + 1) * width] for row in range(rows)]


def _itself(told: Any) -> Any:
    return told


FITSERVE: Final = Server("fitserve", _fitserve, "/models/model/score", prepare=_registered)
EMPTY: Final = Server("empty uvicorn app", _uvicorn("empty:app"), "/", serving=False, scores=False)

_FASTAPI: Final = ("fastapi", "uvicorn[standard]")
_AZURE: Final = ("azureml-inference-server-http", "inference-schema")
# Its workers do not start under newer uvloops ("no current event loop").
_MLSERVER: Final = ("mlserver", "mlserver-sklearn", "uvloop<0.22")
_V2: Final = ("/v2/models/m/infer", _MLSERVER, "inputs of v2", _v2_rows)
_BATCHES: Final = {"max_batch_size": 32, "max_batch_time": 0.005}

PEERS: Final = (
    Server("FastAPI by hand, def", _uvicorn("fastapi_app:app"), "/predict", _FASTAPI, serving=False),
    Server("FastAPI by hand, async", _uvicorn("fastapi_app:app"), "/predict_async", _FASTAPI, serving=False),
    Server("Azure", _azure, "/score", _AZURE, answer=_itself),
    Server("Azure, 2 workers", _workers(_azure, variable="WORKER_COUNT=2"), "/score", _AZURE, answer=_itself),
    Server("MLflow", _mlflow, "/invocations", ("mlflow",), "inputs", lambda told: told["predictions"], _saved),
    Server(
        "MLflow, 2 workers",
        _workers(_mlflow, "-w", "2"),
        "/invocations",
        ("mlflow",),
        "inputs",
        lambda told: told["predictions"],
        _saved,
    ),
    Server("MLServer", _mlserver(), *_V2),
    Server("MLServer, batching", _mlserver(**_BATCHES), *_V2),
    Server("BentoML", _bento("Plain"), "/predict", ("bentoml",), answer=_itself),
    Server("BentoML, batching", _bento("Batched"), "/predict", ("bentoml",), answer=_itself),
    Server("Ray Serve", _app("ray_app.py", "Plain"), "/", ("ray[serve]",)),
    Server("Ray Serve, batching", _app("ray_app.py", "Batched"), "/", ("ray[serve]",)),
    Server("LitServe", _app("litserve_app.py", "Plain"), "/predict", ("litserve",)),
    Server("LitServe, batching", _app("litserve_app.py", "Batched"), "/predict", ("litserve",)),
    Server(
        "KServe",
        _app("kserve_app.py"),
        "/v1/models/m:predict",
        ("kserve",),
        "instances",
        lambda told: told["predictions"],
    ),
)
