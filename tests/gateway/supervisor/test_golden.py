"""Which models their golden rows keep from serving: those that are not fitted, or that answer none of them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.covariance import EmpiricalCovariance
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectFromModel
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MultiLabelBinarizer, Normalizer, StandardScaler
from sklearn.svm import SVC

from gateway.schema.methods import METHODS
from gateway.supervisor.golden import GoldenRows, Report
from gateway.supervisor.replicas import Child
from registry.records import Artifact, Json, ModelVersion
from registry.workspace import Workspace
from tests.gateway.worker.models import dumped, pickled
from tests.gateway.worker.nest import Nest

X, y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace.open(tmp_path_factory.mktemp("golden") / "ws") as opened:
        yield opened


class Rows:
    """A sample that was read."""

    names = None
    table = True

    def __init__(self, rows: list[list[float]]) -> None:
        self.rows = rows


class Careful(BaseEstimator):  # type: ignore[misc]
    """An author's own estimator: without attributes that end in an underscore, and picky about its rows."""

    n_features_in_ = 2

    def __init__(self, least: float = 1000.0) -> None:
        self.least = least

    def fit(self, X: Any, y: Any = None) -> "Careful":
        return self

    def predict(self, X: Any) -> Any:
        if (np.asarray(X) < self.least).any():
            raise ValueError("out of range")
        return np.ones(len(X))


def report_of(
    place: Nest, workspace: Workspace, model: Any, folder: Path, sample: Rows | None = None, **description: Json
) -> Report:
    """What the golden rows say of a model at its first load in a real child."""
    stored = pickled(model, folder) if type(model).__module__ == __name__ else dumped(model, folder)
    artifact = Artifact(digest=stored.digest, size=1000, kind="file", name=stored.path.name, format=stored.format)
    record = ModelVersion(name="m", version=1, created_time=datetime.now(UTC), artifact=artifact)

    async def work() -> Report:
        async with place.serving(stored, methods=list(METHODS), code=str(Path(__file__).parents[3])) as (handle, _):
            assert handle.description is not None
            child = Child(1, handle, str(handle.socket_path), handle.description | description)
            return await GoldenRows(workspace, 60.0).check(record, child, sample)

    return place.run(work())


UNFITTED = [
    SVC(),
    make_pipeline(StandardScaler(), SVC()),
    RandomForestClassifier(),
    GridSearchCV(SVC(), {"C": [1, 2]}),
    make_pipeline(TfidfVectorizer(), MultinomialNB()),
    make_pipeline(make_column_transformer((StandardScaler(), [0, 1])), Ridge()),
    make_pipeline(FunctionTransformer(), Ridge()),
    IsotonicRegression(),
    EmpiricalCovariance(),
    SelectFromModel(Ridge()),
    make_pipeline(StandardScaler().fit(X), SVC()),  # fitted in part: its width is known
]


@pytest.mark.parametrize("model", UNFITTED, ids=lambda model: str(model)[:40])
def test_an_unfitted_model_is_refused_in_its_own_words(
    place: Nest, workspace: Workspace, tmp_path: Path, model: Any
) -> None:
    problem = report_of(place, workspace, model, tmp_path).problem
    assert problem is not None
    assert problem.startswith("is not fitted: ")


NEED_NO_FIT = [
    Normalizer(),
    FunctionTransformer(np.log1p),
    HashingVectorizer(),
    make_pipeline(Normalizer(), FunctionTransformer()),
    SelectFromModel(Ridge().fit(X, y), prefit=True),
    MultiLabelBinarizer().fit([[1, 2], [2]]),
    IsotonicRegression().fit(X[:, 0], y),
    Careful(),  # scikit-learn's check takes it for unfitted
]


@pytest.mark.parametrize("model", NEED_NO_FIT, ids=lambda model: str(model)[:40])
def test_a_model_that_needs_no_fit_or_tells_little_of_its_input_is_served(
    place: Nest, workspace: Workspace, tmp_path: Path, model: Any
) -> None:
    report = report_of(place, workspace, model, tmp_path)
    assert report.problem is None


def test_a_model_that_answers_none_of_its_rows_is_refused_with_its_sentence(
    place: Nest, workspace: Workspace, tmp_path: Path
) -> None:
    broken = Ridge().fit(X, y)
    broken.coef_ = np.zeros(3)  # as a file that another release reads wrongly
    problem = report_of(place, workspace, broken, tmp_path).problem
    assert problem is not None
    assert problem.startswith("answers none of the rows that were made for it: predict fails with ValueError: ")


def test_rows_of_a_sample_are_proof_where_rows_of_ours_are_none(
    place: Nest, workspace: Workspace, tmp_path: Path
) -> None:
    drawn = report_of(place, workspace, Careful(), tmp_path)
    assert drawn.problem is None
    assert drawn.unverified is not None
    assert "predict fails with ValueError: out of range" in drawn.unverified
    wrong = report_of(place, workspace, Careful(), tmp_path, Rows([[1.0, 2.0]]))
    assert wrong.problem == "answers none of the rows of its sample: predict fails with ValueError: out of range"
    right = report_of(place, workspace, Careful(), tmp_path, Rows([[1001.0, 2000.0]]))
    assert (right.problem, right.unverified, right.answers) == (None, None, 1)
