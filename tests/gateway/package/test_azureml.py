"""`Model.package` of Azure ML's SDK v1, by a program of its users."""

import json
import sys
from pathlib import Path

from gateway.package import context, manifest
from gateway.package.contents import collect
from registry import Model, Workspace
from tests.e2e.gateway import fitserve
from tests.e2e.models import iris_svc
from tests.gateway.package.test_context import tree

PROGRAM = """
from azureml.core import Workspace
from azureml.core.model import Model
from azureml.exceptions import UserErrorException

ws = Workspace.from_config()
package = Model.package(ws, [Model(ws, "iris")], generate_dockerfile=True)
package.wait_for_creation(show_output=True)
package.save("./imagefiles")
for call in (lambda: Model.package(ws, [Model(ws, "iris")]), package.pull):
    try:
        call()
    except UserErrorException as error:
        print("refused:", error)
"""


def test_a_program_saves_the_same_package(tmp_path: Path) -> None:
    root = tmp_path / "ws"
    with Workspace.open(root) as workspace:
        Model.register(workspace, iris_svc(tmp_path), "iris", show_output=False)
        expected = context.write(workspace, collect(workspace, ["iris"]), tmp_path / "expected")
    project = tmp_path / "project"
    project.mkdir()
    (project / "config.json").write_text(json.dumps({"fitserve": str(root)}))
    (project / "program.py").write_text(PROGRAM)
    done = fitserve("exec", sys.executable, "program.py", workspace=root, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("refused:") == 2
    assert "docker build" in done.stdout
    assert "no golden rows" in done.stdout
    assert tree(project / "imagefiles") == tree(expected)
    assert [record.id for record, _ in manifest.read(project / "imagefiles").models] == ["iris:1"]
