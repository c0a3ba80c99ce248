"""Every estimator of the installed scikit-learn, fitted on data that suits it. The list is scikit-learn's own."""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401 - three more estimators
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import all_estimators

from gateway.schema.methods import METHODS

ROWS = 24

#: Estimators that only describe the rows that they were fitted on: there is nothing to ask about a new one.
WITHOUT_METHOD = {
    "AgglomerativeClustering",
    "ClassicalMDS",
    "DBSCAN",
    "HDBSCAN",
    "MDS",
    "OPTICS",
    "SpectralBiclustering",
    "SpectralClustering",
    "SpectralCoclustering",
    "SpectralEmbedding",
    "TSNE",
}

#: Estimators with a scoring method that are not served, with the reason.
LEFT_OUT: dict[str, str] = {}

#: Estimators whose answer for a row depends on the rows beside it: requests must not travel together, and are compared one by one.
NOT_BY_ROW = {
    "BernoulliRBM": "score_samples corrupts one random feature a row, drawn by the row's place",
    "MiniBatchNMF": "transform iterates until all rows together change little",
    "PatchExtractor": "gives many patches an image",
}

#: Estimators that subtract nearly equal numbers, so that more than 4 units in the last place of the row's largest may differ
#: between a batch and a lone row.
ULP = {"KernelPCA": 64}

RNG = np.random.default_rng(3)
NAMES = ["sepal length", "sepal width", "petal length", "petal width"]
X = RNG.normal(size=(90, 4)) + np.repeat([[0.0], [2.0], [4.0]], 30, axis=0)
Y = np.repeat([0, 1, 2], 30)
LABELS = np.array(["setosa", "versicolor", "virginica"])[Y]
TARGET = X @ [1.0, -2.0, 0.5, 3.0] + RNG.normal(size=90) / 10
TARGETS = np.column_stack([TARGET, -TARGET + X[:, 0]])
SEVERAL = np.column_stack([Y, Y > 0])
MANY_LABELS = np.column_stack([Y > 0, Y > 1, X[:, 0] > 1]).astype(int)
FRAME = pd.DataFrame(X, columns=NAMES)
POSITIVE = FRAME.abs()
COUNTS = pd.DataFrame(np.floor(np.abs(X)), columns=NAMES)
HOLES = FRAME.mask(RNG.random(X.shape) > 0.9)
TOWNS = pd.DataFrame({"town": RNG.choice(["Bern", "Oslo", "Rome"], 90), "size": RNG.choice(["S", "M", "L"], 90)})
MIXED = pd.concat([FRAME, TOWNS], axis=1)
TEXTS = ["a cheap offer", "see you, friend", "cheap cheap pills", "dear friend, see below", "offer ends now"] * 18
RECORDS = [{"age": float(i), "town": ["Bern", "Oslo"][i % 2]} for i in range(90)]
WORD_RECORDS = [{"age": float(i), "height": float(i % 7)} for i in range(90)]
SETS = [["a", "b"], ["c"], ["a", "c"]] * 30
IMAGES = RNG.random((30, 8, 8))


@dataclass(frozen=True)
class Suit:
    """What an estimator is made and fitted with. `ask` are the rows that it is asked about, if not the first it was fitted on."""

    data: Any = None
    target: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    ask: Any = None


def _kernel() -> Any:
    return X @ X.T


