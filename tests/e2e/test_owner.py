"""Where keys are on, the owner of the workspace still commands without one; and a probe needs none."""

import json
from pathlib import Path

from tests.e2e.gateway import fitserve, serving
from tests.e2e.models import iris_svc


def probe(workspace: Path) -> tuple[int, str]:
    done = fitserve("healthcheck", workspace=workspace)
    return done.returncode, done.stdout.strip()


def test_commands_beside_the_gateway_need_no_key(tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    model = iris_svc(tmp_path)
    assert probe(workspace) == (1, f"no gateway serves {workspace}")
    with serving(workspace, "--host", "0.0.0.0") as gateway:
        assert gateway.http.get("/models").status_code == 401
        registered = fitserve("register", str(model), "--name", "iris", workspace=workspace)
        assert "iris:1 is live" in registered.stdout, registered.stderr
        scored = fitserve("score", "iris", "[[5.1, 3.5, 1.4, 0.2]]", workspace=workspace)
        assert json.loads(scored.stdout) == {"predict": [0]}, scored.stderr
        wrong = fitserve("score", "iris", "[[5.1, 3.5, 1.4, 0.2]]", workspace=workspace, env={"FITSERVE_KEY": "x" * 20})
        assert (wrong.returncode, "HTTP 401" in wrong.stderr) == (1, True), wrong.stderr
        state = workspace / "gateway.json"
        assert state.stat().st_mode & 0o777 == 0o600
        token = json.loads(state.read_text())["token"]
        assert token not in gateway.log
        assert probe(workspace) == (0, "healthy")
    assert not state.exists()
    with serving(workspace, "--host", "0.0.0.0") as gateway:
        assert gateway.http.get("/models", headers={"Authorization": f"Bearer {token}"}).status_code == 401
