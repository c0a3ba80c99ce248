"""`make environments`: LightGBM's and XGBoost's models, trained and served in an environment that holds their packages."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway import Gateway, fitserve, serving

pytestmark = [
    pytest.mark.skipif("FITSERVE_TEST_ENVIRONMENTS" not in os.environ, reason="run it with: make environments"),
    pytest.mark.timeout(1200),
]

REQUIREMENTS = "scikit-learn==1.5.2\nnumpy<2.3\npandas<3\nlightgbm==4.6.0\nxgboost-cpu==2.1.4\n"
TRAIN = """
import json, os, joblib
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier, XGBRegressor

data = load_iris(as_frame=True)
X, y, labels = data.data, data.target, data.target_names[data.target]
models = {
    "lightgbm": LGBMClassifier(n_estimators=5, verbose=-1).fit(X, labels),
    "lightgbm-pipeline": make_pipeline(StandardScaler(), LGBMClassifier(n_estimators=5, verbose=-1)).fit(X, labels),
    "lightgbm-of-arrays": LGBMRegressor(n_estimators=5, verbose=-1).fit(X.to_numpy(), y),
    "xgboost": XGBClassifier(n_estimators=5).fit(X, y),
    "xgboost-of-arrays": XGBRegressor(n_estimators=5).fit(X.to_numpy(), y),
}
os.makedirs("outputs")
rows = X.iloc[::10]
answers = {}
for name, model in models.items():
    joblib.dump(model, "outputs/" + name + ".joblib")
    given = rows.to_numpy() if name.endswith("arrays") else rows
    methods = [method for method in ("predict", "predict_proba") if hasattr(model, method)]
    answers[name] = {method: getattr(model, method)(given).tolist() for method in methods}
told = {"columns": list(X.columns), "rows": rows.to_numpy().tolist(), "answers": answers}
json.dump(told, open("outputs/told.json", "w"))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, Any]]:
    """The workspace, the run, and what the models answered where they were trained."""
    folder = tmp_path_factory.mktemp("libraries")
    (folder / "train.py").write_text(TRAIN)
    (folder / "requirements.txt").write_text(REQUIREMENTS)
    given = (str(folder / "train.py"), "-e", str(folder / "requirements.txt"))
    done = fitserve("train", *given, workspace=folder / "ws", timeout=900)
    if "could not be built" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = json.loads(fitserve("runs", "--json", workspace=folder / "ws").stdout)
    told = next((folder / "ws" / "runs").rglob("told.json"))
    return folder / "ws", str(run["id"]), json.loads(told.read_text())


def asked(gateway: Gateway, name: str, method: str, columns: list[str], rows: list[list[float]]) -> Any:
    answer = gateway.http.post(f"/models/{name}/{method}", json={"data": {"columns": columns, "data": rows}})
    assert answer.status_code == 200, answer.text
    return answer.json()[method]


def test_they_are_served_where_their_packages_are(trained: tuple[Path, str, dict[str, Any]]) -> None:
    workspace, run, told = trained
    for name in told["answers"]:
        register = ("register", f"outputs/{name}.joblib", "--run", run, "--name", name, "--no-wait")
        done = fitserve(*register, workspace=workspace)
        assert done.returncode == 0, done.stderr
    file = str(next((workspace / "runs").rglob("outputs/lightgbm.joblib")))
    for more in (("--name", "elsewhere", "--environment", "own"), ("--name", "by-its-facts")):
        assert fitserve("register", file, *more, "--no-wait", workspace=workspace).returncode == 0
    columns, rows = told["columns"], told["rows"]
    backwards = [row[::-1] for row in rows]
    with serving(workspace) as gateway:
        for name, answers in told["answers"].items():
            gateway.wait_for(name, timeout=120)
            for method, expected in answers.items():
                assert asked(gateway, name, method, columns, rows) == expected
                assert asked(gateway, name, method, columns, rows[:1]) == expected[:1]
                if not name.endswith("arrays"):
                    assert asked(gateway, name, method, columns[::-1], backwards) == expected
        # Without a run the file itself says what it needs, if not in which release.
        gateway.wait_for("by-its-facts", timeout=600)
        expected = told["answers"]["lightgbm"]["predict"]
        assert asked(gateway, "by-its-facts", "predict", columns[::-1], backwards) == expected
        failed = gateway.wait_for("elsewhere", state="failed", timeout=60)
        assert "module lightgbm is not installed in this model's environment" in failed["reason"]
        assert "--environment FILE" in failed["reason"]
