"""Columns and categories of models of LightGBM, XGBoost and CatBoost, which keep them in attributes of their own.

Runs inside the model's own Python (3.6 and later), beside child.py; imports none of the three.
"""

import json
import sys
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from .pipeline import get, is_estimator

if TYPE_CHECKING:
    from .frames import Spec

#: Errors of these libraries that an input causes. They are no ValueErrors.
INPUT_ERRORS = ("CatBoostError", "LightGBMError", "XGBoostError")


class XGBoostBooster(object):
    """An `xgboost.Booster`, whose own `predict` takes nothing but XGBoost's matrices."""

    def __init__(self, booster: Any) -> None:
        self.booster = booster

    def predict(self, X: Any) -> Any:
        xgboost, types = sys.modules["xgboost"], get(self.booster, "feature_types")
        if hasattr(X, "columns"):
            return self.booster.predict(xgboost.DMatrix(X, enable_categorical=bool(types) and "c" in types))
        return self.booster.predict(xgboost.DMatrix(X, feature_names=self.booster.feature_names, feature_types=types))


def servable(model: Any) -> Any:
    """`model`, or what calls it with arrays and frames."""
    return XGBoostBooster(model) if _is(model, "xgboost", "Booster") else model


def served_class(model: Any) -> type:
    return type(model.booster if isinstance(model, XGBoostBooster) else model)


def library(model: Any) -> "Optional[str]":
    if isinstance(model, type):
        return None
    root = served_class(model).__module__.split(".")[0]
    return root if root in ("lightgbm", "xgboost", "catboost") else None


def names_of(model: Any) -> "Optional[List[str]]":
    """The columns that the model keeps, its own invented ones too; None where it is of another library, or keeps none."""
    which = library(model)
    found: Any = None
    if which == "catboost":
        found = get(model, "feature_names_")
    elif which == "lightgbm":
        found = get(model, "feature_name_") if is_estimator(model) else _called(model, "feature_name")
    elif which == "xgboost":
        found = get(_xgboost(model), "feature_names")
    return [str(name) for name in found] if found is not None and len(found) else None


def feature_names(model: Any) -> "Optional[List[str]]":
    """The columns that a person named."""
    found = names_of(model)
    if found is None or found == [_invented(model).format(index) for index in range(len(found))]:
        return None
    return found


def _invented(model: Any) -> str:
    return "Column_{}" if library(model) == "lightgbm" else "{}"


def n_features(model: Any) -> "Optional[int]":
    found = names_of(model)
    if found is not None:
        return len(found)
    count = _called(_xgboost(model), "num_features") if library(model) == "xgboost" else None
    return int(count) if isinstance(count, int) and count else None


def specs_of(model: Any, keys: "Sequence[str]") -> "Dict[str, Spec]":
    """Columns (by the `keys`, in order) that must be categories, or of which whole numbers are names."""
    which = library(model)
    if which == "lightgbm":
        return _lightgbm(model, keys)
    if which == "xgboost":
        return _xgboost_specs(model, keys)
    return _catboost(model, keys) if which == "catboost" else {}


def _lightgbm(model: Any, keys: "Sequence[str]") -> "Dict[str, Spec]":
    """A category that it does not know is a missing value to LightGBM."""
    booster = get(model, "booster_") if is_estimator(model) else model
    lists = get(booster, "pandas_categorical") or []
    if not lists:
        return {}
    places = _lightgbm_places(booster)
    if len(places) != len(lists) or any(place >= len(keys) for place in places):
        sentence = "the model was fitted on pandas categories and does not tell in which columns"
        return {key: {"refused": sentence} for key in keys}
    return {
        keys[place]: {"dtype": "category", "values": list(values), "unknown": "missing"}
        for place, values in zip(places, lists)
    }


def _lightgbm_places(booster: Any) -> "List[int]":
    """Which columns were categories, as its parameters say; older releases say it in the text of the model only."""
    params = get(booster, "params") or {}
    found = params.get("categorical_column")
    if not isinstance(found, list) or not all(isinstance(place, int) for place in found):
        marks = [
            line
            for line in _called(booster, "model_to_string").splitlines()
            if line.startswith("[categorical_feature:")
        ]
        found = (
            [int(word) for word in marks[0].rstrip("]").partition(":")[2].split(",") if word.strip()] if marks else []
        )
    return sorted(found)


def _xgboost_specs(model: Any, keys: "Sequence[str]") -> "Dict[str, Spec]":
    booster = _xgboost(model)
    types, names = get(booster, "feature_types") or [], get(booster, "feature_names")
    if "c" not in types or names is None or len(types) != len(keys):
        return {}  # fitted on an array: the values are the codes
    lists = _xgboost_categories(booster)
    specs: "Dict[str, Spec]" = {}
    for index, (key, word) in enumerate(zip(keys, types)):
        if word == "c":
            known = lists[index] if index < len(lists) else []
            sentence = (
                "this release of XGBoost does not keep the categories that the model was fitted with: register the model with a "
                "sample that is a DataFrame or a Parquet file, whose column has them"
            )
            specs[key] = {"dtype": "category", "values": known} if known else {"refused": sentence}
    return specs


def _xgboost_categories(booster: Any) -> "List[List[Any]]":
    """By column; since 3.1 they are in the model's JSON."""
    written = json.loads(bytes(_called(booster, "save_raw", "json") or b"{}").decode("utf-8"))
    found = _find(written, "cats") or {}
    return [_decoded(column) for column in found.get("enc") or []]


def _decoded(column: "Dict[str, Any]") -> "List[Any]":
    values = column["values"]
    if "offsets" not in column:
        return list(values)
    offsets, text = column["offsets"], bytes([value & 255 for value in values])
    return [text[start:stop].decode("utf-8") for start, stop in zip(offsets, offsets[1:])]


def _find(item: Any, key: str) -> Any:
    """The value of `key` in nested objects; trees, which are lists, are not looked at."""
    if not isinstance(item, dict):
        return None
    if key in item:
        return item[key]
    for value in item.values():
        found = _find(value, key)
        if found is not None:
            return found
    return None


def _catboost(model: Any, keys: "Sequence[str]") -> "Dict[str, Spec]":
    """Its categories are text or integers, never floats, and the two are the same to it."""
    specs: "Dict[str, Spec]" = {}
    for place in _called(model, "get_cat_feature_indices") or []:
        if place < len(keys):
            specs[keys[place]] = {"dtype": "object", "whole": True}
    for place in _called(model, "get_text_feature_indices") or []:
        if place < len(keys):
            specs[keys[place]] = {"dtype": "object", "text": True}
    return specs


def _xgboost(model: Any) -> Any:
    if isinstance(model, XGBoostBooster):
        return model.booster
    return _called(model, "get_booster")


def _called(item: Any, method: str, *arguments: Any) -> Any:
    """The result of calling a method of an untrusted object; None if it is absent or raises."""
    try:
        return getattr(item, method)(*arguments)
    except Exception:
        return None


def _is(model: Any, module: str, name: str) -> bool:
    return any(each.__name__ == name and each.__module__.split(".")[0] == module for each in type(model).__mro__)
