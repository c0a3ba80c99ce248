"""Programs written for Azure ML's SDK v1, unchanged but for how they are started, in Pythons that have no fitserve."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry.interpreters import find_pythons
from tests.e2e.gateway import ENVIRONMENT, FITSERVE, eventually

SCRIPTS = Path(__file__).parents[1] / "scripts"


def python_of(minor: str) -> Path:
    """An interpreter of that version; it has nothing of ours, and no scikit-learn."""
    found = [path for version, path in find_pythons() if version.startswith(f"{minor}.")]
    if not found:
        pytest.skip(f"no Python {minor} was found on this machine")
    return found[0]


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A copy of the programs that the test is marked with; their gateway is stopped at the end."""
    folder = tmp_path / "project"
    shutil.copytree(SCRIPTS / request.param, folder)
    if not (folder / "config.json").exists():
        shutil.copy(SCRIPTS / "azure_iris" / "config.json", folder)
    yield folder
    run_command(folder, "stop")


def run_command(folder: Path, *arguments: str, timeout: float = 110) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FITSERVE, *arguments],
        cwd=folder,
        env={**ENVIRONMENT, "FITSERVE_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def facts_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("FACTS "))
    return dict(json.loads(line.removeprefix("FACTS ")))


def check_iris(done: subprocess.CompletedProcess[str], python: str) -> dict[str, Any]:
    facts = facts_of(done)
    assert facts["client"].startswith(python)
    assert facts["metrics"] == {"Kernel type": "linear", "Penalty": 1.0, "Accuracy": pytest.approx(0.9737, abs=1e-4)}
    assert facts["status"] == "Completed"
    assert facts["model"] == ["sklearn-iris:1", "0.19.1", {"cpu": 1.0, "memoryInGB": 0.5, "gpu": None}, True]
    assert facts["state"] == "Healthy"
    assert facts["scoring_uri"].endswith("/api/v1/service/scikit-learn-service/score")
    assert facts["answer"] == {"predict": [0, 2]}
    for line in ("Accuracy on the test set: 0.97", "Execution Summary", "Registering model sklearn-iris"):
        assert line in done.stdout
    assert 'ACI service creation operation finished, operation "Succeeded"' in done.stdout
    return facts


@pytest.mark.parametrize("project", ["azure_iris"], indirect=True)
@pytest.mark.parametrize("python", ["3.6", "3.8", "3.13"])
def test_the_published_steps_in_a_python_without_fitserve(project: Path, python: str) -> None:
    done = run_command(project, "exec", str(python_of(python)), "client.py", "none")
    check_iris(done, python)


@pytest.mark.slow
@pytest.mark.parametrize("project", ["azure_iris"], indirect=True)
@pytest.mark.parametrize("which", ["conda"])
def test_the_published_steps_with_the_published_environment(project: Path, which: str) -> None:
    """`python=3.6.2`, so that `np.float` and scikit-learn of that time are there; served by the same."""
    client = python_of("3.6")
    done = run_command(project, "exec", str(client), "client.py", which)
    facts = check_iris(done, "3.6")
    assert facts["interpreter"]["python"].startswith("3.6.")
    assert any(line.startswith("scikit-learn==0.2") for line in facts["interpreter"]["frozen"])
    assert "azureml-defaults is not installed" in done.stdout


@pytest.mark.parametrize("project", ["azure_diabetes"], indirect=True)
def test_a_model_fitted_in_a_notebook_is_registered_and_deployed(project: Path) -> None:
    done = run_command(project, "exec", sys.executable, "client.py")
    facts = facts_of(done)
    assert facts["first"] == {"predict": pytest.approx(facts["expected"], rel=1e-9)}
    assert "Response Code: 400" in facts["wrong"]
    state, compute_type, port, answer = facts["local"]
    assert (state, compute_type) == ("running", "Local")
    assert answer == {"predict": pytest.approx(facts["expected"][:1], rel=1e-9)}
    assert f"Local webservice is running at http://127.0.0.1:{port}" in done.stdout
    before, after, answered, _, kind = facts["keys"]
    assert answered["predict"] == answer["predict"]
    assert before[0] != after[0]
    assert before[1] == after[1]
    assert kind == "AksWebservice"
    assert "Model.deploy with an entry script is not supported by fitserve" in facts["refused"]
    assert facts["services"] == ["my-local-service", "my-sklearn-service", "with-key"]
    assert facts["models"] == ["my-sklearn-model"]
    assert facts["tags"] == {"area": "diabetes", "type": "regression"}


@pytest.mark.parametrize("project", ["azure_iris"], indirect=True)
def test_an_installed_azureml_is_not_shadowed(project: Path) -> None:
    real = project / "site" / "azureml" / "core"
    real.mkdir(parents=True)
    (real / "__init__.py").write_text("VERSION = 'the real one'\n")
    (project / "ask.py").write_text(
        "import azureml.core, sys\nprint(azureml.core.VERSION, 'sitecustomize' in sys.modules)\n"
    )
    (project / "site" / "sitecustomize.py").write_text("print('the hidden sitecustomize ran')\n")
    done = subprocess.run(
        [*FITSERVE, "exec", sys.executable, "ask.py"],
        cwd=project,
        env={**ENVIRONMENT, "PYTHONPATH": str(project / "site")},
        capture_output=True,
        text=True,
    )
    assert done.stdout.endswith("the hidden sitecustomize ran\nthe real one True\n")
    assert run_command(project, "exec", sys.executable, "ask.py").stdout == "1.61.0 True\n"


def test_a_program_that_is_not_there_and_a_missing_jupyter_have_their_sentences(tmp_path: Path) -> None:
    done = run_command(tmp_path, "exec", "no-such-python", "client.py")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "no program no-such-python" in done.stderr
    env = {**ENVIRONMENT, "PATH": str(tmp_path)}
    done = subprocess.run([*FITSERVE, "notebook"], env=env, capture_output=True, text=True)
    assert done.returncode == 3
    assert "pip install notebook" in done.stderr


@pytest.mark.parametrize("project", ["azure_iris"], indirect=True)
def test_services_from_the_command_line(project: Path, iris_model: Path) -> None:
    assert run_command(project, "register", str(iris_model), "--name", "iris").returncode == 0
    done = run_command(project, "deploy", "flowers", "iris:1", "--auth")
    assert done.returncode == 0, done.stderr
    key = done.stdout.splitlines()[-1].removeprefix("key: ")
    listed = json.loads(run_command(project, "services", "--json").stdout)
    assert [(each["name"], each["models"], each["state"], each["default"]) for each in listed] == [
        ("flowers", ["iris:1"], "Healthy", True)
    ]
    uri = listed[0]["scoringUri"]
    rows = {"data": [[5.1, 3.5, 1.4, 0.2]]}
    with httpx.Client(trust_env=False, timeout=30) as http:
        assert http.post(uri, json=rows).status_code == 401
        good = {"authorization": f"Bearer {key}"}
        assert http.post(uri, json=rows, headers=good).json() == {"predict": [0]}
        base = uri.partition("/api/")[0]
        assert http.post(f"{base}/score", json=rows).status_code == 401  # it is the default, on its own terms
        assert http.post(f"{base}/score", json=rows, headers=good).json() == {"predict": [0]}
        assert http.post(f"{base}/models/iris/score", json=rows).json() == {"predict": [0]}
        document = http.get(listed[0]["swaggerUri"]).json()
        assert "/api/v1/service/flowers/score" in document["paths"]
        again = run_command(project, "deploy", "flowers", "iris")
        assert again.returncode == 2
        assert "service flowers exists already" in again.stderr
        assert run_command(project, "deploy", "flowers", "iris", "--overwrite").returncode == 0
        assert eventually(lambda: http.post(uri, json=rows), lambda a: a.status_code == 200).json() == {"predict": [0]}
        assert run_command(project, "deploy", "flowers", "--delete").returncode == 0
        eventually(lambda: http.post(uri, json=rows), lambda answer: answer.status_code == 404, what="the deletion")
        assert "flowers" in http.post(uri, json=rows).json()["message"]


@pytest.fixture
def iris_model(tmp_path: Path) -> Path:
    from tests.e2e.models import iris_svc

    return iris_svc(tmp_path / "model")
