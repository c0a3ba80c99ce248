"""Services as they are written down."""

from pathlib import Path

import pytest

from registry import services
from registry.errors import InvalidArgument, InvalidName, ModelInUse, ModelNotFound, ServiceExists, ServiceNotFound
from registry.sdk.model import Model
from registry.sdk.workspace import Workspace
from tests.e2e.models import iris_svc


@pytest.fixture
def model(workspace: Workspace, tmp_path: Path) -> Model:
    return Model.register(workspace, iris_svc(tmp_path), "iris", show_output=False)


def test_a_model_object_pins_its_version_and_a_name_follows(workspace: Workspace, model: Model) -> None:
    pinned = services.deploy(workspace, "pinned", [model], tags={"n": 1})
    follows = services.deploy(workspace, "follows", ["iris"])
    assert (pinned.models, pinned.tags, follows.models) == (("iris:1",), {"n": "1"}, ("iris",))
    assert services.target(pinned) == ("iris", 1)
    assert services.target(follows) == ("iris", None)
    assert services.deploy(workspace, "text", ["iris:1"]).models == ("iris:1",)


def test_the_first_one_is_the_default_until_another_is_said_to_be(workspace: Workspace, model: Model) -> None:
    default = lambda: workspace.metadata.get_value(services.DEFAULT)  # noqa: E731
    services.deploy(workspace, "first", [model])
    services.deploy(workspace, "second", [model])
    assert default() == "first"
    services.deploy(workspace, "third", [model], default=True)
    assert default() == "third"
    services.delete(workspace, "second")
    assert default() == "third"
    services.delete(workspace, "third")
    assert default() == "first"
    services.delete(workspace, "first")
    assert default() is None


def test_what_is_deployed_twice(workspace: Workspace, model: Model) -> None:
    before = services.deploy(workspace, "flowers", [model], description="one")
    with pytest.raises(ServiceExists, match="flowers exists already"):
        services.deploy(workspace, "flowers", [model])
    after = services.deploy(workspace, "flowers", ["iris"], overwrite=True)
    assert (after.models, after.description) == (("iris",), None)
    assert after.created_time == before.created_time
    assert after.updated_time > before.updated_time


def test_an_update_keeps_what_is_not_given(workspace: Workspace, model: Model) -> None:
    services.deploy(workspace, "flowers", [model], settings={"a": 1, "b": 2}, tags={"x": "1"}, description="d")
    after = services.update(workspace, "flowers", settings={"b": 3}, models=["iris"])
    assert (after.settings, after.tags, after.description, after.models) == (
        {"a": 1, "b": 3},
        {"x": "1"},
        "d",
        ("iris",),
    )
    assert workspace.metadata.get_service("flowers") == after


@pytest.mark.parametrize("models", [[], ["iris", "iris"], "iris"])
def test_a_service_has_exactly_one_model(workspace: Workspace, model: Model, models: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="exactly one model"):
        services.deploy(workspace, "flowers", models)


def test_names_that_are_not_there(workspace: Workspace, model: Model) -> None:
    for wrong in ("UPPER", "a", "-x-", "a" * 40, "a..b", "x/y"):
        with pytest.raises(InvalidName):
            services.deploy(workspace, wrong, [model])
    for missing in ("nobody", "iris:7"):
        with pytest.raises(ModelNotFound):
            services.deploy(workspace, "flowers", [missing])
    for call in (services.delete, services.update):
        with pytest.raises(ServiceNotFound):
            call(workspace, "flowers")
    assert services.find(workspace, "flowers") is None
    assert workspace.metadata.list_services() == []


def test_a_model_that_a_service_names_is_not_deleted(workspace: Workspace, model: Model) -> None:
    services.deploy(workspace, "flowers", [model])
    with pytest.raises(ModelInUse, match="flowers"):
        model.delete()