SUITS: dict[str, Callable[[], Suit]] = {
    "AdditiveChi2Sampler": lambda: Suit(POSITIVE),
    "BernoulliRBM": lambda: Suit(COUNTS.clip(0, 1), options={"random_state": 0, "n_components": 5}),
    "CategoricalNB": lambda: Suit(COUNTS.clip(0, 3), Y),
    "CCA": lambda: Suit(FRAME, TARGETS, {"n_components": 1}),
    "ClassifierChain": lambda: Suit(FRAME, MANY_LABELS, {"estimator": LogisticRegression()}),
    "ColumnTransformer": lambda: Suit(
        MIXED, options={"transformers": [("n", StandardScaler(), NAMES), ("w", OneHotEncoder(), ["town", "size"])]}
    ),
    "ComplementNB": lambda: Suit(COUNTS, LABELS),
    "CountVectorizer": lambda: Suit(TEXTS),
    "DictionaryLearning": lambda: Suit(FRAME, options={"max_iter": 5}),
    "DictVectorizer": lambda: Suit(RECORDS),
    "FeatureHasher": lambda: Suit(WORD_RECORDS, options={"n_features": 16}),
    "FeatureUnion": lambda: Suit(
        FRAME, options={"transformer_list": [("a", StandardScaler()), ("b", OneHotEncoder())]}
    ),
    "FixedThresholdClassifier": lambda: Suit(FRAME, Y > 0, {"estimator": LogisticRegression(), "threshold": 0.3}),
    "FrozenEstimator": lambda: Suit(FRAME, LABELS, {"estimator": LogisticRegression().fit(FRAME, LABELS)}),
    "GammaRegressor": lambda: Suit(FRAME, np.abs(TARGET) + 1),
    "GaussianRandomProjection": lambda: Suit(FRAME, options={"n_components": 3}),
    "GaussianProcessClassifier": lambda: Suit(FRAME, LABELS, {"optimizer": None}),
    "HashingVectorizer": lambda: Suit(TEXTS, options={"n_features": 64}),
    "IsotonicRegression": lambda: Suit(FRAME[NAMES[:1]], TARGET),
    "IterativeImputer": lambda: Suit(HOLES),
    "KNNImputer": lambda: Suit(HOLES),
    "KernelCenterer": lambda: Suit(_kernel()),
    "KernelPCA": lambda: Suit(FRAME, options={"n_components": 2, "fit_inverse_transform": True}),
    "LabelBinarizer": lambda: Suit(LABELS.tolist()),
    "LabelEncoder": lambda: Suit(LABELS.tolist()),
    "LatentDirichletAllocation": lambda: Suit(COUNTS, options={"n_components": 3}),
    "LogisticRegressionCV": lambda: Suit(
        FRAME, LABELS, {"Cs": 2, "cv": 2, "l1_ratios": (0,), "use_legacy_attributes": False}
    ),
    "LocalOutlierFactor": lambda: Suit(FRAME, options={"novelty": True}),
    "MiniBatchDictionaryLearning": lambda: Suit(FRAME, options={"max_iter": 5}),
    "MiniBatchNMF": lambda: Suit(POSITIVE, options={"n_components": 2}),
    "MissingIndicator": lambda: Suit(HOLES),
    "MultiLabelBinarizer": lambda: Suit(SETS),
    "MultiOutputClassifier": lambda: Suit(FRAME, SEVERAL, {"estimator": LogisticRegression()}),
    "MultiOutputRegressor": lambda: Suit(FRAME, TARGETS, {"estimator": Ridge()}),
    "MultiTaskElasticNet": lambda: Suit(FRAME, TARGETS),
    "MultiTaskElasticNetCV": lambda: Suit(FRAME, TARGETS),
    "MultiTaskLasso": lambda: Suit(FRAME, TARGETS),
    "MultiTaskLassoCV": lambda: Suit(FRAME, TARGETS),
    "MultinomialNB": lambda: Suit(COUNTS, LABELS),
    "NeighborhoodComponentsAnalysis": lambda: Suit(FRAME, LABELS, {"max_iter": 5}),
    "NMF": lambda: Suit(POSITIVE, options={"n_components": 2}),
    "Nystroem": lambda: Suit(FRAME, options={"n_components": 5}),
    "OneHotEncoder": lambda: Suit(TOWNS),
    "OrdinalEncoder": lambda: Suit(TOWNS),
    "PatchExtractor": lambda: Suit(IMAGES, options={"patch_size": (2, 2)}),
    "Pipeline": lambda: Suit(FRAME, LABELS, {"steps": [("s", StandardScaler()), ("m", LogisticRegression())]}),
    "PLSCanonical": lambda: Suit(FRAME, TARGETS),
    "PLSRegression": lambda: Suit(FRAME, TARGETS),
    "PLSSVD": lambda: Suit(FRAME, TARGETS),
    "PoissonRegressor": lambda: Suit(FRAME, np.abs(TARGET)),
    "RadiusNeighborsClassifier": lambda: Suit(FRAME, LABELS, {"radius": 10.0}),
    "RadiusNeighborsRegressor": lambda: Suit(FRAME, TARGET, {"radius": 10.0}),
    "RegressorChain": lambda: Suit(FRAME, TARGETS, {"estimator": Ridge()}),
    "SelfTrainingClassifier": lambda: Suit(
        FRAME, np.where(np.arange(90) % 4 == 0, -1, Y), {"estimator": LogisticRegression()}
    ),
    "SimpleImputer": lambda: Suit(HOLES, options={"add_indicator": True}),
    "SkewedChi2Sampler": lambda: Suit(POSITIVE),
    "SparseRandomProjection": lambda: Suit(FRAME, options={"n_components": 3, "dense_output": False}),
    "SparseCoder": lambda: Suit(X, options={"dictionary": np.linalg.qr(RNG.normal(size=(4, 4)))[0]}),
    "TfidfTransformer": lambda: Suit(COUNTS),
    "TfidfVectorizer": lambda: Suit(TEXTS),
    "TunedThresholdClassifierCV": lambda: Suit(FRAME, Y > 0, {"estimator": LogisticRegression()}),
}

