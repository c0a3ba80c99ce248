"""Webservice and the gateway in the background, as our own SDK has them."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from gateway import Webservice
from gateway.auth.service_keys import first_keys, keys_of, renewed
from gateway.client.daemon import ensure_gateway, stop_gateway
from gateway.client.errors import DeploymentFailed, GatewayNotStarted, KeysAreOff, ServiceCallFailed
from gateway.rundir.state import running_gateway
from registry.errors import InvalidArgument, OperatorError, ServiceExists, ServiceNotFound
from registry.model import Model
from registry.workspace import Workspace
from tests.e2e.models import code_model, iris_probabilities
from tests.gateway.client.background import deploy, workspace_with_iris
from tests.waiting import eventually

ROW = json.dumps({"data": [[5.1, 3.5, 1.4, 0.2]]})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with workspace_with_iris(tmp_path_factory.mktemp("services")) as workspace:
        yield workspace


def test_two_that_deploy_at_once_share_one_gateway(workspace: Workspace) -> None:
    said: list[str] = []
    states = []
    threads = [threading.Thread(target=lambda: states.append(ensure_gateway(workspace, say=said.append))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(state.pid, state.url) for state in states}) == 1
    assert any("starting one in the background" in sentence for sentence in said)
    assert (workspace.logs_dir / "gateway.log").exists()


def test_a_service_from_its_deployment_to_its_end(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    service = deploy(workspace, "flowers", Model(workspace, "iris"), tags={"a": 1}, description="about")
    assert (service.state, service.error, service.compute_type) == ("Healthy", "", "ACI")
    assert service.run(ROW) == {"predict": [0]}
    assert service.run(ROW.encode()) == {"predict": [0]}
    assert (service.tags, service.description, [m.id for m in service.models]) == ({"a": "1"}, "about", ["iris:1"])
    with pytest.raises(ServiceCallFailed, match="HTTP status 400"):
        service.run('{"data": [[1]]}')
    rows, file, written = [[5.1, 3.5, 1.4, 0.2], [6.0, 3.0, 5.0, 2.0]], tmp_path / "rows.csv", tmp_path / "answers.csv"
    frame = pd.DataFrame(rows, columns=["a", "b", "c", "d"])
    frame.to_csv(file, index=False)
    for given in (rows, np.array(rows), frame, file, str(file), {"data": rows}):
        assert service.run(given, method="predict") == {"predict": [0, 2]}
    many = service.run(np.tile(np.array(rows), (4_000, 1)), output=written)
    assert (len(many["predict"]), written.read_text().splitlines()[:3]) == (8_000, ["predict", "0", "2"])
    with pytest.raises(InvalidArgument, match="there is no file"):
        service.run("nowhere.csv")
    with pytest.raises(KeysAreOff):
        service.get_keys()
    with pytest.raises(ServiceExists):
        deploy(workspace, "flowers", "iris")
    assert [each.name for each in Webservice.list(workspace, tags=[["a", "1"]], model_name="iris")] == ["flowers"]
    assert Webservice.list(workspace, compute_type="AKS") == []
    service.wait_for_deployment(show_output=True)
    assert capsys.readouterr().out.endswith(
        '\nSucceeded\nACI service creation operation finished, operation "Succeeded"\n'
    )
    uri = service.scoring_uri
    assert uri is not None
    service.delete()
    with pytest.raises(ServiceNotFound):
        Webservice(workspace, "flowers")
    eventually(lambda: httpx.post(uri, content=ROW, trust_env=False).status_code, lambda status: status == 404)


def test_a_pinned_version_stays_and_a_name_follows(workspace: Workspace, tmp_path: Path) -> None:
    pinned = deploy(workspace, "pinned", "iris:1")
    follows = deploy(workspace, "follows", "iris")
    second = Model.register(workspace, iris_probabilities(tmp_path), "iris", show_output=False)
    assert eventually(lambda: follows.run(ROW), lambda answer: "predict_proba" in answer)
    assert pinned.run(ROW) == {"predict": [0]}
    pinned.update_deployment_state()
    assert pinned.state == "Healthy"
    pinned.update(models=[second], tags={"moved": "yes"})
    pinned.wait_for_deployment()
    assert "predict_proba" in pinned.run(ROW)
    assert pinned.tags == {"moved": "yes"}
    for service in (pinned, follows):
        service.delete()


def test_a_service_with_keys(workspace: Workspace) -> None:
    service = deploy(workspace, "closed", "iris:1", compute_type="AKS", secondary_key="chosen-by-hand")
    first, second = service.get_keys()
    assert (service.auth_enabled, second) == (True, None)
    uri = service.scoring_uri
    assert uri is not None

    def status(key: str | None) -> int:
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        return httpx.post(uri, content=ROW, headers=headers, trust_env=False).status_code

    assert (status(None), status("wrong"), status(first), status("chosen-by-hand")) == (401, 401, 200, 200)
    assert service.run(ROW) == {"predict": [0]}
    assert "loaded the model (Python 3." in service.get_logs()  # not empty where a model prints nothing
    service.regen_key("primary")
    fresh = service.get_keys()[0]
    assert fresh != first
    eventually(lambda: status(fresh), lambda found: found == 200, what="the new key")
    assert (status(first), status("chosen-by-hand")) == (401, 200)
    assert str(first) not in str(workspace.metadata.get_service("closed"))
    service.update(auth_enabled=False)
    eventually(lambda: status(None), lambda found: found == 200, what="the open service")
    service.delete()


def test_a_model_that_cannot_be_loaded_fails_with_the_reason(workspace: Workspace, tmp_path: Path) -> None:
    path, code = code_model(tmp_path, "return X", name="broken")
    (code / "broken_model.py").write_text("raise RuntimeError('not today')\n")
    model = Model.register(workspace, path, "broken", code=code, show_output=False)
    service = Webservice.deploy(workspace, "failing", [model], say=lambda _: None)
    with pytest.raises(
        DeploymentFailed, match=r"non-successful terminal state, current service state: .*(\n.*)*not today"
    ):
        service.wait_for_deployment()
    assert service.state == "Failed"
    assert "not today" in service.error
    assert service.get_logs().endswith(f"{service.error}\n")  # where the advice is to look
    service.delete()
    model.delete()


def test_without_a_gateway(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    service = deploy(workspace, "alone", "iris:1")
    before = stop_gateway(workspace)
    assert before is not None
    assert stop_gateway(workspace) is None
    service.update_deployment_state()
    assert (service.state, service.scoring_uri) == ("Unhealthy", None)
    assert "fitserve serve" in service.error
    with pytest.raises(DeploymentFailed, match="no gateway serves this workspace"):
        service.run(ROW)
    monkeypatch.setenv("FITSERVE_RUN_DIR", "/somewhere")
    with pytest.raises(GatewayNotStarted, match="a run cannot start one that outlives it"):
        ensure_gateway(workspace)
    monkeypatch.delenv("FITSERVE_RUN_DIR")
    monkeypatch.setenv("FITSERVE_LIMITS", "no-such-limits")
    with pytest.raises(OperatorError, match="no-such-limits"):
        ensure_gateway(workspace)
    assert running_gateway(workspace.root) is None
    monkeypatch.delenv("FITSERVE_LIMITS")
    again = Webservice.deploy(workspace, "alone", ["iris:1"], overwrite=True, say=lambda _: None)
    again.wait_for_deployment()
    assert again.run(ROW) == {"predict": [0]}
    again.delete()


def test_keys_are_made_from_a_secret_and_only_their_hashes_are_kept(tmp_path: Path) -> None:
    settings = first_keys(tmp_path, "s", {})
    keys = keys_of(tmp_path, "s", settings)
    assert keys == keys_of(tmp_path, "s", settings)
    assert len({*keys, *keys_of(tmp_path, "other", settings)}) == 4
    assert (tmp_path / "gateway.secret").stat().st_mode & 0o777 == 0o600
    for slot in ("Primary", "secondary"):
        changed = {**settings, **renewed(tmp_path, "s", settings, slot, None)}
        same = [old == new for old, new in zip(keys, keys_of(tmp_path, "s", changed), strict=True)]
        assert sorted(same) == [False, True]
    for slot, key in (("third", None), ("Primary", "short")):
        with pytest.raises(InvalidArgument):
            renewed(tmp_path, "s", settings, slot, key)
