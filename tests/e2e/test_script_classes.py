"""Classes and functions of the training script itself, from the script to an answer."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.gateway import ENVIRONMENT, Gateway, fitserve, serving

SCRIPT = """
import os, pickle, sys
from dataclasses import dataclass
import joblib, numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
import beside

FACTOR = 3.0
print("running", len(sys.argv))
THING = open(__file__).read()


def scaled(X):
    return np.asarray(X) * FACTOR


@dataclass
class Options:
    shift: float = 1.5


class Shift(TransformerMixin, BaseEstimator):
    def __init__(self, options=None):
        self.options = options

    def fit(self, X, y=None):
        self.seen_ = len(THING)
        return self

    def transform(self, X):
        return shifted(X, (self.options or Options()).shift)


def shifted(X, by):
    return np.asarray(X) + by * beside.ONE


if __name__ == "__main__":
    X = np.arange(12.0).reshape(4, 3)
    model = make_pipeline(FunctionTransformer(scaled), Shift(Options(2.0)), Ridge()).fit(X, [1, 2, 3, 5])
    os.makedirs("outputs", exist_ok=True)
    joblib.dump(model, "outputs/model.joblib")
    pickle.dump(model, open("outputs/model.pkl", "wb"))
    open("outputs/right.json", "w").write(str(model.predict(X[:2]).tolist()))
"""
ROWS = [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    (folder / "beside.py").write_text("ONE = 1\n")
    (folder / "train_it.py").write_text(SCRIPT)
    subprocess.run([sys.executable, "train_it.py"], cwd=folder, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("classes") / "ws") as gateway:
        yield gateway


@pytest.mark.parametrize("name", ["model.joblib", "model.pkl"])
def test_a_file_with_its_script(gateway: Gateway, source: Path, name: str) -> None:
    model = name.replace(".", "-")
    file, script = str(source / "outputs" / name), str(source / "train_it.py")
    refused = fitserve("register", file, "--name", model, workspace=gateway.workspace)
    assert refused.returncode == 1
    assert "(--code train.py)" in refused.stderr
    done = fitserve("register", file, "--name", model, "--code", script, workspace=gateway.workspace)
    assert done.returncode == 0, done.stderr
    assert gateway.score(model, ROWS).json()["predict"] == json.loads((source / "outputs/right.json").read_text())
    assert "running" not in fitserve("logs", model, workspace=gateway.workspace).stdout


def test_up(gateway: Gateway, source: Path) -> None:
    done = fitserve("up", str(source / "train_it.py"), "--model-path", "outputs/model.pkl", workspace=gateway.workspace)
    assert done.returncode == 0, done.stderr
    assert gateway.score("it", ROWS).json()["predict"] == json.loads((source / "outputs/right.json").read_text())
