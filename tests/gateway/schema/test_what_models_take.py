"""Columns that a model does not look at, texts behind a step of somebody's own, and models of one dimension."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import VotingRegressor
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from gateway.errors import InvalidRequest, SchemaMismatch
from tests.gateway.schema.test_real_models import served

N = 12
TABLE = pd.DataFrame(
    {
        "name": [f"n{i}" for i in range(N)],
        "size": np.linspace(1, 3, N),
        "colour": list("rgb") * 4,
        "age": np.arange(N) * 1.0,
    }
)
Y = np.arange(N) * 2.0


def chosen(**options: Any) -> Any:
    return ColumnTransformer([("n", StandardScaler(), ["size"]), ("c", OneHotEncoder(), ["colour"])], **options)


SELECTIVE: dict[str, Any] = {
    "pipeline": lambda: make_pipeline(chosen(), Ridge()),
    "search": lambda: GridSearchCV(make_pipeline(chosen(), Ridge()), {"ridge__alpha": [1, 2]}, cv=2),
    "target": lambda: TransformedTargetRegressor(make_pipeline(chosen(), Ridge())),
    "union": lambda: make_pipeline(FeatureUnion([("a", chosen()), ("b", chosen())]), Ridge()),
    "voting": lambda: VotingRegressor(
        [("a", make_pipeline(chosen(), Ridge())), ("b", make_pipeline(chosen(), LinearRegression()))]
    ),
    "places": lambda: make_pipeline(
        ColumnTransformer([("n", StandardScaler(), [1]), ("c", OneHotEncoder(), slice(2, 3))]), Ridge()
    ),
    "dropped": lambda: make_pipeline(
        ColumnTransformer(
            [("n", StandardScaler(), ["size"]), ("c", OneHotEncoder(), ["colour"]), ("d", "drop", ["age"])]
        ),
        Ridge(),
    ),
}


@pytest.mark.parametrize("name", SELECTIVE)
def test_columns_that_no_transformer_uses_may_be_absent_and_others_are_ignored(name: str) -> None:
    model = SELECTIVE[name]().fit(TABLE, Y)
    for row in (
        {"size": 2.0, "colour": "g"},
        {"colour": "g", "size": 2.0, "name": "x"},
        {"id": 7, "name": "b", "size": 2.0, "colour": "g", "age": 3.0, "when": [1, {"a": None}]},
    ):
        expected = model.predict(pd.DataFrame([row]))
        split = {"columns": list(row), "data": [list(row.values())] * 2}
        columns = {key: [value] * 2 for key, value in row.items()}
        for data in ([row, {**row, "extra": 1}], [row, dict(reversed(row.items()))], split, columns):
            assert np.allclose(served(model, data, "predict"), np.repeat(expected, 2))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"name": "b", "sise": 2.0, "colour": "r"},
            r"missing column 'size'; unknown column 'sise' \(did you mean 'size'\?\)",
        ),
        ({"nmae": "b", "size": 2.0, "colour": "r"}, r"unknown column 'nmae' \(did you mean 'name'\?\)"),
        ({"name": "b", "size": 2.0}, "missing column 'colour'; the model takes 'size', 'colour'"),
        ({"size": 2.0, "id": 3}, "missing column 'colour'; unknown column 'id'"),
    ],
)
def test_a_name_close_to_a_missing_one_is_refused(row: dict[str, Any], said: str) -> None:
    model = SELECTIVE["pipeline"]().fit(TABLE, Y)
    whole = {"size": 1.0, "colour": "g"}
    for data in ([row], [whole, row], {"columns": list(row), "data": [list(row.values())]}):
        with pytest.raises(SchemaMismatch, match=said):
            served(model, data, "predict")


def test_models_that_check_all_names_still_want_them_all() -> None:
    numbers = TABLE[["size", "age"]]
    for model in (
        make_pipeline(StandardScaler(), Ridge()).fit(numbers, Y),
        VotingRegressor(
            [("a", make_pipeline(ColumnTransformer([("n", StandardScaler(), ["size"])]), Ridge())), ("b", Ridge())]
        ).fit(numbers, Y),
        make_pipeline(ColumnTransformer([("n", StandardScaler(), ["size"])], remainder="passthrough"), Ridge()).fit(
            numbers, Y
        ),
    ):
        with pytest.raises(SchemaMismatch, match="missing column 'age'"):
            served(model, [{"size": 2.0}], "predict")


def test_a_remainder_that_passes_through_ignores_what_is_beyond_it() -> None:
    model = make_pipeline(ColumnTransformer([("n", StandardScaler(), ["size"])], remainder="passthrough"), Ridge())
    model.fit(TABLE[["size", "age"]], Y)
    row = {"id": "x", "age": 3.0, "size": 2.0}
    assert np.allclose(served(model, [row], "predict"), model.predict(pd.DataFrame([row])))


def test_a_sample_with_the_target_and_without_what_is_not_used() -> None:
    model = SELECTIVE["pipeline"]().fit(TABLE, Y)
    sample = TABLE[["size", "colour"]].assign(target=Y).to_csv(index=False).encode(), "s.csv"
    assert np.allclose(
        served(model, [{"size": 2.0, "colour": "g"}], "predict", sample),
        model.predict(pd.DataFrame([{"size": 2.0, "colour": "g"}])),
    )


class Lower(TransformerMixin, BaseEstimator):
    def fit(self, X: Any, y: Any = None) -> "Lower":
        return self

    def transform(self, X: Any) -> Any:
        return [str(x).lower() for x in X]


class LowerColumn(Lower):
    """Written for a column of a DataFrame."""

    def transform(self, X: Any) -> Any:
        return X.str.lower()


class TextModel(BaseEstimator):
    """A vectorizer and a classifier in a class of somebody's own."""

    def fit(self, X: Any, y: Any) -> "TextModel":
        self.vectorizer = CountVectorizer().fit(X)
        self.model = MultinomialNB().fit(self.vectorizer.transform(X), y)
        return self

    def predict(self, X: Any) -> Any:
        return self.model.predict(self.vectorizer.transform(X))


