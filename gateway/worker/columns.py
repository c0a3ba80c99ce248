"""What a model tells of its columns: names, types, categories, dtypes, and which may be missing.

Runs inside the model's own Python (3.6 and later), beside child.py, with any scikit-learn since 0.19.
"""

from collections import namedtuple
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import numpy as np

from . import boosters
from .frames import as_json, spec_of, type_of
from .missing_values import allows_nan, encoder_allows_nan, passes_nan_on, refuses_unknown
from .pipeline import (
    LABELS,
    MANY,
    RECORDS,
    TEXT,
    does_something,
    get,
    has,
    inputs,
    is_estimator,
    is_missing,
    is_sklearn,
    nested,
    transformers,
)
from .shortcut_base import is_a

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# Numeric transformers whose fitted attributes do not show that they take numbers.
_NUMERIC = (
    "Binarizer",
    "IterativeImputer",
    "KBinsDiscretizer",
    "KNNImputer",
    "Normalizer",
    "PolynomialFeatures",
    "PowerTransformer",
    "SplineTransformer",
    "TruncatedSVD",
    "VarianceThreshold",
)
_KEEPING = ("KeepsColumns", "StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")


def feature_names(model: Any) -> "Optional[List[str]]":
    """The columns that `model` was fitted with, in order; None when it was fitted without names."""
    for estimator in inputs(model):
        if boosters.library(estimator) is not None:
            return boosters.feature_names(estimator)
        for attribute in ("feature_names_in_", "_feature_names_in", "_df_columns"):
            found = get(estimator, attribute)
            if found is not None and len(found) and all(isinstance(name, str) for name in found):
                return [str(name) for name in found]
        if is_a(estimator, "ColumnTransformer"):
            return _names_in_transformers(estimator)
    return None


def n_features(model: Any) -> "Optional[int]":
    for estimator in inputs(model):
        if has(estimator, TEXT) or any(is_a(estimator, name) for name in RECORDS + LABELS):
            return None
        if is_a(estimator, "IsotonicRegression"):
            return 1
        if boosters.library(estimator) is not None and boosters.n_features(estimator) is not None:
            return boosters.n_features(estimator)  # CatBoost's `n_features_in_` is 0 once it was unpickled
        for attribute in ("n_features_in_", "n_features_", "_n_features"):
            found = get(estimator, attribute)
            if isinstance(found, (int, np.integer)):
                return int(found)
        if is_a(estimator, "ColumnTransformer"):
            return None
        width = _width_of_attributes(estimator)
        if width is not None:
            return width
    return None


#: What is known of columns, by their names (or positions, as text): `types`, `categories`, a list of those whose categories are
#: `closed`, whether each is `nullable`, the `specs` of those that are not as JSON has them (see frames.py), and the `values` that an
#: encoder saw.
Known = namedtuple("Known", ["types", "categories", "closed", "nullable", "specs", "values"])


def columns_of(model: Any, names: "Optional[List[str]]") -> Known:
    types: "Dict[str, str]" = {}
    specs: "Dict[str, Any]" = {}
    seen: "Dict[str, Array]" = {}
    categories: "Dict[str, List[Any]]" = {}
    closed: "List[str]" = []
    nullable: "Dict[str, bool]" = {}
    keys = names or [str(index) for index in range(n_features(model) or 0)]
    overall = allows_nan(model)

    def add(told: "Dict[str, Any]") -> None:
        for column, spec in told.items():
            specs.setdefault(column, spec)
            if "values" in spec:
                categories.setdefault(column, listed(spec["values"]))

    def look(estimator: Any, columns: "List[str]") -> None:
        for inner in inputs(estimator):
            if is_a(inner, "Pipeline"):
                for _, step in inner.steps:
                    if does_something(step):
                        look(step, columns)
                        if not _keeps_columns(step, len(columns)):
                            break
                return
            for column, facts in (get(inner, "column_facts_") or {}).items():  # a step of chain.py
                types[column] = facts["type"]
                categories[column] = list(facts["categories"])[:MANY]
                if facts["closed"]:
                    closed.append(column)
            add(boosters.specs_of(inner, columns))
            known = get(inner, "categories_")
            if known is not None and len(known) == len(columns):
                for column, values in zip(columns, known):
                    spec = spec_of(values)
                    if spec is not None and column not in specs:
                        specs[column], seen[column] = spec, values
                    kind = _type_of(values, spec)
                    if kind is not None:
                        types[column] = kind
                    if len(values) <= MANY:
                        categories[column] = listed(as_json(values))
                    # Times and intervals can be written in several ways: the model itself refuses those that it does not know.
                    if refuses_unknown(inner) and not _converted(spec):
                        closed.append(column)
            if (
                is_sklearn(inner) and get(inner, "missing_values", np.nan) is None
            ):  # an imputer's, which takes None alone for missing
                for column in columns:
                    specs.setdefault(column, {"dtype": "object", "missing": "None"})
            fill = get(inner, "statistics_")
            if fill is not None and len(fill) == len(columns):
                for column, value in zip(columns, np.asarray(fill, object).tolist()):
                    types.setdefault(column, "string" if isinstance(value, str) else "number")
            elif has(inner, TEXT):
                types.update(dict.fromkeys(columns, "string"))
            if is_a(inner, "ColumnTransformer"):
                parts = [part for _, part, _ in transformers(inner) if is_estimator(part)]
                refused_later = overall is False and all(allows_nan(part) for part in parts)
                for _, part, chosen in transformers(inner):
                    inside = column_keys(chosen, columns)
                    if is_estimator(part):
                        look(part, inside)
                        nullable.update(_nullable(part, inside, refused_later))
            elif _takes_numbers(inner):
                for column in columns:
                    types.setdefault(column, "number")

    try:
        look(model, keys)
        for inner in nested(model) if names else ():  # a booster behind steps that keep the names of columns
            own = boosters.names_of(inner)
            if own:
                add({column: spec for column, spec in boosters.specs_of(inner, own).items() if column in keys})
    except (KeyError, ValueError, IndexError, TypeError):  # an unusual column selection: nothing is known
        return Known({}, {}, [], {}, {}, {})
    for column, spec in specs.items():
        kind = type_of(spec)
        if kind is not None:
            types.setdefault(column, kind)
    return Known(types, categories, closed, nullable, specs, seen)


