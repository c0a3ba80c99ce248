"""`make environments`: models of five versions of scikit-learn on one gateway, and the page's Python 3.6 environment.

Not part of `make test`: where nothing is in the installer's cache it downloads some hundred megabytes.
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from registry.environments.interpreters import find_pythons, interpreter_for
from registry.errors import EnvironmentBuildError
from tests.e2e.gateway import fitserve, serving

pytestmark = pytest.mark.skipif("FITSERVE_TEST_ENVIRONMENTS" not in os.environ, reason="run it with: make environments")

ROOT = Path(__file__).parent.parent.parent
OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
# scikit-learn → Python, and what else is pinned where they are trained
VERSIONS = {
    "0.19.1": ("3.6", ["numpy<1.20", "scipy<1.6", "joblib<1.1"]),
    "0.24.2": ("3.8", ["numpy<1.24", "scipy<1.8"]),
    "1.0.2": ("3.9", ["numpy<1.24", "scipy<1.9"]),
    "1.3.2": ("3.11", ["numpy<2", "scipy<1.13"]),
    "1.9.1": (OWN, ["numpy>=2"]),
}
FIT = """
import json, sys
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
import joblib
data = load_iris()
X, y = data.data, data.target
models = {
    "svc": SVC(kernel="linear").fit(X, y),
    "forest": RandomForestClassifier(20, random_state=0).fit(X, y),
    "pipe": make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y),
}
answers = {}
for name, model in models.items():
    joblib.dump(model, sys.argv[1] + "/" + name + ".joblib", compress=3 if name == "pipe" else 0)
    method = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    answers[name] = {method: getattr(model, method)(X[::10]).tolist()}
print(json.dumps({"rows": X[::10].tolist(), "answers": answers}))
"""
# These are served in an environment that is named, with the Python that they were trained with; the others by their facts alone.
NAMED = ("0.24.2", "1.0.2")
CONDA = """
name: project_environment
dependencies:
  - python=3.6.2
  - scikit-learn
  - numpy
  - pip:
    - azureml-defaults
"""


def has_python(version: str) -> bool:
    return any(found.startswith(f"{version}.") for found, _ in find_pythons())


def trained(scikit_learn: str, root: Path, folder: Path) -> dict[str, Any]:
    """Models of that version in `folder`, and what they answer where they were trained."""
    python, more = VERSIONS[scikit_learn]
    spec = {"python": python, "pip": [f"scikit-learn=={scikit_learn}", *more]}
    interpreter = interpreter_for(spec, root, strict=True)
    folder.mkdir()
    ran = subprocess.run(
        [interpreter.python, "-W", "ignore", "-c", FIT, folder], stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(ran.stdout))


def named_environment(version: str, folder: Path) -> list[str]:
    python, more = VERSIONS[version]
    file = folder / f"{version}.yml"
    pins = "".join(f"  - '{pin}'\n" for pin in [f"scikit-learn=={version}", "joblib", "pandas", *more])
    file.write_text(f"dependencies:\n- python={python}\n- pip:\n{pins}")
    return ["--environment", str(file)]


@pytest.mark.timeout(1800)
def test_five_versions_answer_rightly_at_once_on_one_gateway(tmp_path: Path) -> None:
    versions = [version for version, (python, _) in VERSIONS.items() if has_python(python)]
    if len(versions) < 5:
        pytest.skip(f"of the Pythons for {', '.join(VERSIONS)} only those for {', '.join(versions)} are at hand")
    try:
        made = {version: trained(version, tmp_path / "training", tmp_path / version) for version in versions}
    except EnvironmentBuildError as error:
        pytest.skip(f"a version cannot be installed here: {error}")
    with serving(tmp_path / "ws") as gateway:
        began = time.monotonic()
        for version in versions:
            for kind in made[version]["answers"]:
                name = f"{kind}-{version.replace('.', '-')}"
                file = tmp_path / version / f"{kind}.joblib"
                more = named_environment(version, tmp_path) if version in NAMED else []
                given = ["--name", name, "--no-wait", "--memory=0.3", *more]
                done = fitserve("register", str(file), *given, workspace=gateway.workspace)
                assert done.returncode == 0, done.stderr
        for version in versions:
            for kind in made[version]["answers"]:
                entry = gateway.wait_for(f"{kind}-{version.replace('.', '-')}", timeout=900)
                facts = entry["facts"]
                assert (facts["written_by"], facts["served_with"]) == (version, version)
                assert facts["python"].startswith(VERSIONS[version][0])
        print(f"\n15 models of 5 versions live after {time.monotonic() - began:.1f} s")

        def ask(version: str) -> None:
            for _ in range(20):
                for kind, expected in made[version]["answers"].items():
                    answer = gateway.score(f"{kind}-{version.replace('.', '-')}", made[version]["rows"])
                    [(method, values)] = answer.json().items()
                    assert _near(values, expected[method])

        with ThreadPoolExecutor(5) as pool:
            list(pool.map(ask, versions))


def _near(got: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return len(got) == len(expected) and all(map(_near, got, expected))
    return bool(abs(got - expected) <= 1e-9)


@pytest.mark.timeout(1800)
def test_the_pages_conda_file_from_submit_to_the_first_answer(tmp_path: Path) -> None:
    if not has_python("3.6"):
        pytest.skip("there is no Python 3.6 on this machine")
    conda = tmp_path / "conda_dependencies.yml"
    conda.write_text(CONDA)
    script = str(ROOT / "examples" / "train_iris.py")
    with serving(tmp_path / "ws") as gateway:
        for what in ("cold", "warm"):
            began = time.monotonic()
            done = fitserve("train", script, "-e", str(conda), workspace=gateway.workspace, timeout=900)
            assert done.returncode == 0, done.stderr
            run = json.loads(fitserve("runs", "--json", workspace=gateway.workspace).stdout)[0]["id"]
            given = ["outputs/model.joblib", "--run", run, "--name", "iris", "--framework-version", "0.19.1"]
            done = fitserve("register", *given, workspace=gateway.workspace)
            assert done.returncode == 0, done.stderr
            answer = gateway.score("iris", [[5.1, 3.5, 1.4, 0.2]])
            assert answer.json() == {"predict": [0]}
            print(f"\n{what}: {time.monotonic() - began:.1f} s from submit to the first answer")
        version = gateway.version("iris", 2)
        assert version["facts"]["python"].startswith("3.6")
        assert version["facts"]["environment"]["rule"] == "run"
        assert version["golden"]["recorded_in"]["python"].startswith("3.6")
        assert any("0.19.1 is declared" in note for note in version["notes"])
        shown = json.loads(fitserve("runs", run, "--json", workspace=gateway.workspace).stdout)
        assert any(release.startswith("scikit-learn==") for release in shown["interpreter"]["frozen"])
