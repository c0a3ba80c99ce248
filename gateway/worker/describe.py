"""Describes a fitted model: methods, columns, types, categories, classes, missing values.

Runs inside the model's own Python (3.6 and later), beside child.py, with any scikit-learn since 0.19. Everything is read from
attributes; what a model does not tell is None rather than a guess.
"""

import re
import sys
from itertools import chain
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from .boosters import served_class
from .columns import blanks_as, columns_of, feature_names, listed, n_features
from .missing_values import allows_nan
from .pipeline import LABELS, RECORDS, TEXT, get, has, inputs, is_estimator, nested
from .selection import custom_first, takes_texts, unused_columns
from .shortcut_base import is_a

# Packages whose estimators take any row that fits the description; of others it is not known.
_LIBRARIES = ("sklearn", "imblearn", "lightgbm", "xgboost")
# Parameters that may hold an author's code.
_CALLABLES = ("func", "inverse_func", "analyzer", "preprocessor", "tokenizer")
# These iterate over all rows together, so that a row's answer depends on the rows beside it.
_TOGETHER = ("NMF", "MiniBatchNMF")
_KINDS = ("classifier", "regressor", "clusterer", "outlier_detector", "density_estimator")


class NotScorable(Exception):
    """The object has none of the methods; the message is a sentence."""


def describe(
    model: Any,
    methods: "Sequence[str]",
    caught: "Sequence[Any]" = (),
    sample: "Optional[Dict[str, Any]]" = None,
) -> "Dict[str, Any]":
    """The description D of the wire (JSON) for `model`.

    Args:
        methods: the allow-list, in order.
        caught: warnings that were caught while the model was loaded, by `warnings.catch_warnings(record=True)`.
        sample: facts from the registered sample: `dtypes` (a Spec by column, see frames.py) and `flat`.

    Raises:
        NotScorable: the instance has none of `methods`.
    """
    own = methods_of(model, methods)
    if not own:
        raise NotScorable(
            "a {} has none of the methods that can be served ({})".format(_class_name(model), ", ".join(methods))
        )
    names = feature_names(model)
    known = columns_of(model, names)
    dtypes = _dtypes(model, known.specs, (sample or {}).get("dtypes") or {}, names)
    kind, item = _kind(model, names, known.types, dtypes)
    served = served_class(model)
    flat = any(is_a(each, "IsotonicRegression") for each in inputs(model)) or bool((sample or {}).get("flat"))
    return {
        "class": served.__name__,
        "module": served.__module__,
        "sklearn": _version("sklearn"),
        "numpy": _version("numpy"),
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "methods": own,
        "n_features": len(names) if names else n_features(model),
        "feature_names": names,
        "feature_types": known.types or None,
        "blanks_as": blanks_as(model, names),
        "classes": _classes(model),
        "n_outputs": _n_outputs(model),
        "output_dtype": _output_dtype(model),
        "kind": kind,
        "item": item,
        "estimator_type": _estimator_type(model),
        "batchable": _batchable(model),
        "fitted": _fitted(model),
        "any_row": _takes_any_row(model),
        "column_types": known.types,
        "categories": known.categories,
        "closed_categories": known.closed,  # columns whose unknown categories the model refuses
        "unused": unused_columns(
            model, names
        ),  # may be absent, as others may be there too; null: all are wanted, and no others
        "dtypes": dtypes,  # per column, where the model got another dtype than JSON gives; see frames.py
        "flat": flat,  # one value a row, in an array of one dimension
        "time_dtype": _time_dtype(kind),
        "nullable": known.nullable,  # per column, where columns differ in whether they may be missing
        "allows_nan": allows_nan(model),
        "warnings": _notes(caught),
        "written_by": _written_by(caught),
    }


def methods_of(model: Any, methods: "Sequence[str]") -> "List[str]":
    """Those of `methods` that this instance has; conditions such as SVC's `probability` are evaluated."""
    return [name for name in methods if callable(get(model, name))]


def _batchable(model: Any) -> bool:
    """Whether rows of different callers can be batched without influencing each other."""
    if is_a(model, "BernoulliRBM"):  # `score_samples` draws by the row's place
        return False
    return not any(is_a(estimator, name) for estimator in nested(model) for name in _TOGETHER)


def _fitted(model: Any) -> bool:
    """False where scikit-learn's own check says "not fitted". It may be wrong about estimators of others."""
    if get(model, "prefit") is True:
        return True
    try:
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted
    except ImportError:
        return True
    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    except Exception:  # not an estimator, or a scikit-learn before 0.22, which wants names of attributes
        return True
    return True


def _takes_any_row(model: Any) -> bool:
    """Whether any row that fits this description should be answered. Unknown, so False, where code that is not of `_LIBRARIES`
    sees the rows, or a booster has categories of its own."""
    for estimator in chain([model], nested(model)):
        if type(estimator).__module__.split(".")[0] not in _LIBRARIES or _has_own_categories(estimator):
            return False
        if get(estimator, "categories_") is not None and get(estimator, "handle_unknown", "error") == "error":
            return False  # rows that are made up may hold what it never saw
        if any(_is_authors(get(estimator, name)) for name in _CALLABLES):
            return False
    return True


def _is_authors(function: Any) -> bool:
    if not callable(function) or isinstance(function, np.ufunc):
        return False
    return str(getattr(function, "__module__", "")).split(".")[0] not in ("numpy",) + _LIBRARIES


def _has_own_categories(estimator: Any) -> bool:
    booster = get(estimator, "_Booster")
    return bool(get(booster, "pandas_categorical")) or "c" in (get(booster, "feature_types") or ())


