"""A model is served by the scikit-learn that wrote it, and refused where its answers would change."""

import json
from pathlib import Path

import joblib
import pytest
import sklearn
from sklearn.datasets import load_iris
from sklearn.svm import SVC

from registry import services
from registry.artifacts.facts import read_artifact
from registry.environments.interpreters import interpreter_for
from registry.environments.serving import Own, decide
from registry.environments.spec import OWN_NAME
from registry.errors import EnvironmentBuildError
from registry.inference import InferenceConfig
from registry.sdk.environment import Environment
from registry.sdk.model import Model
from registry.sdk.workspace import Workspace
from tests.e2e.gateway import fitserve, serving
from tests.registry.test_serving_environment import version

FOREST = Path(__file__).parent.parent / "registry" / "artifacts" / "1.3.2-forest-joblib.bin"
ROWS = load_iris(return_X_y=True)[0][::40].tolist()


@pytest.fixture
def workspace(tmp_path: Path, pytestconfig: pytest.Config) -> Path:
    """One whose interpreters outlive it: with that of the forest ready, so that tests do not wait for downloads."""
    cache = pytestconfig.cache.mkdir("interpreters")
    wanted = decide(version(read_artifact(FOREST).to_json()), Own.here())
    try:
        interpreter_for(wanted.spec, cache, name=wanted.name)
    except EnvironmentBuildError as error:
        pytest.skip(f"scikit-learn 1.3.2 cannot be installed here: {error}")
    root = tmp_path / "ws"
    root.mkdir(mode=0o700)
    (root / "interpreters").symlink_to(cache)
    return root


@pytest.mark.timeout(300)
def test_the_version_that_wrote_a_model_serves_it_and_another_is_refused(workspace: Path, tmp_path: Path) -> None:
    """Lesson: versions."""
    svc = SVC(kernel="linear").fit(*load_iris(return_X_y=True))
    joblib.dump(svc, tmp_path / "svc.joblib")
    sample, expected = tmp_path / "sample.json", tmp_path / "expected.json"
    sample.write_text(json.dumps(ROWS))
    expected.write_text(json.dumps({"predict": [0, 1, 1, 2]}))
    with serving(workspace) as gateway:
        done = fitserve(
            "register", str(tmp_path / "svc.joblib"), "--name=svc", "--framework-version=0.19.1", workspace=workspace
        )
        assert done.returncode == 0, done.stderr
        assert f"declared 0.19.1, written by {sklearn.__version__}, served with {sklearn.__version__}" in done.stdout
        assert f"0.19.1 is declared, but {sklearn.__version__} wrote the file" in done.stdout
        assert gateway.version("svc", 1)["facts"]["environment"]["spec"] == {}

        done = fitserve("register", str(FOREST), "--name", "forest", workspace=workspace)
        assert done.returncode == 0, done.stderr
        assert "written by 1.3.2, served with 1.3.2" in done.stdout
        right = gateway.score("forest", ROWS).json()
        assert right == {"predict_proba": [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]}
        assert gateway.score("svc", ROWS).json() == {"predict": svc.predict(ROWS).tolist()}

        done = fitserve("env", "use", "forest", "own", workspace=workspace)
        assert done.returncode == 1
        assert "not in force: model forest:1 answers differently than recorded" in done.stderr
        assert "predict_proba" in done.stderr
        assert gateway.score("forest", ROWS).json() == right
        status = gateway.version("forest", 1)
        assert (status["facts"]["served_with"], status["golden"]["difference"]) == ("1.3.2", None)

        done = fitserve("register", str(FOREST), "--name", "forced", "--environment", "own", workspace=workspace)
        assert done.returncode == 1
        assert "answers probabilities such as 12.5" in done.stderr
        assert gateway.score("forced", ROWS).status_code == 503

        given = ["--sample", str(sample), "--expected", str(expected)]
        done = fitserve("register", str(FOREST), "--name", "expected", *given, workspace=workspace)
        assert done.returncode == 1
        assert "answers differently than expected: predict, row 1: 0 is answered where 1" in done.stderr
        expected.write_text(json.dumps({"predict": [0, 0, 1, 2]}))
        done = fitserve("register", str(FOREST), "--name", "expected", *given, workspace=workspace)
        assert done.returncode == 0, done.stderr