_ROLES: dict[str, Callable[[bool], Any]] = {
    "estimator": lambda classifies: DecisionTreeClassifier(random_state=0) if classifies else Ridge(),
    "estimators": lambda classifies: (
        [("a", DecisionTreeClassifier(random_state=0)), ("b", LogisticRegression())]
        if classifies
        else [("a", DecisionTreeRegressor(random_state=0)), ("b", LinearRegression())]
    ),
    "param_grid": lambda classifies: {"max_depth": [1, 2]} if classifies else {"alpha": [1.0, 2.0]},
    "param_distributions": lambda classifies: {"max_depth": [1, 2]} if classifies else {"alpha": [1.0, 2.0]},
}
# Smaller than the defaults where those take long; the answers of a small model are as good a test.
_SMALL: dict[str, Any] = {"n_estimators": 5, "n_iter": 2, "n_candidates": 2}
_SHORT = {"HistGradientBoostingClassifier": 5, "HistGradientBoostingRegressor": 5}
_CLASSIFIES = frozenset(
    [
        "GridSearchCV",
        "RandomizedSearchCV",
        "HalvingGridSearchCV",
        "HalvingRandomSearchCV",
        "RFE",
        "RFECV",
        "SelectFromModel",
        "SequentialFeatureSelector",
        "GenericUnivariateSelect",
        "SelectFdr",
        "SelectFpr",
        "SelectFwe",
        "SelectKBest",
        "SelectPercentile",
    ]
)


def estimators() -> dict[str, type[BaseEstimator]]:
    """All that scikit-learn lists and that can be asked about new rows, by name."""
    return {name: kind for name, kind in all_estimators() if name not in WITHOUT_METHOD}


def suit_of(name: str, kind: type[BaseEstimator]) -> Suit:
    """The special one, else what fits most: iris-like numbers with names, and labels for what classifies."""
    if name in SUITS:
        return SUITS[name]()
    classifies = issubclass(kind, ClassifierMixin) or name in _CLASSIFIES
    options: dict[str, Any] = {}
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.default is parameter.empty and parameter.name in _ROLES:
            options[parameter.name] = _ROLES[parameter.name](classifies)
        elif parameter.name in _SMALL:
            options[parameter.name] = _SMALL[parameter.name]
    if name in _SHORT:
        options["max_iter"] = _SHORT[name]
    return Suit(FRAME, LABELS if classifies else TARGET, options)


def fitted(name: str, kind: type[BaseEstimator]) -> tuple[Any, Any]:
    """The estimator, and `ROWS` rows to ask it about."""
    suit = suit_of(name, kind)
    options = {**suit.options}
    parameters = inspect.signature(kind).parameters
    if "random_state" in parameters:
        options.setdefault("random_state", 0)
    model = kind(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in {"LabelBinarizer", "LabelEncoder", "MultiLabelBinarizer"}:
            model.fit(suit.data)
        else:
            model.fit(suit.data, suit.target)
    ask = suit.data if suit.ask is None else suit.ask
    if isinstance(ask, pd.DataFrame):  # rows of all classes
        return model, ask.iloc[:: max(1, len(ask) // ROWS)].head(ROWS).reset_index(drop=True)
    return model, ask[:: max(1, len(ask) // ROWS)][:ROWS]


def methods_of(model: Any) -> list[str]:
    return [method for method in METHODS if callable(getattr(model, method, None))]
