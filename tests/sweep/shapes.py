"""Models as people build them, beyond one estimator on four columns of numbers: what the list of scikit-learn does not show."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
)
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC

from tests.sweep.estimators import (
    FRAME,
    LABELS,
    MANY_LABELS,
    MIXED,
    NAMES,
    RNG,
    SEVERAL,
    TARGET,
    TARGETS,
    TEXTS,
    TOWNS,
    X,
    Y,
)

WIDE = RNG.normal(size=(90, 10_000))
HOLED = MIXED.mask(RNG.random(MIXED.shape) > 0.9)
CATEGORIES = pd.concat([FRAME, TOWNS.astype("category")], axis=1)
FLAGS = FRAME.assign(member=X[:, 0] > 1)
UNICODE = np.array(["Zürich", "東京", "naïve \U0001f600"])[Y]
TIMES = pd.DataFrame(
    {
        "ordered at": pd.date_range("2026-01-31 22:15", periods=90, freq="37h").astype("datetime64[ns]"),
        "amount": X[:, 0],
    }
)
LETTERS = pd.DataFrame({"subject": TEXTS, "size": X[:, 0], "from": TOWNS["town"]})
#: At home, where the model is fitted: the function is pandas' own, so that it can be pickled.
_AS_NUMBER = FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": "int64"}, feature_names_out="one-to-one")


@dataclass(frozen=True)
class Shape:
    """A fitted model, the rows to ask about, and a sample file where the model needs one to be understood."""

    model: Any
    rows: Any
    sample: tuple[str, bytes] | None = None


def _mixed(last: Any, words: Any = None) -> Any:
    words = words or make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_pipeline(ColumnTransformer([("numbers", numbers, NAMES), ("words", words, ["town", "size"])]), last)


def _stacked() -> Any:
    several = [
        ("forest", _mixed(RandomForestClassifier(5, random_state=0))),
        ("svc", _mixed(SVC(random_state=0))),
        ("near", _mixed(KNeighborsClassifier())),
    ]
    return StackingClassifier(several, LogisticRegression(), cv=3).fit(HOLED, LABELS)


def _dated() -> Any:
    columns = ColumnTransformer([("when", _AS_NUMBER, ["ordered at"]), ("rest", StandardScaler(), ["amount"])])
    return make_pipeline(columns, StandardScaler(), Ridge()).fit(TIMES, TARGET)


def _parquet(frame: pd.DataFrame) -> tuple[str, bytes]:
    file = io.BytesIO()
    frame.to_parquet(file)
    return "sample.parquet", file.getvalue()


def _letters() -> Any:
    columns = ColumnTransformer(
        [
            ("text", TfidfVectorizer(), "subject"),
            ("town", OrdinalEncoder(), ["from"]),
            ("size", "passthrough", ["size"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression()).fit(LETTERS, LABELS)


SHAPES: dict[str, Callable[[], Shape]] = {
    "stacking-of-strings": lambda: Shape(_stacked(), HOLED),
    "grid-search-of-strings": lambda: Shape(
        GridSearchCV(_mixed(LogisticRegression()), {"logisticregression__C": [0.1, 1]}, cv=2).fit(HOLED, LABELS), HOLED
    ),
    "grid-search-of-texts": lambda: Shape(
        GridSearchCV(make_pipeline(TfidfVectorizer(), LogisticRegression()), {"tfidfvectorizer__ngram_range": [(1, 1), (1, 2)]}, cv=2)
        .fit(TEXTS, LABELS),
        TEXTS,
    ),
    "hashed-texts": lambda: Shape(
        make_pipeline(HashingVectorizer(n_features=256), SGDClassifier(random_state=0)).fit(TEXTS, LABELS), TEXTS
    ),
    "sparse-texts": lambda: Shape(make_pipeline(TfidfVectorizer(ngram_range=(1, 2))).fit(TEXTS), TEXTS),
    "texts-and-columns": lambda: Shape(_letters(), LETTERS),
    "sparse-columns": lambda: Shape(
        ColumnTransformer([("words", OneHotEncoder(), ["town", "size"])], remainder="passthrough", sparse_threshold=1).fit(MIXED), MIXED
    ),
    "categories": lambda: Shape(
        HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype").fit(CATEGORIES, LABELS), CATEGORIES
    ),
    "truth-values": lambda: Shape(RandomForestClassifier(5, random_state=0).fit(FLAGS, LABELS), FLAGS),
    "datetimes": lambda: Shape(_dated(), TIMES, _parquet(TIMES)),
    "one-feature": lambda: Shape(LinearRegression().fit(X[:, :1], TARGET), X[:, :1]),
    "one-named-feature": lambda: Shape(LogisticRegression().fit(FRAME[NAMES[:1]], LABELS), FRAME[NAMES[:1]]),
    "one-string-feature": lambda: Shape(
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), Ridge()).fit(TOWNS[["town"]], TARGET), TOWNS[["town"]]
    ),
    "10000-features": lambda: Shape(Ridge(solver="cholesky").fit(WIDE, TARGET), WIDE),
    "multi-output-forest": lambda: Shape(RandomForestRegressor(5, random_state=0).fit(FRAME, TARGETS), FRAME),
    "multi-output-classes": lambda: Shape(RandomForestClassifier(5, random_state=0).fit(FRAME, SEVERAL), FRAME),
    "multi-output-strings": lambda: Shape(
        KNeighborsClassifier().fit(FRAME, np.column_stack([LABELS, UNICODE]).astype(object)), FRAME
    ),
    "multi-label": lambda: Shape(OneVsRestClassifier(LogisticRegression()).fit(FRAME, MANY_LABELS), FRAME),
    "multi-label-chain": lambda: Shape(ClassifierChain(LogisticRegression(), random_state=0).fit(X, MANY_LABELS), X),
    "strings-beyond-ascii": lambda: Shape(make_pipeline(StandardScaler(), LogisticRegression()).fit(X, UNICODE), X),
    "transformed-target": lambda: Shape(
        TransformedTargetRegressor(Ridge(), func=np.exp, inverse_func=np.log).fit(X, np.abs(TARGET) + 1), X
    ),
    "answers-in-pandas": lambda: Shape(
        ColumnTransformer([("n", StandardScaler(), NAMES), ("w", OrdinalEncoder(), ["town", "size"])])
        .set_output(transform="pandas")
        .fit(MIXED),
        MIXED,
    ),
    "float32": lambda: Shape(
        make_pipeline(StandardScaler(), LogisticRegression()).fit(X.astype(np.float32), LABELS), X.astype(np.float32).astype(float)
    ),
}  # fmt: skip