def _converted(spec: "Optional[Dict[str, Any]]") -> bool:
    """Whether text stands for something else in a column."""
    return spec is not None and ("lookup" in spec or spec["dtype"] != "object")


def blanks_as(model: Any, names: "Optional[List[str]]") -> "Optional[str]":
    """The replacement of blanks in `names`: LightGBM writes underscores and forgets the original names."""
    if not names or any(" " in name for name in names):
        return None
    return "_" if any(type(step).__module__.startswith("lightgbm") for step in inputs(model)) else None


def _names_in_transformers(model: Any) -> "Optional[List[str]]":
    """Before scikit-learn 0.24 a ColumnTransformer kept only the names in its column selections."""
    names: "List[str]" = []
    for _, _, columns in transformers(model):
        for column in [columns] if isinstance(columns, str) else columns if isinstance(columns, (list, tuple)) else []:
            if isinstance(column, str) and column not in names:
                names.append(column)
    return names or None


def column_keys(columns: Any, keys: "List[str]") -> "List[str]":
    """The names (or positions, as text) that a ColumnTransformer's `columns` stands for."""
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, slice):
        if isinstance(columns.start, str) or isinstance(columns.stop, str):
            first = keys.index(columns.start) if columns.start else 0
            return keys[first : keys.index(columns.stop) + 1 if columns.stop else len(keys)]
        return keys[columns]
    if isinstance(columns, (int, np.integer)):
        return [keys[columns]]
    chosen = np.asarray(columns)
    if chosen.dtype == bool:
        return [key for key, one in zip(keys, chosen) if one]
    return [str(column) if isinstance(column, str) else keys[int(column)] for column in chosen.tolist()]


def _nullable(part: Any, columns: "List[str]", refused_later: bool) -> "Dict[str, bool]":
    """Whether each column that goes to `part` of a ColumnTransformer may be missing, where that can be told."""
    filtered = refused_later and passes_nan_on(part)
    known = get(part, "categories_")
    if isinstance(known, list) and len(known) == len(columns):
        told = [(column, encoder_allows_nan(part, [values])) for column, values in zip(columns, known)]
    else:
        told = [(column, allows_nan(part)) for column in columns]
    return {column: allowed and not filtered for column, allowed in told if allowed is not None}


def _keeps_columns(step: Any, width: int) -> bool:
    """Whether the output of `step` has the same columns as its input: imputers and scalers."""
    fill = get(step, "statistics_")
    if fill is not None:
        kept = not any(is_missing(value) for value in np.asarray(fill, object).tolist())
        return kept and len(fill) == width and not get(step, "add_indicator", False)
    return any(is_a(step, name) for name in _KEEPING)


def _takes_numbers(estimator: Any) -> bool:
    """Whether this is an estimator of scikit-learn that converts its input to numbers at once."""
    if not is_sklearn(estimator):
        return False
    return any(is_a(estimator, name) for name in _NUMERIC) or any(
        get(estimator, name) is not None
        for name in ("mean_", "scale_", "coef_", "center_", "data_min_", "quantiles_", "tree_")
    )


def _type_of(values: Any, spec: "Optional[Dict[str, Any]]") -> "Optional[str]":
    if values.dtype.kind in "biuf":
        return "boolean" if values.dtype.kind == "b" else "number"
    if _converted(spec):
        return type_of(spec or {})
    present = [value for value in values.tolist() if not is_missing(value)]
    if present and all(isinstance(value, bool) for value in present):
        return "boolean"
    if present and all(isinstance(value, (int, float)) for value in present):
        return "number"
    return "string"


def _width_of_attributes(estimator: Any) -> "Optional[int]":
    """Before 0.23 the number of columns shows only in the shapes of fitted attributes."""
    shape = get(estimator, "shape_fit_")
    if shape is not None and len(shape) == 2:
        return int(shape[1])
    for attribute in ("scale_", "mean_", "data_min_", "statistics_", "center_"):
        found = get(estimator, attribute)
        if isinstance(found, np.ndarray) and found.ndim == 1 and has(estimator, "transform"):
            return int(found.shape[0])
    for attribute in ("coef_", "cluster_centers_", "components_", "_fit_X", "theta_", "means_", "feature_log_prob_"):
        found = get(estimator, attribute)
        if isinstance(found, np.ndarray) and found.ndim in (1, 2):
            return int(found.shape[-1])
    return None


def listed(values: "List[Any]") -> "List[Any]":
    return [value if isinstance(value, (str, bool, int, float)) or value is None else str(value) for value in values]
