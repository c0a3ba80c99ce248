from collections.abc import Iterator
from pathlib import Path

import joblib
import pytest
from sklearn.datasets import load_iris
from sklearn.svm import SVC

from registry import Workspace


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the developer's environment nor the folder the tests run in names a workspace."""
    for name in ("FITSERVE_WORKSPACE", "FITSERVE_WORKSPACE_FOLDER", "FITSERVE_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(tmp_path / ".fitserve") as workspace:
        yield workspace


@pytest.fixture(scope="session")
def _fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fitted") / "model.joblib"
    joblib.dump(SVC(kernel="linear").fit(*load_iris(return_X_y=True)), path)
    return path


@pytest.fixture
def model_file(_fitted: Path, tmp_path: Path) -> Path:
    """A fitted SVC on iris, in a file of this test's own."""
    copy = tmp_path / "model.joblib"
    copy.write_bytes(_fitted.read_bytes())
    return copy
