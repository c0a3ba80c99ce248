"""A notebook of Azure ML's SDK v1 in a real Jupyter, whose Python has nothing of fitserve."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.environments.interpreters import interpreter_for
from registry.errors import EnvironmentBuildError
from tests.e2e.gateway import ENVIRONMENT, FITSERVE

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def jupyter(pytestconfig: pytest.Config) -> Path:
    """The programs of a Jupyter, installed once and kept between test runs."""
    try:
        made = interpreter_for({"pip": ["nbclient", "ipykernel"]}, pytestconfig.cache.mkdir("interpreters"))
    except EnvironmentBuildError as error:
        pytest.skip(f"nbclient and ipykernel cannot be installed here: {error}")
    return made.python.parent


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "project"
    folder.mkdir()
    for file in ("azure_notebook/iris.ipynb", "azure_iris/config.json", "azure_iris/train_iris_today.py"):
        shutil.copy(SCRIPTS / file, folder)
    yield folder
    subprocess.run([*FITSERVE, "stop"], cwd=folder, env=ENVIRONMENT, check=False, capture_output=True)


def run(folder: Path, jupyter: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With a PATH on which that Jupyter comes first."""
    path = os.pathsep.join([str(jupyter), os.environ["PATH"]])
    return subprocess.run(
        [*FITSERVE, *arguments],
        cwd=folder,
        env={**ENVIRONMENT, "FITSERVE_PORT": "0", "PATH": path, "JUPYTER_CONFIG_DIR": str(folder / ".jupyter")},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def outputs(notebook: Path) -> list[str]:
    """What each cell has shown."""
    shown = []
    for cell in json.loads(notebook.read_text())["cells"]:
        texts: list[Any] = [output.get("text") or output["data"]["text/plain"] for output in cell.get("outputs", ())]
        shown.append("".join("".join(text) for text in texts))
    return shown


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_page_as_a_notebook(project: Path, jupyter: Path) -> None:
    done = run(project, jupyter, "notebook", "--execute", "iris.ipynb", "--inplace")
    assert done.returncode == 0, done.stderr
    _, version, cluster, submitted, watched, waited, details, registered, deployed, answer, wrong = outputs(
        project / "iris.ipynb"
    )
    assert "SDK version: 1.61.0" in version
    assert "Workspace.create(name='flowers'" in version
    assert "Creating a new compute target..." in cluster
    assert "Run(Experiment: Tutorial-TrainIRIS, Id: Tutorial-TrainIRIS_" in submitted
    assert watched.startswith("RunId: Tutorial-TrainIRIS_")
    assert "Accuracy of SVM classifier on test set: 0.97" in waited
    assert "{'Kernel type': 'linear', 'Penalty': 1.0, 'Accuracy': 0.97" in waited
    assert "Status: Completed" in details
    assert "Accuracy: 0.97" in details
    assert "id=sklearn-iris:1" in registered
    assert 'operation "Succeeded"' in deployed
    assert "state=Healthy" in deployed
    assert answer == "{'predict': [0, 2]}"
    assert wrong == "WebserviceException\n"


@pytest.mark.slow
def test_a_cell_that_fails_is_an_exit_code(project: Path, jupyter: Path) -> None:
    notebook = json.loads((project / "iris.ipynb").read_text())
    notebook["cells"] = notebook["cells"][1:2]
    notebook["cells"][0]["source"] = "from azureml.core import Workspace\nWorkspace.list(None)"
    notebook["metadata"]["kernelspec"] = {"display_name": "Python 3.8 - AzureML", "name": "python38-azureml"}
    (project / "bad.ipynb").write_text(json.dumps(notebook))
    done = run(project, jupyter, "notebook", "--execute", "bad.ipynb")
    assert done.returncode not in (0, 3)
    assert "bad.ipynb asks for the kernel python38-azureml, which is not here: python3 takes its place" in done.stderr
    assert "Workspace.list is not supported by fitserve" in done.stderr
