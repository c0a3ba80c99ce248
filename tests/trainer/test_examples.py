"""The three examples, as `fitserve train` runs them."""

from pathlib import Path

import pytest

from registry.sdk.workspace import Workspace
from trainer import Experiment, Run, ScriptRunConfig

EXAMPLES = Path(__file__).parents[2] / "examples"


def train(workspace: Workspace, script: str, *arguments: object) -> Run:
    run = Experiment(workspace, "examples").submit(ScriptRunConfig(EXAMPLES, script, arguments=list(arguments)))
    run.wait_for_completion()
    return run


def test_iris(workspace: Workspace) -> None:
    run = train(workspace, "train_iris.py", "--kernel", "linear", "--penalty", 1.0)
    assert run.get_metrics() == {"Kernel type": "linear", "Penalty": 1.0, "Accuracy": 0.9736842105263158}
    assert "outputs/model.joblib" in run.get_file_names()
    text = run.log_path.read_text()
    assert "0.974" in text
    assert "[[13  0  0]\n [ 0 15  1]\n [ 0  0  9]]" in text


def test_iris_takes_its_arguments(workspace: Workspace) -> None:
    run = train(workspace, "train_iris.py", "--kernel", "rbf", "--penalty", 0.5)
    assert run.get_metrics()["Kernel type"] == "rbf"
    assert run.get_metrics()["Penalty"] == 0.5


def test_diabetes_knows_its_columns(workspace: Workspace, tmp_path: Path) -> None:
    import joblib
    import pandas as pd

    run = train(workspace, "train_diabetes.py")
    assert run.get_metrics()["r2"] > 0.3
    assert set(run.get_metrics()["errors"]) == {"mean_absolute", "largest"}
    model = joblib.load(run.download_file("outputs/model.joblib", tmp_path / "model.joblib"))
    sample = pd.read_csv(run.download_file("outputs/sample.csv", tmp_path / "sample.csv"))
    assert list(model.feature_names_in_) == list(sample.columns)
    assert model.predict(sample).shape == (2,)


def test_digits_is_a_forest_on_64_pixels(workspace: Workspace, tmp_path: Path) -> None:
    import joblib

    run = train(workspace, "train_digits.py", "--trees", 20)
    metrics = run.get_metrics()
    assert metrics["accuracy"] > 0.9
    assert len(metrics["confusion"]["data"]["matrix"]) == 10
    model = joblib.load(run.download_file("outputs/model.joblib", tmp_path / "model.joblib"))
    assert (model.n_features_in_, len(model.estimators_)) == (64, 20)


@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_also_runs_alone(script: str, tmp_path: Path) -> None:
    """Outside of a run its logging is printed; the shim has to be on the path by hand."""
    import os
    import subprocess
    import sys

    shim = EXAMPLES.parent / "trainer" / "shim"
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(shim)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Attempted to log scalar metric" in done.stdout
    assert (tmp_path / "outputs" / "model.joblib").stat().st_size > 1000
