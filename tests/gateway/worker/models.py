"""Small real models on disk, and orders that let a child load them."""

import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC

from gateway.schema.methods import METHODS

IRIS, LABELS = load_iris(return_X_y=True)


@dataclass(frozen=True)
class Stored:
    """A model file with what is needed to load it. `model` is the same object in this process, where there is one."""

    path: Path
    digest: str
    format: str
    model: Any = None
    code: Path | None = None

    def order(self, listen: Path, **changes: Any) -> dict[str, Any]:
        return {
            "artifact": str(self.path),
            "digest": self.digest,
            "format": self.format,
            "code": str(self.code) if self.code else None,
            "listen": str(listen),
            "threads": 1,
            "rlimits": {},
            "methods": list(METHODS),
            **changes,
        }


def dumped(model: Any, folder: Path, **options: Any) -> Stored:
    path = folder / f"{type(model).__name__}.joblib"
    joblib.dump(model, path, **options)
    return stored(path, model)


def pickled(model: Any, folder: Path) -> Stored:
    path = folder / f"{type(model).__name__}.pkl"
    path.write_bytes(pickle.dumps(model))
    return stored(path, model)


def stored(path: Path, model: Any = None, code: Path | None = None) -> Stored:
    form = {".joblib": "joblib", ".pkl": "pickle"}.get(path.suffix, "other")
    return Stored(path, hashlib.sha256(path.read_bytes()).hexdigest(), form, model, code)


def iris_svc(folder: Path) -> Stored:
    return dumped(SVC(kernel="linear").fit(IRIS, LABELS), folder)


def iris_forest(folder: Path) -> Stored:
    return dumped(RandomForestClassifier(20, n_jobs=-1, random_state=0).fit(IRIS, LABELS), folder)


def custom(folder: Path, body: str, before: str = "") -> Stored:
    """A model whose `predict(self, X)` is `body`, from a module beside it that runs `before` when imported."""
    name = f"custom_{hashlib.sha256((body + before).encode()).hexdigest()[:8]}"
    code = folder / f"{name}_code"
    code.mkdir()
    indented = "\n".join(f"        {line}" for line in body.splitlines())
    (code / f"{name}.py").write_text(
        "import os, sys, time, ctypes, warnings\nimport numpy as np\n"
        f"{before}\nclass Custom(object):\n    n_features_in_ = 4\n    def predict(self, X):\n{indented}\n"
    )
    path = folder / f"{name}.pkl"
    path.write_bytes(f"c{name}\nCustom\n(t\x81.".encode("latin-1"))  # names the class without importing it here
    return stored(path, code=code)


def rows(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.ascontiguousarray(np.resize(IRIS, (count, 4)))
