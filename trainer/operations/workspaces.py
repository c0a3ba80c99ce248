"""Operations on workspaces, and on their named values: compute targets, datasets, experiment tags."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from registry.errors import InvalidArgument, NoWorkspace
from registry.locate import CONFIG, VARIABLE, Identity, find_configs, locate
from registry.names import check_name
from registry.records import Json
from registry.workspace import Workspace
from trainer.open_workspaces import OpenWorkspaces, address_is_secret
from trainer.rpc import Operation

_NAMED: Final = ("compute_target", "dataset", "experiment")


def from_config(
    workspaces: OpenWorkspaces, path: str | None, folder: str, file_name: str | None, run_folder: str | None
) -> Json:
    """As `Workspace.from_config`. Inside a run, the run's workspace; else FITSERVE_WORKSPACE applies if no path is given."""
    if run_folder is not None:
        return workspaces.of_run(run_folder)
    said = os.environ.get(VARIABLE)
    if path is None and said:
        found = next(find_configs(Path(folder), file_name or CONFIG), None)
        location = locate(said)
        return workspaces.take(
            Workspace._at(
                replace(location, identity=location.identity if found is None else found.identity), create=True
            )
        )
    return workspaces.take(Workspace.from_config(path or folder, _file_name=file_name))


def of_run(workspaces: OpenWorkspaces, folder: str) -> Json:
    return workspaces.of_run(folder)


def get(workspaces: OpenWorkspaces, name: str, folder: str, run_folder: str | None = None, **ids: Any) -> Json:
    """Inside a run, the run's workspace; else the one of this name in a configuration file, or the one in this folder. It is
    created if there is none, as by `from_config`: programs that name their workspace expect it to exist.

    Raises:
        NoWorkspace: the workspace in this folder has another name.
    """
    if run_folder is not None:
        facts = workspaces.of_run(run_folder)
        if facts["name"] != name:
            raise NoWorkspace(str(facts["root"]), f"one called {facts['name']}")
        return facts
    told = [] if os.environ.get(VARIABLE) else list(find_configs(Path(folder), CONFIG))
    named = next((place for place in told if place.identity is not None and place.identity.name == name), None)
    here = named or replace(locate(_place(folder)), identity=Identity(check_name("workspace", name), **ids))
    other = next((place.identity for place in told if place.root == here.root and place.identity is not None), None)
    if named is None and other is not None:
        raise NoWorkspace(str(here.root), f"one called {other.name}")
    found = Workspace._at(here, create=True)
    if found.name != name:
        found.close()
        raise NoWorkspace(str(here.root), f"one called {found.name}")
    return workspaces.take(found)


def create(workspaces: OpenWorkspaces, name: str, folder: str, exist_ok: bool, show_output: bool, **ids: Any) -> Json:
    place = _place(folder)
    return workspaces.take(Workspace.create(name, path=place, exist_ok=exist_ok, show_output=show_output, **ids))


def write_config(workspaces: OpenWorkspaces, workspace: Json, path: str, file_name: str | None) -> Json:
    found = workspaces.get(workspace)
    if address_is_secret() and found._location.database is not None:
        raise InvalidArgument(
            "workspace", "the address of its database is not written to a file that a script can read"
        )
    return str(found.write_config(path, file_name))


def details(workspaces: OpenWorkspaces, workspace: Json) -> Json:
    return workspaces.get(workspace).get_details()


def list_named(workspaces: OpenWorkspaces, workspace: Json, kind: str) -> Json:
    """Name → stored value."""
    return dict(workspaces.get(workspace).metadata.get_value(_key(kind)) or {})


def put_named(workspaces: OpenWorkspaces, workspace: Json, kind: str, name: str, value: Json) -> Json:
    metadata = workspaces.get(workspace).metadata
    check_name(kind.replace("_", " "), name)
    metadata.set_value(_key(kind), {**(metadata.get_value(_key(kind)) or {}), name: value})
    return value


def delete_named(workspaces: OpenWorkspaces, workspace: Json, kind: str, name: str) -> Json:
    metadata = workspaces.get(workspace).metadata
    left = {key: value for key, value in (metadata.get_value(_key(kind)) or {}).items() if key != name}
    metadata.set_value(_key(kind), left)
    return None


def data_folder(workspaces: OpenWorkspaces, workspace: Json, name: str) -> Json:
    """The folder of a datastore, created if necessary."""
    folder = workspaces.get(workspace).root / "data" / check_name("datastore", name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return str(folder)


def _place(folder: str) -> str:
    return os.environ.get(VARIABLE) or str(Path(folder) / ".fitserve")


def _key(kind: str) -> str:
    if kind not in _NAMED:
        raise InvalidArgument("kind", f"{kind!r} is not one of: {', '.join(_NAMED)}")
    return f"{kind}s"


OPERATIONS: Final[dict[str, Operation]] = {
    "workspace.from_config": from_config,
    "workspace.of_run": of_run,
    "workspace.get": get,
    "workspace.create": create,
    "workspace.write_config": write_config,
    "workspace.details": details,
    "workspace.data_folder": data_folder,
    "named.list": list_named,
    "named.put": put_named,
    "named.delete": delete_named,
}