class Select(TransformerMixin, BaseEstimator):
    """Takes a DataFrame and does not say so."""

    def fit(self, X: Any, y: Any = None) -> "Select":
        return self

    def transform(self, X: Any) -> Any:
        return X[["size"]].to_numpy()


def lowered(X: Any) -> Any:
    return [x.lower() for x in X]


TEXTS, SPAM = ["Free prize", "see you", "FREE money", "you there"], ["spam", "ham", "spam", "ham"]
TEXTUAL: dict[str, Any] = {
    "own step": lambda: make_pipeline(Lower(), CountVectorizer(lowercase=False), MultinomialNB()),
    "two own steps": lambda: make_pipeline(Lower(), Lower(), TfidfVectorizer(lowercase=False), MultinomialNB()),
    "function": lambda: make_pipeline(FunctionTransformer(lowered), CountVectorizer(lowercase=False), MultinomialNB()),
    "column": lambda: make_pipeline(LowerColumn(), CountVectorizer(lowercase=False), MultinomialNB()),
    "union": lambda: make_pipeline(
        Lower(),
        FeatureUnion([("a", CountVectorizer()), ("b", HashingVectorizer(n_features=8, alternate_sign=False))]),
        MultinomialNB(),
    ),
    "pipeline inside": lambda: make_pipeline(make_pipeline(Lower(), CountVectorizer(lowercase=False)), MultinomialNB()),
    "step, then a pipeline": lambda: make_pipeline(
        Lower(), make_pipeline(CountVectorizer(lowercase=False), MultinomialNB())
    ),
    "search": lambda: GridSearchCV(
        make_pipeline(Lower(), CountVectorizer(lowercase=False), MultinomialNB()),
        {"multinomialnb__alpha": [1, 2]},
        cv=2,
    ),
    "class": TextModel,
}


@pytest.mark.parametrize("name", TEXTUAL)
def test_a_pipeline_with_a_cleaning_step_before_its_vectorizer_takes_texts(name: str) -> None:
    model = TEXTUAL[name]().fit(pd.Series(TEXTS), SPAM)
    for data in (["FREE prize", "You"], [["FREE prize"], ["You"]], [{"text": "FREE prize"}, {"text": "You"}]):
        assert served(model, data, "predict") == ["spam", "ham"]
    with pytest.raises(SchemaMismatch, match="expected a string"):
        served(model, [1.0], "predict")


def test_a_step_of_ones_own_gets_the_frame_that_it_was_written_for() -> None:
    model = make_pipeline(Select(), Ridge()).fit(TABLE, Y)
    rows = TABLE[["name", "size"]]
    assert np.allclose(served(model, rows.to_dict("records"), "predict"), model.predict(rows))


@pytest.mark.parametrize("data", [[1.0, 2.5], [[1.0], [2.5]]], ids=["one dimension", "rows"])
def test_an_isotonic_regression_takes_one_dimension(data: Any) -> None:
    for model in (
        IsotonicRegression(out_of_bounds="clip").fit(np.arange(N), Y),
        IsotonicRegression(out_of_bounds="clip").fit(np.arange(N)[:, None], Y),
        GridSearchCV(IsotonicRegression(out_of_bounds="clip"), {"increasing": [True]}, cv=2).fit(np.arange(N), Y),
    ):
        expected = model.predict(np.array([1.0, 2.5]))
        assert np.allclose(served(model, data, "predict"), expected)


class Doubled(BaseEstimator):
    """Fitted on one dimension, and takes no other."""

    def predict(self, x: Any) -> Any:
        assert np.ndim(x) == 1
        return np.asarray(x) * 2


@pytest.mark.parametrize("sample", [(b"[1, 2.5]", "s.json")])
def test_a_sample_of_one_dimension_tells_that_the_model_takes_it(sample: tuple[bytes, str]) -> None:
    for data in ([1.0, 2.5], [[1.0], [2.5]]):
        assert served(Doubled(), data, "predict", sample) == [2.0, 5.0]


def test_the_hint_for_a_flat_list_is_taken() -> None:
    model = StandardScaler().fit(np.arange(N)[:, None])
    with pytest.raises(InvalidRequest, match=r"each a list of values: \[\[1\], \[2\], \[3\]\]"):
        served(model, [1, 2, 3], "transform")
    assert len(served(model, [[1], [2], [3]], "transform")) == 3
