"""Models that are unloaded and loaded again over HTTP, in a real gateway."""

import threading
from pathlib import Path
from typing import Any

import httpx
import joblib
from sklearn.linear_model import LinearRegression

from registry.model import Model
from registry.workspace import Workspace
from tests.e2e.gateway import serving
from tests.waiting import eventually

REPOSITORY = "/v2/repository/models/line"
ROW = {"data": [[2.0]]}


def register(workspace: Path, file: Path) -> None:
    with Workspace.open(workspace) as opened:
        Model.register(opened, file, "line", show_output=False)


def test_what_was_accepted_is_answered_then_nothing_runs_until_it_is_loaded(tmp_path: Path) -> None:
    workspace, file = tmp_path / "ws", tmp_path / "line.joblib"
    joblib.dump(LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0]), file)
    register(workspace, file)
    with serving(workspace) as gateway:
        gateway.wait_for("line")
        answers: list[httpx.Response] = []
        asking = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=gateway.url, trust_env=False) as http:
                while not answers or answers[-1].status_code == 200:
                    answers.append(http.post("/score", json=ROW))
                    asking.set()

        caller = threading.Thread(target=ask)
        caller.start()
        assert asking.wait(20)
        (process,) = gateway.status("line")["pids"]
        assert gateway.http.post(f"{REPOSITORY}/unload").status_code == 200
        caller.join(20)
        assert [answer.status_code for answer in answers[:-1]] == [200] * (len(answers) - 1)
        assert (answers[-1].status_code, "unloaded" in answers[-1].text) == (404, True)
        assert not Path(f"/proc/{process}").exists()
        assert gateway.http.post("/models/line/versions/1/score", json=ROW).status_code == 404
        assert gateway.http.get("/readyz").status_code == 200
        assert gateway.version("line", 1)["state"] == "unloaded"

        assert gateway.http.post(f"{REPOSITORY}/load").status_code == 200
        assert gateway.http.post("/score", json=ROW).json() == {"predict": [2.0]}

        assert gateway.http.post(f"{REPOSITORY}/unload").status_code == 200
        register(workspace, file)  # whoever registers wants it to answer

        def answered() -> Any:
            return gateway.http.post("/score", json=ROW).status_code == 200

        assert eventually(answered, what="the new version's answer")
        assert gateway.version("line", 1)["state"] == "idle"
