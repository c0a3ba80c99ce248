"""Whether a model takes missing values (NaN). Runs inside the model's own Python (3.6 and later), beside child.py."""

import warnings
from typing import Any, List, Optional

import numpy as np

from .pipeline import PASSING, does_something, first_inside, get, has, is_estimator, is_missing, transformers
from .shortcut_base import is_a


def allows_nan(model: Any) -> "Optional[bool]":
    """Whether `model` takes NaN; None when it does not tell."""
    if is_a(model, "Pipeline"):
        for _, step in model.steps:
            if not does_something(step):
                continue
            if is_a(step, "FunctionTransformer") and step.func is not None:
                return None  # it may fill them
            allowed = allows_nan(step)
            if allowed is not True:
                return allowed
            if not passes_nan_on(step):
                return True
        return True
    if is_a(model, "ColumnTransformer"):
        answers = {allows_nan(part) if is_estimator(part) else None for _, part, _ in transformers(model)}
        return answers.pop() if len(answers) == 1 else None
    if is_a(model, "FeatureUnion"):
        answers = {allows_nan(part) for _, part in model.transformer_list if does_something(part)}
        return answers.pop() if len(answers) == 1 else None
    inner = first_inside(model)
    if inner is not None:
        several = get(model, "estimators_") if any(is_a(model, name) for name in PASSING) else None
        answers = {allows_nan(each) for each in several or [inner] if is_estimator(each)}
        return answers.pop() if len(answers) == 1 else False if False in answers else None
    return _tag_allows_nan(model)


def _tag_allows_nan(model: Any) -> "Optional[bool]":
    if not type(model).__module__.startswith("sklearn."):
        return None
    if get(model, "missing_values", 0) is None:  # an imputer, to which None is missing: null reaches it as None
        return True
    categories = get(model, "categories_")
    if isinstance(categories, list):
        return _tag(model) or encoder_allows_nan(model, categories)
    return _tag(model)


def _tag(model: Any) -> "Optional[bool]":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if has(model, "__sklearn_tags__"):
                return bool(model.__sklearn_tags__().input_tags.allow_nan)
            if has(model, "_get_tags"):
                return bool(model._get_tags()["allow_nan"])
        except (AttributeError, KeyError, TypeError):
            return None
    if has(model, "_more_tags"):  # 0.21
        return bool(model._more_tags().get("allow_nan", False))
    return None  # before: an imputer may take it, most refuse it with a sentence of their own


def encoder_allows_nan(encoder: Any, categories: "List[Any]") -> "Optional[bool]":
    """Whether an encoder takes missing values in columns of these `categories`: a missing value is one more category. Where it was
    not seen it is an unknown one, and scikit-learn's tag says no although it is taken.
    """
    if any(any(map(is_missing, values.tolist())) for values in categories):
        return True
    return False if refuses_unknown(encoder) else None


def refuses_unknown(encoder: Any) -> bool:
    """Whether an encoder refuses categories that it was not fitted with. A TargetEncoder gives them the mean."""
    return get(encoder, "handle_unknown", "error") == "error" and not is_a(encoder, "TargetEncoder")


def passes_nan_on(step: Any) -> bool:
    """Scalers keep NaN as NaN; what fills or encodes does not."""
    if type(step).__module__.startswith("sklearn.impute") or is_a(step, "OneHotEncoder") or is_a(step, "TargetEncoder"):
        return False
    if is_a(step, "OrdinalEncoder"):  # before 1.1 a missing category was NaN, too
        return any(value != value for value in (get(step, "encoded_missing_value", np.nan), get(step, "unknown_value")))
    if is_a(step, "ColumnTransformer"):
        return any(not is_estimator(part) or passes_nan_on(part) for _, part, _ in transformers(step))
    if is_a(step, "Pipeline"):
        return all(passes_nan_on(inner) for _, inner in step.steps if does_something(inner))
    return has(step, "transform")