@pytest.mark.timeout(120)
def test_an_environment_that_cannot_be_built_fails_with_its_sentence(workspace: Path, tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("scikit-learn==1.3.2\nno-such-package-of-anybody==1.0\n")
    with serving(workspace) as gateway:
        done = fitserve("register", str(FOREST), "--name=m", "-e", str(requirements), workspace=workspace)
        assert done.returncode == 1
        assert "no-such-package-of-anybody" in done.stderr
        assert gateway.version("m", 1)["state"] == "failed"
        assert fitserve("env", "use", "m", "auto", workspace=workspace).returncode == 0
        assert gateway.score("m", ROWS).status_code == 200


def test_a_python_that_is_not_there_is_refused_where_that_is_asked_for(tmp_path: Path) -> None:
    conda = tmp_path / "conda.yml"
    conda.write_text("dependencies:\n- python=3.99\n- scikit-learn\n")
    done = fitserve("register", str(FOREST), "--name=m", "-e", str(conda), "--strict-python", workspace=tmp_path / "ws")
    assert done.returncode == 3
    assert "it asks for Python 3.99" in done.stderr
    script = tmp_path / "train.py"
    script.write_text("print('never')\n")
    done = fitserve("train", str(script), "-e", str(conda), "--strict-python", workspace=tmp_path / "ws")
    assert done.returncode == 1
    assert "it asks for Python 3.99" in done.stderr
    with Workspace.open(tmp_path / "ws") as workspace:
        assert not workspace.metadata.list_models()


def test_environments_are_built_once_and_shown(workspace: Path, tmp_path: Path) -> None:
    requirements = tmp_path / "six.txt"
    requirements.write_text("six==1.16.0\nazureml-defaults\n")
    done = fitserve("env", "build", str(requirements), "--name", "six", workspace=workspace)
    assert done.returncode == 0, done.stderr
    assert "azureml-defaults is not installed" in done.stdout
    shown = json.loads(fitserve("env", "show", "six", "--json", workspace=workspace).stdout)
    assert "six==1.16.0" in shown["built"]["frozen"]
    listed = json.loads(fitserve("env", "list", "--json", workspace=workspace).stdout)
    assert {e["name"]: e["built"] for e in listed}["six"] == shown["built"]["python"]


def test_the_answers_that_count_are_those_of_the_models_own_environment(workspace: Path) -> None:
    """Also where a service that has another one is the first to load it."""
    with Workspace.open(workspace) as opened:
        model = Model.register(opened, FOREST, "forest", show_output=False)
        own = Environment(OWN_NAME)
        digest = opened.metadata.put_environment(own.name, own.digest, own.spec()).digest
        services.deploy(opened, "elsewhere", [model], inference=InferenceConfig(environment=digest))
        nowhere = Environment("nowhere")
        nowhere.python.conda_dependencies.add_pip_package("no-such-package-of-anybody==1.0")
        lost = Model.register(opened, FOREST, "lost", environment=nowhere, show_output=False)
        services.deploy(opened, "lost-elsewhere", [lost], inference=InferenceConfig(environment=digest))
    with serving(workspace, "--start", "first-use") as gateway:
        answer = gateway.http.post("/api/v1/service/elsewhere/score", json={"data": ROWS})
        assert answer.status_code == 503
        assert "answers differently than recorded: predict_proba" in answer.json()["message"]
        assert gateway.score("forest", ROWS).json()["predict_proba"][1] == [1, 0, 0]
        assert gateway.version("forest", 1)["golden"]["recorded_in"]["sklearn"] == "1.3.2"
        answer = gateway.http.post("/api/v1/service/lost-elsewhere/score", json={"data": ROWS})
        assert answer.status_code == 503
        assert "answers probabilities such as 12.5" in answer.json()["message"]  # also with nothing to compare with
