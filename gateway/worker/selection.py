"""Which columns a model uses, and what a model takes whose first step is a custom one.

Runs inside the model's custom Python (3.6 and later), beside child.py.
"""

import sys
from typing import Any, Iterator, List, Optional, Set

from .boosters import library
from .columns import column_keys
from .pipeline import TEXT, attributes, does_something, get, has, inputs, is_estimator, is_sklearn, transformers
from .shortcut_base import is_a

_MEMBERS = ("VotingClassifier", "VotingRegressor", "StackingClassifier", "StackingRegressor")


def unused_columns(model: Any, names: "Optional[List[str]]") -> "Optional[List[str]]":
    """The columns of `names` that may be absent; None where the public methods want exactly `names`.

    Since scikit-learn 1.0 a ColumnTransformer only needs the columns of its transformers. Other estimators check all names.
    """
    if not names or _release() < (1, 0):
        return None
    used = _used(model, names)
    return None if used is None else [name for name in names if name not in used]


def _used(model: Any, names: "List[str]") -> "Optional[Set[str]]":
    if is_a(model, "ColumnTransformer"):
        if list(get(model, "feature_names_in_", ())) != names:
            return None
        try:
            return {key for _, _, columns in transformers(model) for key in column_keys(columns, names)}
        except (KeyError, ValueError, IndexError, TypeError):
            return None
    if is_a(model, "Pipeline"):
        return _used_by_all([step for _, step in model.steps if does_something(step)][:1], names)
    if is_a(model, "FeatureUnion"):
        return _used_by_all([part for _, part in model.transformer_list if part != "drop"], names)
    if any(is_a(model, name) for name in _MEMBERS):
        parts = [part for part in get(model, "estimators_", []) if is_estimator(part)]
        return None if get(model, "passthrough", False) else _used_by_all(parts, names)
    if is_a(model, "TransformedTargetRegressor"):
        return _used_by_all([get(model, "regressor_")], names)
    inner = get(model, "best_estimator_")
    return _used_by_all([inner], names) if is_sklearn(model) and is_estimator(inner) else None


def _used_by_all(parts: "List[Any]", names: "List[str]") -> "Optional[Set[str]]":
    found: "Set[str]" = set()
    for part in parts:
        used = _used(part, names)
        if used is None:
            return None
        found |= used
    return found if parts else None


def _release() -> "Any":
    words = str(getattr(sys.modules.get("sklearn"), "__version__", "0.0")).split(".")
    return tuple(int(word) for word in words[:2] if word.isdigit())


def takes_texts(model: Any) -> bool:
    """Whether a text vectorizer follows custom steps, which do not tell what they take."""
    for estimator in inputs(model):
        if any(has(step, TEXT) for step in _after_custom_steps(estimator)):
            return True
    return False


def custom_first(model: Any) -> bool:
    """Whether the input goes to a custom estimator, which may need a DataFrame."""
    last = list(inputs(model))[-1]
    return not is_sklearn(last) and library(last) is None


def _after_custom_steps(model: Any) -> "Iterator[Any]":
    if is_a(model, "Pipeline"):
        custom = False
        for _, step in model.steps:
            if not does_something(step):
                continue
            if custom and not _is_custom(step):
                for inner in inputs(step):
                    yield inner
            custom = _is_custom(step)
            if not custom:
                return
    elif not is_sklearn(model) and get(model, "feature_names_in_") is None:
        for part in attributes(model).values():
            if is_estimator(part):
                for inner in inputs(part):
                    yield inner


def _is_custom(step: Any) -> bool:
    return is_estimator(step) and (not is_sklearn(step) or is_a(step, "FunctionTransformer"))
