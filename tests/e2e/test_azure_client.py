"""Programs written for Azure ML's SDK v1, unchanged but for how they are started, in Pythons that have no fitserve."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from registry.interpreters import find_pythons
from tests.e2e.gateway import ENVIRONMENT, FITSERVE
from tests.trainer.test_azureml_table import table
from tests.waiting import eventually

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


def run_command(
    folder: Path, *arguments: str, timeout: float = 110, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FITSERVE, *arguments],
        cwd=folder,
        env={**ENVIRONMENT, "FITSERVE_PORT": "0", **(env or {})},
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
    for line in ("Accuracy of SVM classifier on test set: 0.97", "Execution Summary", "Registering model sklearn-iris"):
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
@pytest.mark.parametrize("which", ["conda", "curated"])
def test_the_published_script_in_the_published_environment(project: Path, which: str) -> None:
    """`python=3.6.2`, so that `np.str` and scikit-learn of that time are there; served by the same."""
    done = run_command(project, "exec", str(python_of("3.6")), "client.py", which)
    facts = check_iris(done, "3.6")
    assert facts["interpreter"]["python"].startswith("3.6.")
    assert any(line.startswith("scikit-learn==0.2") for line in facts["interpreter"]["frozen"])
    assert "azureml-defaults is not installed" in done.stdout
    assert "WARNING" not in done.stdout


@pytest.fixture
def without_python_36(tmp_path: Path) -> dict[str, str]:
    """Variables with which fitserve finds the Pythons of this machine but for 3.6."""
    versions = tmp_path / "pyenv" / "versions"
    versions.mkdir(parents=True)
    for version, path in find_pythons():
        if not version.startswith("3.6."):
            (versions / version).symlink_to(path.parents[1])
    folders = os.environ["PATH"].split(os.pathsep)
    there = os.pathsep.join(folder for folder in folders if not Path(folder, "python3.6").exists())
    hidden = {"PYENV_ROOT": str(versions.parent), "UV_PYTHON_INSTALL_DIR": str(tmp_path), "PATH": there}
    return {**hidden, "FITSERVE_PYTHON_DOWNLOADS": "never"}


@pytest.mark.slow
@pytest.mark.parametrize("project", ["azure_iris"], indirect=True)
def test_the_published_script_where_no_python_36_is(project: Path, without_python_36: dict[str, str]) -> None:
    """The nearest newer one with a numpy that still has `np.str`, and a warning in the log, the run and the model."""
    if not any(version.startswith(("3.7.", "3.8.", "3.9.", "3.10.", "3.11.")) for version, _ in find_pythons()):
        pytest.skip("no Python from 3.7 to 3.11 was found on this machine")
    done = run_command(project, "exec", sys.executable, "client.py", "conda", env=without_python_36)
    facts = check_iris(done, "3.")
    assert not facts["interpreter"]["python"].startswith("3.6.")
    (numpy,) = [line for line in facts["interpreter"]["frozen"] if line.startswith("numpy==")]
    assert tuple(map(int, numpy.removeprefix("numpy==").split(".")[:2])) < (1, 24)
    told = f"Python 3.6.2 is not at hand; {facts['interpreter']['python']}, the nearest newer one, is used instead"
    assert f"WARNING: {told}" in done.stdout
    assert told in facts["warnings"]
    base = facts["scoring_uri"].partition("/api/")[0]
    model = httpx.get(f"{base}/models/sklearn-iris/versions/1", trust_env=False).json()
    assert told in model["notes"]
    assert model["facts"]["python"] == facts["interpreter"]["python"]


@pytest.mark.parametrize("project", ["azure_iris"], indirect=True)
def test_a_program_can_be_run_strictly_without_a_change(project: Path, without_python_36: dict[str, str]) -> None:
    done = run_command(project, "exec", "--strict-python", sys.executable, "client.py", "conda", env=without_python_36)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "ActivityFailedException" in last
    assert "it asks for Python 3.6.2; no such Python is at hand (there is: 3." in last
    assert not any(word.startswith("3.6.") for word in last.partition("there is: ")[2].split(", "))


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
    assert "entry_script" in facts["refused"]
    assert "score.py does not exist" in facts["refused"]
    assert facts["services"] == ["my-local-service", "my-sklearn-service", "with-key"]
    assert facts["models"] == ["my-sklearn-model"]
    assert facts["tags"] == {"area": "diabetes", "type": "regression"}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("project", ["azure_scoring"], indirect=True)
def test_deployments_with_scoring_scripts(project: Path) -> None:
    facts = facts_of(run_command(project, "exec", sys.executable, "client.py", timeout=270))
    assert facts["first"] == {"names": ["setosa", "virginica"], "greeting": "hello", "limits": {"least": 0}}
    assert facts["plain"] == {"predict": [0]}
    assert [json.loads(answer) for answer in facts["local"]] == [{"old": [0, 2]}, {"edited": [0, 2]}]
    assert json.loads(facts["updated"]) == {"edited": [0, 2]}
    assert facts["both"] == {"iris": [0, 2], "width": [0.2, 1.8]}
    assert "init() of broken.py raised RuntimeError: no weights" in facts["why"]
    assert 'raise RuntimeError("no weights")' in facts["logs"]
    assert facts["models"] == ["iris", "width"]
    assert facts["of both"] == ["iris:1", "width:1"]
    assert facts["kinds"]["local"] == "LocalWebservice"
    assert facts["state"] == "Healthy"


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


@pytest.mark.parametrize("project", ["azure_names"], indirect=True)
@pytest.mark.parametrize("python", ["3.6", "3.13"])
def test_every_name_of_the_table_is_used_once(project: Path, python: str) -> None:
    """What works works; what is refused is refused with a sentence when it is used, not at its import."""
    rows = {module: row._asdict() for module, row in table().items()}
    (project / "table.json").write_text(json.dumps(rows))
    facts = facts_of(run_command(project, "exec", str(python_of(python)), "client.py", "table.json"))
    assert facts["client"].startswith(python)
    assert facts["count"] > 120
    assert facts["problems"] == {}


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
