"""What the shim can ask of services: the gateway's part of `fitserve rpc`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.client import errors
from gateway.client.daemon import ensure_gateway
from gateway.client.webservice import Webservice
from gateway.rundir.applied import wait_until_in_force
from registry import services
from registry.inference import InferenceConfig
from registry.records import Json
from registry.workspace import Workspace


class Workspaces(Protocol):
    """Gives the workspace that a client names, see `trainer.open_workspaces`."""

    def get(self, facts: Json) -> Workspace: ...


Operation = Callable[..., Json]

#: Error class → name in `azureml.exceptions`.
RAISES: Final = {
    errors.GatewayNotStarted: "WebserviceException",
    errors.GatewaySilent: "WebserviceException",
    errors.ServiceError: "WebserviceException",
}


def deploy(
    workspaces: Workspaces, workspace: Json, name: str, models: list[str], inference: Json = None, **given: Any
) -> Json:
    service = Webservice.deploy(workspaces.get(workspace), name, models, **_config_of(inference), **given)
    return service.serialize()


def get(workspaces: Workspaces, workspace: Json, name: str) -> Json:
    return Webservice(workspaces.get(workspace), name).serialize()


def list_services(workspaces: Workspaces, workspace: Json, **asked: Any) -> Json:
    return [service.serialize() for service in Webservice.list(workspaces.get(workspace), **asked)]


def wait(workspaces: Workspaces, workspace: Json, name: str, show_output: bool, timeout_sec: float | None) -> Json:
    """Also starts the gateway again when it has ended since."""
    found = workspaces.get(workspace)
    services.find(found, name)
    ensure_gateway(found, say=print)
    service = Webservice(found, name)
    service.wait_for_deployment(show_output, timeout_sec)
    return service.serialize()


def update(workspaces: Workspaces, workspace: Json, name: str, inference: Json = None, **changes: Any) -> Json:
    service = Webservice(workspaces.get(workspace), name)
    service.update(**_config_of(inference), **changes)
    return service.serialize()


def _config_of(inference: Json) -> dict[str, Any]:
    return {} if inference is None else {"inference": InferenceConfig(**inference)}


def delete(workspaces: Workspaces, workspace: Json, name: str) -> Json:
    found = workspaces.get(workspace)
    services.delete(found, name)
    wait_until_in_force(found)
    return None


def logs(workspaces: Workspaces, workspace: Json, name: str, num_lines: int) -> Json:
    return Webservice(workspaces.get(workspace), name).get_logs(num_lines)


def keys(workspaces: Workspaces, workspace: Json, name: str) -> Json:
    return list(Webservice(workspaces.get(workspace), name).get_keys())


def key(workspaces: Workspaces, workspace: Json, name: str) -> Json:
    """One that scoring is allowed with; None where none is known."""
    return Webservice(workspaces.get(workspace), name).key


def regen_key(workspaces: Workspaces, workspace: Json, name: str, key: str, set_key: str | None) -> Json:
    Webservice(workspaces.get(workspace), name).regen_key(key, set_key)
    return None


def package(workspaces: Workspaces, workspace: Json, models: list[str], output: str, inference: Json = None) -> Json:
    """What the package cannot carry is printed."""
    from gateway.package import context
    from gateway.package.contents import collect

    found = workspaces.get(workspace)
    contents = collect(found, models, **_config_of(inference), say=print)
    context.write(found, contents, Path(output))
    for note in contents.notes:
        print(f"note: {note}")
    return None


OPERATIONS: Final[dict[str, Operation]] = {
    "model.package": package,
    "service.deploy": deploy,
    "service.get": get,
    "service.list": list_services,
    "service.wait": wait,
    "service.update": update,
    "service.delete": delete,
    "service.logs": logs,
    "service.keys": keys,
    "service.key": key,
    "service.regen_key": regen_key,
}
