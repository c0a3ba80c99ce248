"""Small real models on disk."""

import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

SETOSA = [5.1, 3.5, 1.4, 0.2]


def iris_svc(folder: Path, **options: Any) -> Path:
    """An SVC on iris: `predict` only."""
    X, y = load_iris(return_X_y=True)
    return _dumped(SVC(kernel="linear", **options).fit(X, y), folder / "model.joblib")


def iris_probabilities(folder: Path) -> Path:
    X, y = load_iris(return_X_y=True)
    return _dumped(LogisticRegression(max_iter=500).fit(X, y), folder / "proba.joblib")


def diabetes_by_name(folder: Path) -> Path:
    """A pipeline fitted on named columns."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return _dumped(make_pipeline(StandardScaler(), Ridge()).fit(X, y), folder / "diabetes.joblib")


def code_model(folder: Path, body: str, *, name: str = "custom", width: int = 4) -> tuple[Path, Path]:
    """A model whose `predict` is `body`, from a module beside it: (its file, the folder with the module)."""
    code = folder / f"{name}-code"
    code.mkdir(parents=True, exist_ok=True)
    indented = "\n".join(f"        {line}" for line in body.splitlines())
    (code / f"{name}_model.py").write_text(
        f"import numpy as np\nclass Custom:\n    n_features_in_ = {width}\n    def predict(self, X):\n{indented}\n"
    )
    # A pickle that names the class without importing it here: protocol 0, written by hand.
    pickled = f"c{name}_model\nCustom\n)\x81.".encode("latin-1")
    path = folder / f"{name}.pkl"
    path.write_bytes(b"\x80\x04" + pickled)
    return path, code


def big_model(folder: Path, megabytes: int) -> Path:
    """A file of that size that is a pickle of an estimator with a large array."""
    model = Ridge()
    model.coef_ = np.zeros(megabytes * 2**20 // 8)
    model.intercept_ = 0.0
    path = folder / "big.pkl"
    with path.open("wb") as file:
        pickle.dump(model, file, protocol=5)
    return path


def _dumped(model: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, path)
    return path
