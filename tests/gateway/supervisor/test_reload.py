"""SIGHUP: settings and keys are read again, nothing is stopped, and no request is lost."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry.sdk.model import Model
from registry.sdk.workspace import Workspace
from tests.e2e.models import SETOSA, iris_svc
from tests.waiting import eventually

FIRST, SECOND = "the-first-key", "the-second-key"


class Served:
    """A gateway of the command line, with a settings file and a key file."""

    def __init__(self, root: Path) -> None:
        self.root, self.log = root, root.parent / "gateway.log"
        self.key = root.parent / "key"
        self.key.write_text(FIRST)
        self.settings()
        environ = {name: value for name, value in os.environ.items() if not name.startswith("FITSERVE_")}
        command = [sys.executable, "-P", "-m", "gateway.cli", "--workspace", str(root), "serve", "--port", "0"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        state = root / "gateway.json"
        eventually(lambda: state.exists() or self.process.poll() is not None, timeout=60)
        self.url = str(json.loads(state.read_text())["url"])

    def settings(self, **values: Any) -> None:
        lines = [f"{name} = {json.dumps(value)}" for name, value in {"key_file": str(self.key), **values}.items()]
        (self.root / "settings.toml").write_text("\n".join(lines))

    def hang_up(self) -> str:
        """Send SIGHUP; gives what the gateway logged about it."""
        before = len(self.log.read_text())
        self.process.send_signal(signal.SIGHUP)
        return eventually(
            lambda: self.log.read_text()[before:],
            lambda text: "were read again" in text or "stay as they are" in text,
        )

    def score(self, key: str, rows: int = 1) -> int:
        headers = {"authorization": f"Bearer {key}"}
        body = {"data": [SETOSA] * rows}
        return httpx.post(f"{self.url}/models/iris/score", json=body, headers=headers, trust_env=False).status_code

    def pids(self, what: str) -> Any:
        token = json.loads((self.root / "gateway.json").read_text())["token"]
        answer = httpx.get(f"{self.url}/models/iris", headers={"authorization": f"Bearer {token}"}, trust_env=False)
        return answer.json()[what]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("reload")
    with Workspace.open(folder / "ws") as workspace:
        Model.register(workspace, str(iris_svc(folder)), "iris", show_output=False)
    gateway = Served(folder / "ws")
    try:
        eventually(lambda: gateway.score(FIRST), lambda status: status == 200, timeout=60)
        yield gateway
    finally:
        gateway.process.terminate()
        gateway.process.wait(30)


def test_another_key_is_in_force_and_the_model_runs_on(served: Served) -> None:
    pids = served.pids("pids")
    served.key.write_text(SECOND)
    assert "changed: no setting" in served.hang_up()
    eventually(lambda: (served.score(FIRST), served.score(SECOND)), lambda found: found == (401, 200))
    served.key.write_text(FIRST)
    served.hang_up()
    eventually(lambda: (served.score(FIRST), served.score(SECOND)), lambda found: found == (200, 401))
    assert served.pids("pids") == pids


def test_settings_of_http_processes_change_without_losing_a_request(served: Served) -> None:
    statuses: list[int | str] = []
    stop = threading.Event()

    def call() -> None:
        headers = {"authorization": f"Bearer {FIRST}"}
        with httpx.Client(headers=headers, trust_env=False) as client:
            while not stop.is_set():
                try:
                    statuses.append(client.post(f"{served.url}/models/iris/score", json={"data": [SETOSA]}).status_code)
                except httpx.HTTPError as error:
                    statuses.append(repr(error))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        assert served.score(FIRST, rows=200) == 200
        served.settings(body_limit_mb=0.001, idle_s=5)
        assert "changed: body_limit_mb, idle_s" in served.hang_up()
        eventually(lambda: served.score(FIRST, rows=200), lambda status: status == 413)
        served.settings()
        served.hang_up()
        eventually(lambda: served.score(FIRST, rows=200), lambda status: status == 200)
    finally:
        stop.set()
        for caller in callers:
            caller.join(30)
    assert set(statuses) == {200}


def test_what_cannot_be_read_changes_nothing(served: Served) -> None:
    served.settings(prot=1)
    text = served.hang_up()
    assert "settings and keys stay as they are: prot in settings.toml" in text
    assert served.score(FIRST) == 200
    served.settings(host="0.0.0.0")
    assert "a change of host counts from the next start" in served.hang_up()
    assert served.score(FIRST) == 200
