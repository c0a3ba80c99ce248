"""What a model says of itself, over the estimators that users have."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    LabelEncoder,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from gateway.schema.methods import METHODS
from gateway.worker.describe import NotScorable, describe
from gateway.worker.loading import run_on_one_core
from gateway.worker.pipeline import nested
from gateway.worker.process_setup import memory_bytes, resident

X, y = load_iris(return_X_y=True)
NAMED = pd.DataFrame(X, columns=["a", "b", "c", "d"])
FRAME = pd.DataFrame(
    {
        "age": [20.0, 30.0, np.nan, 50.0] * 5,
        "city": ["Bern", "Rome", "Oslo", "Bern"] * 5,
        "grade": ["low", "high", "low", "high"] * 5,
        "note": ["good day", "bad day", "night", "good"] * 5,
    }
)
TARGET = [0, 1, 0, 1] * 5


def said(model: Any) -> dict[str, Any]:
    return describe(model, METHODS)


def test_an_svc() -> None:
    words = said(SVC().fit(X, y))
    assert words["class"] == "SVC"
    assert words["module"] == "sklearn.svm._classes"
    assert words["methods"] == ["predict", "decision_function"]
    assert (words["n_features"], words["feature_names"], words["kind"]) == (4, None, "array")
    assert (words["classes"], words["output_dtype"], words["n_outputs"]) == ([0, 1, 2], "<i8", 1)
    assert (words["estimator_type"], words["allows_nan"]) == ("classifier", False)


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(FeatureUnion([("s", StandardScaler()), ("t", StandardScaler())]), SVC()),
        GridSearchCV(make_pipeline(StandardScaler(), SVC()), {"svc__C": [1, 2]}, cv=2),
        CalibratedClassifierCV(make_pipeline(StandardScaler(), SVC()), cv=2),
        VotingClassifier([("t", DecisionTreeClassifier()), ("l", LogisticRegression(max_iter=1000))]),
        StackingClassifier(
            [("t", DecisionTreeClassifier()), ("k", KNeighborsClassifier())], LogisticRegression(), cv=2
        ),
        OneVsRestClassifier(SVC()),
        GradientBoostingClassifier(n_estimators=2),
        KMeans(2, n_init=1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_names_and_widths_are_found_at_any_depth(model: Any) -> None:
    plain = said(model.fit(X, y))
    assert (plain["n_features"], plain["feature_names"], plain["kind"]) == (4, None, "array")
    named = said(model.fit(NAMED, y))
    assert named["feature_names"] == ["a", "b", "c", "d"]
    assert (named["n_features"], named["kind"]) == (4, "array")  # scikit-learn's own only compares the names


def test_missing_values() -> None:
    holes = np.where(np.arange(X.size).reshape(X.shape) % 7 == 0, np.nan, X)
    yes = [
        make_pipeline(SimpleImputer(), LogisticRegression()),
        make_pipeline(StandardScaler(), SimpleImputer(), SVC()),
        HistGradientBoostingClassifier(max_iter=2),
        make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=2)),
        VotingClassifier(
            [("h", HistGradientBoostingClassifier(max_iter=2)), ("p", make_pipeline(SimpleImputer(), SVC()))]
        ),
    ]
    for model in yes:
        assert said(model.fit(holes, y))["allows_nan"] is True
        model.predict(holes)
    no = [
        LogisticRegression(max_iter=1000),
        make_pipeline(StandardScaler(), SVC()),
        GradientBoostingClassifier(n_estimators=2),
        VotingClassifier([("h", HistGradientBoostingClassifier(max_iter=2)), ("s", SVC())]),
    ]
    for model in no:
        assert said(model.fit(X, y))["allows_nan"] is False
        with pytest.raises(ValueError, match="NaN"):
            model.predict(holes)


def test_a_column_transformer_tells_types_categories_and_holes() -> None:
    parts = ColumnTransformer(
        [
            ("age", make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
            ("city", OneHotEncoder(), ["city"]),
            ("grade", make_pipeline(SimpleImputer(strategy="most_frequent"), OrdinalEncoder()), [2]),
            ("note", TfidfVectorizer(), "note"),
        ]
    )
    words = said(make_pipeline(parts, LogisticRegression()).fit(FRAME, TARGET))
    assert words["kind"] == "columns"
    assert words["feature_names"] == ["age", "city", "grade", "note"]
    assert words["column_types"] == {"age": "number", "city": "string", "grade": "string", "note": "string"}
    assert words["categories"] == {"city": ["Bern", "Oslo", "Rome"], "grade": ["high", "low"]}
    assert sorted(words["closed_categories"]) == ["city", "grade"]
    assert words["nullable"]["age"] is True
    assert words["classes"] == [0, 1]


def test_transformers_of_numbers_tell_that_their_columns_are() -> None:
    parts = [(Normalizer(), ["a"]), (KNNImputer(), ["b"]), (PolynomialFeatures(), ["c"])]
    told = describe(make_column_transformer(*parts, ("passthrough", ["d"])).fit(NAMED), METHODS)
    assert told["column_types"] == {"a": "number", "b": "number", "c": "number"}


def test_columns_chosen_by_selector_mask_and_slice() -> None:
    frame = FRAME[["age", "city", "grade"]].fillna(1.0)
    for numbers, texts in (
        (make_column_selector(dtype_include="number"), make_column_selector(dtype_exclude="number")),
        ([True, False, False], slice(1, 3)),
        (slice("age", "age"), slice("city", "grade")),
        ([0], [-2, -1]),
    ):
        parts = make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore"), texts))
        words = said(make_pipeline(parts, SVC()).fit(frame, TARGET))
        assert words["column_types"] == {"age": "number", "city": "string", "grade": "string"}
        assert words["closed_categories"] == []


def test_an_encoder_without_names_counts_its_columns() -> None:
    words = said(OneHotEncoder().fit(FRAME[["city", "grade"]].to_numpy()))
    assert words["column_types"] == {"0": "string", "1": "string"}
    assert words["categories"]["1"] == ["high", "low"]
    assert (words["kind"], words["n_features"]) == ("array", 2)


def test_what_needs_a_frame_gets_one() -> None:
    class Own(LogisticRegression):
        pass

    assert said(Own(max_iter=1000).fit(NAMED, y))["kind"] == "columns"
    assert said(make_pipeline(FunctionTransformer(lambda f: f[["a", "b"]]), SVC()).fit(NAMED, y))["kind"] == "columns"
    assert said(make_pipeline(FunctionTransformer(), SVC()).fit(NAMED, y))["kind"] == "array"
    frame = NAMED.assign(d=pd.Categorical(np.array(["p", "q", "r"])[y]))
    assert said(HistGradientBoostingClassifier(max_iter=2).fit(frame, y))["kind"] == "columns"


@pytest.mark.parametrize(
    ("model", "item"),
    [
        (make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(FRAME["note"], TARGET), "text"),
        (make_pipeline(HashingVectorizer(n_features=16), SVC()).fit(FRAME["note"], TARGET), "text"),
        (DictVectorizer().fit([{"a": 1}]), "record"),
        (LabelEncoder().fit(["p", "q"]), "label"),
    ],
    ids=["tfidf", "hashing", "dict", "labels"],
)
def test_lists(model: Any, item: str) -> None:
    words = said(model)
    assert (words["kind"], words["item"], words["n_features"]) == ("list", item, None)


def test_outputs() -> None:
    Y = np.column_stack([y, y == 0])
    words = said(MultiOutputClassifier(LogisticRegression(max_iter=1000)).fit(X, Y))
    assert (words["classes"], words["n_outputs"]) == ([[0, 1, 2], [0, 1]], 2)
    assert said(LinearRegression().fit(X, Y))["n_outputs"] == 2
    assert said(Ridge().fit(X, y))["n_outputs"] == 1
    assert said(SVC().fit(X, np.array(["p", "q", "r"])[y]))["classes"] == ["p", "q", "r"]
    assert said(TransformedTargetRegressor(Ridge()).fit(X, y))["estimator_type"] == "regressor"
    assert said(NearestNeighbors().fit(X))["methods"] == [
        "kneighbors",
        "kneighbors_graph",
        "radius_neighbors",
        "radius_neighbors_graph",
    ]


def test_what_cannot_score_says_so() -> None:
    with pytest.raises(NotScorable, match=r"a sklearn\.DBSCAN has none of the methods that can be served \(predict, "):
        said(DBSCAN().fit(X))
    with pytest.raises(NotScorable, match="a list has none"):
        said([1, 2])


def test_all_of_it_is_json() -> None:
    import json

    for model in (SVC().fit(X, y), Ridge().fit(NAMED, y), OneHotEncoder().fit([[np.float64(1)], [np.nan], [2]])):
        assert json.loads(json.dumps(said(model), allow_nan=False)) == said(model)


def test_every_job_is_one() -> None:
    forest = RandomForestRegressor(3, n_jobs=-1)
    model = GridSearchCV(
        make_pipeline(StandardScaler(), forest), {"randomforestregressor__max_depth": [2]}, cv=2, n_jobs=2
    )
    forest.n_jobs = 1
    model.fit(X, y)
    model.n_jobs = model.best_estimator_[-1].n_jobs = forest.n_jobs = -1
    run_on_one_core(model)
    jobs = [vars(estimator)["n_jobs"] for estimator in nested(model) if "n_jobs" in vars(estimator)]
    assert len(jobs) >= 2
    assert all(job in (None, 1) for job in jobs)
    assert model.best_estimator_[-1].n_jobs == 1


def test_a_model_that_contains_itself() -> None:
    model = Ridge().fit(X, y)
    model.me = model
    model.list_ = [model, [model]]
    assert len(list(nested(model))) == 1


def test_attributes_that_raise_count_as_absent() -> None:
    class Odd:
        def predict(self, X: Any) -> Any:
            return X

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    assert said(Odd())["methods"] == ["predict"]


def test_versions_of_the_writer() -> None:
    from sklearn.exceptions import InconsistentVersionWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn(
            InconsistentVersionWarning(
                estimator_name="SVC", current_sklearn_version="1.9", original_sklearn_version="1.2"
            ),
            stacklevel=1,
        )
        warnings.warn("Trying to unpickle estimator SVC from version 0.20 when using version 0.22.", stacklevel=1)
    words = describe(SVC().fit(X, y), METHODS, caught)
    assert words["written_by"] == "1.2"
    assert len(words["warnings"]) == 2
    assert describe(SVC().fit(X, y), METHODS, caught[1:])["written_by"] == "0.20"


def test_memory_is_near_the_truth() -> None:
    before = resident()
    held = np.ones(400 << 17)
    if before == 0:
        pytest.skip("this system does not tell")
    assert held.nbytes * 0.9 < resident() - before < held.nbytes * 1.3
    assert memory_bytes(before) >= resident() - before
