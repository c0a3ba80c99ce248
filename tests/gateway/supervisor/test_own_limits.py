"""Services with limits of their own have processes of their own; all others share those of the version."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import Webservice
from gateway.cli.logs import find_log
from gateway.client.daemon import ensure_gateway, stop_gateway
from gateway.rundir.state import running_gateway
from registry.errors import InvalidResource
from registry.limits import machine_memory_bytes
from registry.model import Model
from registry.records import ServiceRecord
from registry.resources import GB, ResourceConfiguration
from registry.workspace import Workspace
from tests.e2e.gateway import fitserve
from tests.e2e.models import code_model, iris_probabilities, iris_svc
from tests.gateway.client.background import deploy, workspace_with_iris
from tests.waiting import eventually

ROW = json.dumps({"data": [[5.1, 3.5, 1.4, 0.2]]})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with workspace_with_iris(tmp_path_factory.mktemp("services")) as workspace:
        yield workspace


def shown(workspace: Workspace, path: str = "/models/iris") -> dict[str, Any]:
    """What the gateway tells."""
    state = running_gateway(workspace.root)
    assert state is not None
    return dict(httpx.get(state.url + path, trust_env=False).json())


def limits_of(told: dict[str, Any]) -> tuple[float, float]:
    return told["limits"]["cpu"], told["limits"]["memory_in_gb"]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").exists()


def test_it_has_processes_of_its_own_under_its_limits(workspace: Workspace) -> None:
    service = deploy(workspace, "limited", "iris:1", cpu=0.5, memory_in_gb=0.75)
    assert service.run(ROW) == {"predict": [0]}
    assert service.own_limits
    assert service.limits == ResourceConfiguration(cpu=0.5, memory_in_gb=0.75)
    assert service.serialize()["containerResourceRequirements"] == {"cpu": 0.5, "memoryInGB": 0.75}
    assert Model(workspace, id="iris:1").resource_configuration == ResourceConfiguration()

    told = eventually(lambda: shown(workspace), lambda told: bool(told["pids"] and told["services"]), what="both")
    (own,) = told["services"]
    assert (own["service"], own["version"], own["state"]) == ("limited", 1, "live")
    assert (limits_of(told), limits_of(own)) == ((1, 0.5), (0.5, 0.75))
    assert set(told["pids"]).isdisjoint(own["pids"])
    assert own["limits"]["enforcement"] == told["limits"]["enforcement"]
    assert shown(workspace, "/api/v1/service/limited")["limits"] == {"cpu": 0.5, "memory_in_gb": 0.75}
    assert [model["name"] for model in shown(workspace, "/models")["models"]] == ["iris"]
    assert "iris@limited" not in json.dumps(shown(workspace, "/openapi.json"))
    assert find_log(workspace, "limited")[0].name == "iris@limited-1.log"
    assert "its log" not in service.get_logs()

    service.delete()
    eventually(lambda: any(map(alive, own["pids"])), lambda some: not some, what="its processes are gone")
    assert alive(told["pids"][0])
    assert shown(workspace)["services"] == []


def test_others_share_the_versions(workspace: Workspace) -> None:
    service = deploy(workspace, "sharing", "iris:1")
    assert not service.own_limits
    assert service.limits == ResourceConfiguration()
    assert service.run(ROW) == {"predict": [0]}
    assert shown(workspace)["services"] == []
    service.delete()


def test_what_is_not_given_is_the_versions_and_the_command_line_shows_it(workspace: Workspace) -> None:
    done = fitserve("deploy", "small", "iris:1", "--memory", "300Mi", workspace=workspace.root)
    assert "limits of its own: 1 cpu, 300 MiB" in done.stdout
    shared = deploy(workspace, "common", "iris")
    table = fitserve("services", workspace=workspace.root).stdout
    assert "1 cpu, 300 MiB" in table
    assert "the model's" in table
    service = Webservice(workspace, "small")
    service.delete()
    shared.delete()


def test_limits_that_are_none_are_refused_before_anything_is_deployed(workspace: Workspace) -> None:
    with pytest.raises(InvalidResource):
        deploy(workspace, "nothing", "iris:1", cpu=-1)
    assert workspace.metadata.list_services() == []


def test_an_update_loses_nothing_and_ends_what_was(workspace: Workspace, tmp_path: Path) -> None:
    service = deploy(workspace, "moving", "iris:1", memory_in_gb=0.4)
    second = Model.register(workspace, iris_probabilities(tmp_path), "iris", show_output=False)
    other = Model.register(workspace, iris_svc(tmp_path), "other", show_output=False)
    uri, stop = str(service.scoring_uri), threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        with httpx.Client(trust_env=False) as client:
            while not stop.is_set():
                statuses.append(client.post(uri, json=json.loads(ROW)).status_code)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        before = shown(workspace)["services"][0]["pids"]
        for change in (
            {"models": [second]},
            {"cpu": 0.7},
            {"models": ["iris:1"]},
            {"models": [other]},
            {"models": ["iris"]},
        ):
            service.update(**change)  # type: ignore[arg-type]
            service.wait_for_deployment()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(statuses) > 20
    assert set(statuses) == {200}
    assert service.limits == ResourceConfiguration(cpu=0.7, memory_in_gb=0.4)
    assert "predict_proba" in service.run(ROW)
    assert not any(map(alive, before))
    eventually(
        lambda: shown(workspace, "/models/other"), lambda told: told["services"] == [], what="the other's are gone"
    )
    service.delete()


def test_it_follows_the_live_version_and_keeps_it_when_the_next_is_broken(workspace: Workspace, tmp_path: Path) -> None:
    service = deploy(workspace, "follows", "iris", cpu=0.6)
    assert "predict_proba" in service.run(ROW)
    path, code = code_model(tmp_path, "return X", name="broken")
    (code / "broken_model.py").write_text("raise RuntimeError('not today')\n")
    broken = Model.register(workspace, path, "iris", code=code, show_output=False)
    eventually(
        lambda: shown(workspace)["versions"][-1],
        lambda told: told["state"] == "failed",
        what="the third version failed",
    )
    assert "predict_proba" in service.run(ROW)
    service.update(models=[broken])
    eventually(
        lambda: (service.update_deployment_state(), service.state)[1], lambda state: state == "Failed", what="it failed"
    )
    assert "not today" in service.error
    service.update(models=["iris:1"])
    service.wait_for_deployment()
    assert service.run(ROW) == {"predict": [0]}
    service.delete()
    broken.delete()


def test_it_comes_back_with_the_gateway(workspace: Workspace) -> None:
    service = deploy(workspace, "lasting", "iris:1", cpu=0.5)
    default = deploy(workspace, "first", "iris:1", memory_in_gb=0.6, default=True)
    stop_gateway(workspace)
    ensure_gateway(workspace, say=lambda _: None)
    for each in (service, default):
        each.wait_for_deployment()
        assert each.run(ROW) == {"predict": [0]}
    told = eventually(lambda: shown(workspace), lambda told: len(told["services"]) == 2, what="both run")
    assert [limits_of(own) for own in told["services"]] == [(1, 0.6), (0.5, 0.5)]
    state = running_gateway(workspace.root)
    assert state is not None
    assert httpx.post(f"{state.url}/score", json=json.loads(ROW), trust_env=False).json() == {"predict": [0]}
    metrics = httpx.get(f"{state.url}/metrics", trust_env=False).text
    assert 'fitserve_requests_total{model="iris@first",status="200",version="1"} 2.0' in metrics
    default.delete()
    service.delete()


def test_one_odd_record_harms_no_other(workspace: Workspace) -> None:
    good = deploy(workspace, "good", "iris:1", cpu=0.5)
    record = workspace.metadata.get_service("good")
    odd = ServiceRecord(
        name="odd", models=record.models, created_time=record.created_time, updated_time=record.updated_time,
        settings={"resources": {"cpu": "many"}},
    )  # fmt: skip
    workspace.metadata.put_service(odd)
    good.update(description="still here")
    good.wait_for_deployment()
    assert good.run(ROW) == {"predict": [0]}
    workspace.metadata.delete_service("odd")
    good.delete()


def test_a_service_that_is_deployed_gets_room_from_those_that_nobody_uses(workspace: Workspace) -> None:
    """Its first start, ahead, finds none; that is not the end of the deployment, which asks for it."""
    most = round(0.6 * (machine_memory_bytes() / GB - 0.5), 2)
    for name in ("vast", "vaster"):
        service = deploy(workspace, name, "iris:1", memory_in_gb=most)
        assert (service.state, service.run(ROW)) == ("Healthy", {"predict": [0]})
    for name in ("vast", "vaster"):
        Webservice(workspace, name).delete()