def _time_dtype(kind: str) -> "Optional[str]":
    """The unit in which this pandas parses times; None if pandas is not needed."""
    if kind != "columns":
        return None
    try:
        import pandas
    except ImportError:
        return None
    return "<M8[us]" if int(pandas.__version__.split(".")[0]) >= 3 else "<M8[ns]"


def _dtypes(
    model: Any, own: "Dict[str, Any]", sampled: "Dict[str, Any]", names: "Optional[List[str]]"
) -> "Dict[str, Any]":
    """What the model knows of its columns' dtypes, and what the sample adds.

    A booster's categories are the codes of its trees, so the sample does not overrule them. Integers stay floats where only
    scikit-learn's own estimators see them, since these answer the same for both.
    """
    found, opaque = dict(own), _opaque(model)
    for name, spec in sampled.items():
        known = own.get(name)
        if (names and name not in names) or spec.get("dtype") == "float64" or (known and "unsure" in spec):
            continue
        if "refused" in spec and (known is not None or not opaque):
            continue
        if spec.get("dtype") == "object" and known is not None:  # what the encoder has seen says more
            continue
        if known is None or "refused" in known or "values" not in known:
            found[name] = spec
    if opaque:
        return found
    return {name: spec for name, spec in found.items() if not re.match(r"u?int\d+$", spec.get("dtype", ""))}


def _opaque(model: Any) -> bool:
    """Whether code outside of scikit-learn sees the input."""
    for estimator in nested(model):
        if not type(estimator).__module__.startswith("sklearn."):
            return True
        if is_a(estimator, "FunctionTransformer") and estimator.func is not None:
            return True
    return not is_estimator(model)


def _kind(
    model: Any, names: "Optional[List[str]]", types: "Dict[str, str]", dtypes: "Dict[str, Any]"
) -> "Tuple[str, Optional[str]]":
    """array, columns or list; of a list, what it holds."""
    for estimator in inputs(model):
        if has(estimator, TEXT):
            return "list", "text"
        if any(is_a(estimator, name) for name in RECORDS):
            return "list", "record" if get(estimator, "input_type", "dict") == "dict" else None
        if any(is_a(estimator, name) for name in LABELS):
            return "list", "label"
    if not names and takes_texts(model):
        return "list", "text"
    if not names and custom_first(model) and n_features(model) is None:
        return "columns", None
    if names and (dtypes or _needs_frame(model, types)):
        return "columns", None
    return "array", None


def _needs_frame(model: Any, types: "Dict[str, str]") -> bool:
    """Whether a model that was fitted with names needs a DataFrame. scikit-learn's own numeric estimators only compare names."""
    if any(word != "number" for word in types.values()) or _opaque(model):
        return True
    for estimator in nested(model):
        if is_a(estimator, "ColumnTransformer"):
            return True
        mask = get(estimator, "is_categorical_")
        if mask is not None and np.any(mask):
            return True
    return False


def _classes(model: Any) -> "Optional[List[Any]]":
    found = get(model, "classes_")
    if isinstance(found, np.ndarray):
        return listed(found.tolist())
    if isinstance(found, (list, tuple)) and found:
        return [listed(np.asarray(part).tolist()) for part in found]
    return None


def _n_outputs(model: Any) -> "Optional[int]":
    found = get(_last(model), "n_outputs_")
    if isinstance(found, (int, np.integer)):
        return int(found)
    classes = get(model, "classes_")
    if isinstance(classes, (list, tuple)) and classes:
        return len(classes)
    coef = get(_last(model), "coef_")
    if isinstance(coef, np.ndarray) and _estimator_type(model) == "regressor":
        return int(coef.shape[0]) if coef.ndim == 2 else 1
    return 1 if isinstance(classes, np.ndarray) else None


def _output_dtype(model: Any) -> "Optional[str]":
    """Of `predict`, where the classes tell."""
    found = get(model, "classes_")
    return found.dtype.str if isinstance(found, np.ndarray) and found.dtype.kind in "biuf" else None


def _estimator_type(model: Any) -> "Optional[str]":
    found = get(model, "_estimator_type")
    if found is None and has(model, "__sklearn_tags__"):
        try:
            found = model.__sklearn_tags__().estimator_type
        except (AttributeError, TypeError, ValueError):
            return None
    return str(found) if found in _KINDS else "transformer" if found is None and has(model, "transform") else None


def _last(model: Any) -> Any:
    if is_a(model, "Pipeline"):
        return model.steps[-1][1]
    inner = get(model, "best_estimator_")
    return model if inner is None else _last(inner)


def _written_by(caught: "Sequence[Any]") -> "Optional[str]":
    """The scikit-learn that wrote the model, where it is not the one that loaded it."""
    for warning in caught:
        version = getattr(warning.message, "original_sklearn_version", None)
        if version is None and "Trying to unpickle" in str(warning.message):  # before 1.3
            words = str(warning.message).split()
            version = words[words.index("version") + 1] if "version" in words[:-1] else None
        if version is not None:
            return str(version)
    return None


def _notes(caught: "Sequence[Any]") -> "List[str]":
    """The warnings of loading, each once."""
    notes: "List[str]" = []
    for warning in caught:
        text = " ".join(str(warning.message).split())[:300]
        if text not in notes and not issubclass(warning.category, (DeprecationWarning, PendingDeprecationWarning)):
            notes.append(text)
    return notes[:5]


def _class_name(model: Any) -> str:
    module = type(model).__module__
    return type(model).__name__ if module == "builtins" else "{}.{}".format(module.split(".")[0], type(model).__name__)


def _version(module: str) -> "Optional[str]":
    return getattr(sys.modules.get(module), "__version__", None)
