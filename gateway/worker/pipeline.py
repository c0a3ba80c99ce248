"""Pipeline inspection: the estimators inside a model, and the path of the input through them, read from attributes.

Runs inside the model's own Python (3.6 and later), beside child.py, with any scikit-learn since 0.19.
"""

import warnings
from typing import Any, Dict, Iterator, List, Set, Tuple

import numpy as np

from .shortcut_base import is_a

MANY = 10000  # estimators, categories or names that are looked at

TEXT = "build_analyzer"  # what Count-, Tfidf- and HashingVectorizer have and nothing else
RECORDS = ("DictVectorizer", "FeatureHasher")
LABELS = ("LabelBinarizer", "LabelEncoder", "MultiLabelBinarizer")
# These pass their input to each of `estimators_` unchanged.
PASSING = (
    "_BaseVoting",
    "_BaseStacking",
    "VotingClassifier",
    "OneVsRestClassifier",
    "OneVsOneClassifier",
    "OutputCodeClassifier",
    "MultiOutputEstimator",
    "_MultiOutputEstimator",
)


def nested(model: Any) -> "Iterator[Any]":
    """`model` and the estimators in its attributes, fitted ones too, each once."""
    seen: "Set[int]" = set()
    waiting = [model]
    while waiting and len(seen) < MANY:
        item = waiting.pop()
        if id(item) in seen:
            continue
        if isinstance(item, dict):
            seen.add(id(item))
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple)) or (isinstance(item, np.ndarray) and item.dtype == object):
            seen.add(id(item))
            members = list(item.flat) if isinstance(item, np.ndarray) else list(item)
            # A long list is of one kind: names, numbers, or the trees of a forest.
            if len(members) <= 20 or any(is_estimator(member) for member in members[:20]):
                waiting.extend(members[:MANY])
        elif is_estimator(item):
            seen.add(id(item))
            yield item
            waiting.extend(attributes(item).values())


def inputs(model: Any) -> "Iterator[Any]":
    """`model`, then the estimator inside it that gets its input first, then the one inside that, and so on."""
    for _ in range(50):
        yield model
        inner = first_inside(model)
        if inner is None:
            return
        model = inner


def first_inside(model: Any) -> Any:
    """The estimator that gets the input of `model` unchanged, or None."""
    if is_a(model, "Pipeline"):
        return next((step for _, step in model.steps if does_something(step)), None)
    if is_a(model, "FeatureUnion"):
        return next((step for _, step in model.transformer_list if does_something(step)), None)
    if is_a(model, "ColumnTransformer"):
        return None
    for attribute in ("best_estimator_", "regressor_", "estimator_"):
        inner = get(model, attribute)
        if is_estimator(inner):
            return inner
    if is_a(model, "CalibratedClassifierCV"):
        each = (get(model, "calibrated_classifiers_") or [None])[0]
        inner = get(each, "estimator", get(each, "base_estimator"))
        return inner if is_estimator(inner) else None
    if any(is_a(model, name) for name in PASSING):
        return next((inner for inner in get(model, "estimators_", []) if is_estimator(inner)), None)
    return None


def transformers(model: Any) -> "List[Tuple[str, Any, Any]]":
    """(name, fitted transformer, columns) of a ColumnTransformer, without those that drop their columns."""
    listed = get(model, "transformers_", []) or []
    return [(name, each, columns) for name, each, columns in listed if not (isinstance(each, str) and each == "drop")]


def get(item: Any, name: str, default: Any = None) -> Any:
    """An attribute of an untrusted object; one that raises counts as absent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return getattr(item, name, default)
        except Exception:
            return default


def has(item: Any, name: str) -> bool:
    return get(item, name) is not None


def attributes(item: Any) -> "Dict[str, Any]":
    return getattr(item, "__dict__", {})


def is_estimator(item: Any) -> bool:
    return hasattr(type(item), "get_params") and not isinstance(item, type)


def is_sklearn(item: Any) -> bool:
    return type(item).__module__.split(".")[0] == "sklearn"


def does_something(step: Any) -> bool:
    return step is not None and not isinstance(step, str)


def is_missing(value: Any) -> bool:
    """None, NaN, NaT and pandas' NA, whose comparisons have no truth."""
    if value is None:
        return True
    differs = value != value  # noqa: PLR0124 - NaN
    return differs if type(differs) is bool else type(value).__name__ == "NAType" or bool(np.all(differs))
