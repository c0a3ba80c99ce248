"""A packaged service answers with its own script."""

from pathlib import Path

import pytest

from gateway.package.contents import collect
from gateway.package.errors import AnswersTwice
from registry import services
from registry.inference import InferenceConfig
from registry.model import Model
from registry.workspace import Workspace
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
