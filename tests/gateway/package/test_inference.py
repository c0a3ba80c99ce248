"""A packaged service answers with its own script."""

from pathlib import Path

import pytest

from gateway.package.contents import collect
from gateway.package.errors import AnswersTwice
from registry import services
from registry.errors import InvalidArgument
from registry.inference import InferenceConfig
from registry.sdk.model import Model
from registry.sdk.workspace import Workspace
from tests.e2e.models import iris_svc


def test_a_script_travels_as_the_versions_own(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("def init():\n    pass\n\n\ndef run(data):\n    return data\n")
    with Workspace.open(tmp_path / "ws") as workspace:
        model = Model.register(workspace, iris_svc(tmp_path / "m"), "iris", show_output=False)
        config = InferenceConfig(str(tmp_path / "score.py"))
        services.deploy(workspace, "scored", [model], inference=config)
        contents = collect(workspace, services=["scored"])
        (packaged,) = contents.models
        assert packaged.record.settings["entry_script"] == "score.py"
        assert packaged.record.code in packaged.content
        assert [dict(service.settings) for service in contents.services] == [{}]
        assert contents.notes == ()  # answers of a script are never recorded, so that there are none is no news
        services.deploy(workspace, "plain", [model])
        with pytest.raises(
            AnswersTwice, match="service scored has a script or an environment of its own for model iris:1"
        ):
            collect(workspace, services=["plain", "scored"])


def test_models_travel_with_a_script_without_a_service(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("def init():\n    pass\n\n\ndef run(data):\n    return data\n")
    with Workspace.open(tmp_path / "ws") as workspace:
        for name in ("iris", "other"):
            Model.register(workspace, iris_svc(tmp_path / name), name, show_output=False)
        config = InferenceConfig(str(tmp_path / "score.py"))
        contents = collect(workspace, ["iris:1", "other:1"], inference=config)
        (packaged,) = contents.models
        assert (packaged.record.id, packaged.record.settings["entry_script"]) == ("iris:1", "score.py")
        files = workspace.artifacts.files(packaged.record.artifact.digest)
        assert sorted(files) == ["iris/1/model.joblib", "other/1/model.joblib"]
        assert {packaged.record.code, *files.values()} <= set(packaged.content)
        assert (contents.services, contents.default) == ((), "iris")
        assert workspace.metadata.list_services() == []
        with pytest.raises(InvalidArgument, match="a service has a model"):
            collect(workspace, [], inference=config)
