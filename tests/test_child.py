"""The scoring child inside somebody else's Python, which has numpy and scikit-learn and nothing of ours."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.worker import wire
from registry.environments.interpreters import find_pythons, interpreter_for
from registry.errors import EnvironmentBuildError
from tests.gateway.worker.models import Stored, stored
from tests.gateway.worker.nest import nest

WORKERS = Path(wire.__file__).parent
ALONE = sorted(file.name for file in WORKERS.glob("*.py") if file.name != "__init__.py")

# (Python, what is installed); an own empty spec would be our own Python with all of our packages.
ENVIRONMENTS = {
    "bare": (f"{sys.version_info[0]}.{sys.version_info[1]}", ["numpy", "scikit-learn"]),
    "3.6": ("3.6", ["scikit-learn==0.19.1", "numpy==1.19.5", "scipy==1.5.4"]),
    "3.7": ("3.7", ["scikit-learn==0.24.2", "numpy==1.21.6", "scipy==1.7.3", "joblib==1.3.2"]),
    "3.9": ("3.9", ["scikit-learn==1.3.2", "numpy==1.26.4", "pandas==2.1.4"]),
    "3.13": ("3.13", ["scikit-learn", "numpy"]),
}

# Runs in the other Python: fits models there and says what they answer there.
FIT = """
import json, pickle, sys
import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
try:
    import joblib
except ImportError:
    from sklearn.externals import joblib
X, y = load_iris(True) if sys.version_info < (3, 7) else load_iris(return_X_y=True)
models = {
    "svc.joblib": SVC(kernel="linear").fit(X, y),
    "forest.pkl": RandomForestClassifier(10, random_state=0, n_jobs=2).fit(X, y),
    "pipe.joblib": make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y),
}
answers = {}
for name, model in models.items():
    path = sys.argv[1] + "/" + name
    joblib.dump(model, path, compress=3) if name.endswith("joblib") else pickle.dump(model, open(path, "wb"))
    answers[name] = {"class": type(model).__name__, "predict": model.predict(X[::10]).tolist()}
    if hasattr(model, "predict_proba"):
        answers[name]["predict_proba"] = model.predict_proba(X[::10]).tolist()
print(json.dumps({"rows": X[::10].tolist(), "models": answers}))
"""


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def python(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Path:
    version, packages = ENVIRONMENTS[request.param]
    if not any(found.startswith(f"{version}.") for found, _ in find_pythons()):
        pytest.skip(f"there is no Python {version} on this machine")
    root = pytestconfig.cache.mkdir("interpreters")
    try:
        return interpreter_for({"python": version, "pip": packages}, root, strict=True).python
    except EnvironmentBuildError as error:
        pytest.skip(f"its packages cannot be installed here: {error}")


@pytest.mark.timeout(300)
def test_models_of_another_python_answer_as_they_do_there(python: Path, tmp_path: Path) -> None:
    ran = subprocess.run([python, "-W", "ignore", "-c", FIT, tmp_path], stdout=subprocess.PIPE, text=True, check=True)
    expected = json.loads(ran.stdout)
    X = np.array(expected["rows"])
    with nest(str(python)) as place:

        async def work(model: Stored, methods: list[str], fresh: bool) -> tuple[Any, dict[str, Any]]:
            async with place.serving(model, fresh=fresh) as (child, client):
                return child.description, {method: await client.array(method, X) for method in methods}

        for name, answers in expected["models"].items():
            methods = [method for method in answers if method != "class"]
            for fresh in (False, True) if name == "svc.joblib" else (False,):
                description, got = place.run(work(stored(tmp_path / name), methods, fresh))
                assert got["predict"].tolist() == answers["predict"]
                if "predict_proba" in answers:
                    assert np.allclose(got["predict_proba"], answers["predict_proba"], rtol=1e-12)
                assert description["class"] == answers["class"]
                assert (description["n_features"], description["classes"]) == (4, [0, 1, 2])
                assert set(methods) <= set(description["methods"])
                assert description["sklearn"] == place.nursery.ready["sklearn"]
                assert (description["kind"], description["written_by"]) == ("array", None)


@pytest.mark.parametrize("name", ALONE)
def test_it_imports_nothing_of_ours(name: str) -> None:
    tree = ast.parse((WORKERS / name).read_text(encoding="utf-8"), feature_version=(3, 6))
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not any(imported.split(".")[0] in ("gateway", "registry", "trainer") for imported in names)


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8"])
def test_it_is_valid_in_old_pythons(version: str) -> None:
    paths = [path for found, path in find_pythons() if found.startswith(f"{version}.")]
    if not paths:
        pytest.skip(f"there is no Python {version} on this machine")
    code = "import sys\nfor name in sys.argv[1:]: compile(open(name, encoding='utf-8').read(), name, 'exec')"
    subprocess.run([paths[0], "-c", code, *[str(WORKERS / name) for name in ALONE]], check=True)
