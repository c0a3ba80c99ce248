"""Models."""

from pathlib import Path
from typing import Any, Final

from registry.errors import InvalidArgument
from registry.model import Model
from registry.records import Json
from registry.resources import ResourceConfiguration
from trainer.open_workspaces import OpenWorkspaces
from trainer.rpc import Operation


def described(model: Model) -> dict[str, Json]:
    return model.serialize()


def resources_of(value: Json) -> ResourceConfiguration | None:
    return None if value is None else ResourceConfiguration(**value)


def sample_of(value: Json) -> str | None:
    """Check a sample, which is passed as the path of a file."""
    if value is not None and not Path(value).is_file():
        raise InvalidArgument("sample_input_dataset", f"{value} does not exist")
    return None if value is None else str(value)


def registration_of(model: Json) -> dict[str, Any]:
    """Arguments of a registration."""
    given = {**model, "resource_configuration": resources_of(model["resource_configuration"])}
    return given | {key: sample_of(model[key]) for key in ("sample_input_dataset", "sample_output_dataset")}


def register(workspaces: OpenWorkspaces, workspace: Json, model: Json) -> Json:
    return described(Model.register(workspaces.get(workspace), **registration_of(model)))


def get(workspaces: OpenWorkspaces, workspace: Json, **asked: Any) -> Json:
    return described(Model(workspaces.get(workspace), **asked))


def list_models(workspaces: OpenWorkspaces, workspace: Json, **asked: Any) -> Json:
    return [described(model) for model in Model.list(workspaces.get(workspace), **asked)]


def delete(workspaces: OpenWorkspaces, workspace: Json, id: str) -> Json:
    Model(workspaces.get(workspace), id=id).delete()
    return None


def update(workspaces: OpenWorkspaces, workspace: Json, id: str, **changes: Any) -> Json:
    model = Model(workspaces.get(workspace), id=id)
    if "resource_configuration" in changes:
        changes["resource_configuration"] = resources_of(changes["resource_configuration"])
    model.update(**changes)
    return described(model)


def update_tags_properties(workspaces: OpenWorkspaces, workspace: Json, id: str, **changes: Any) -> Json:
    model = Model(workspaces.get(workspace), id=id)
    model.update_tags_properties(**changes)
    return described(model)


def download(workspaces: OpenWorkspaces, workspace: Json, id: str, folder: str, exist_ok: bool) -> Json:
    return Model(workspaces.get(workspace), id=id).download(folder, exist_ok)


def path(workspaces: OpenWorkspaces, workspace: Json, name: str, version: Json) -> Json:
    """Path of a model's stored file or folder."""
    found = workspaces.get(workspace)
    return str(found.artifacts.local_path(Model(found, name, version=version).record.artifact.digest))


OPERATIONS: Final[dict[str, Operation]] = {
    "model.register": register,
    "model.get": get,
    "model.list": list_models,
    "model.delete": delete,
    "model.update": update,
    "model.update_tags_properties": update_tags_properties,
    "model.download": download,
    "model.path": path,
}
