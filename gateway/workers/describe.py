"""What a fitted model says of itself: methods, columns, types, categories, classes, missing values.

Runs inside the model's own Python (3.6 and later), beside child.py, with any scikit-learn since 0.19. All of it is read from
attributes; where a model does not tell, the answer is None rather than a guess.
"""

import resource
import sys
import warnings
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import numpy as np

MANY = 10000  # estimators, categories or names that are looked at

_TEXT = "build_analyzer"  # what Count-, Tfidf- and HashingVectorizer have and nothing else
_RECORDS = ("DictVectorizer", "FeatureHasher")
_LABELS = ("LabelBinarizer", "LabelEncoder", "MultiLabelBinarizer")
# Give their input to each of `estimators_` unseen.
_PASSING = (
    "_BaseVoting",
    "_BaseStacking",
    "VotingClassifier",
    "OneVsRestClassifier",
    "OneVsOneClassifier",
    "OutputCodeClassifier",
    "MultiOutputEstimator",
    "_MultiOutputEstimator",
)
# Iterate until all rows together change little: a row's answer depends on the rows beside it.
_TOGETHER = ("NMF", "MiniBatchNMF")
_KINDS = ("classifier", "regressor", "clusterer", "outlier_detector", "density_estimator")


class NotScorable(Exception):
    """The object has none of the methods; the message is a sentence."""


def describe(model: Any, methods: "Sequence[str]", caught: "Sequence[Any]" = ()) -> "Dict[str, Any]":
    """The description D of the wire (JSON) for `model`.

    Args:
        methods: the allow-list, in order.
        caught: warnings that loading gave, of `warnings.catch_warnings(record=True)`.

    Raises:
        NotScorable: the instance has none of `methods`.
    """
    own = methods_of(model, methods)
    if not own:
        raise NotScorable(
            "a {} has none of the methods that can be served ({})".format(_class_name(model), ", ".join(methods))
        )
    names = feature_names(model)
    types, categories, closed, nullable = _columns(model, names)
    kind, item = _kind(model, names, types)
    return {
        "class": type(model).__name__,
        "module": type(model).__module__,
        "sklearn": _version("sklearn"),
        "numpy": _version("numpy"),
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "methods": own,
        "n_features": len(names) if names else _n_features(model),
        "feature_names": names,
        "feature_types": types or None,
        "blanks_as": _blanks_as(model, names),
        "classes": _classes(model),
        "n_outputs": _n_outputs(model),
        "output_dtype": _output_dtype(model),
        "kind": kind,
        "item": item,
        "estimator_type": _estimator_type(model),
        "batchable": _batchable(model),
        "column_types": types,
        "categories": categories,
        "closed_categories": closed,  # columns whose unknown categories the model refuses
        "time_dtype": _time_dtype(kind),
        "nullable": nullable,  # per column, where columns differ in whether they may be missing
        "allows_nan": _allows_nan(model),
        "warnings": _notes(caught),
        "written_by": _written_by(caught),
    }


def methods_of(model: Any, methods: "Sequence[str]") -> "List[str]":
    """Those of `methods` that this instance has; conditions such as SVC's `probability` are evaluated."""
    return [name for name in methods if callable(_get(model, name))]


def run_on_one_core(model: Any) -> None:
    """Set every `n_jobs` inside `model` to 1: one process answers one frame at a time, and a pool costs more than it saves."""
    for estimator in nested(model):
        if _own(estimator).get("n_jobs", 1) not in (None, 1):
            estimator.n_jobs = 1


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
            if len(members) <= 20 or any(_is_estimator(member) for member in members[:20]):
                waiting.extend(members[:MANY])
        elif _is_estimator(item):
            seen.add(id(item))
            yield item
            waiting.extend(_own(item).values())


def _batchable(model: Any) -> bool:
    """Whether rows of different callers may be asked together without one seeing the other."""
    if _is(model, "BernoulliRBM"):  # `score_samples` draws by the row's place
        return False
    return not any(_is(estimator, name) for estimator in nested(model) for name in _TOGETHER)


def feature_names(model: Any) -> "Optional[List[str]]":
    """The columns that `model` was fitted with, in order; None when it was fitted without names."""
    for estimator in _inputs(model):
        for attribute in ("feature_names_in_", "_feature_names_in", "_df_columns", "feature_name_"):
            found = _get(estimator, attribute)
            if found is not None and len(found) and all(isinstance(name, str) for name in found):
                if list(found) == ["Column_{}".format(index) for index in range(len(found))]:
                    return None  # LightGBM made them up
                return [str(name) for name in found]
        if _is(estimator, "ColumnTransformer"):
            return _names_in_transformers(estimator)
    return None


def _blanks_as(model: Any, names: "Optional[List[str]]") -> "Optional[str]":
    """What stands for blanks in `names`: LightGBM puts underscores there, and forgets the names that people gave."""
    if not names or any(" " in name for name in names):
        return None
    return "_" if any(type(step).__module__.startswith("lightgbm") for step in _inputs(model)) else None


# ---------------------------------------------------------------- the way of the input through a model


def _inputs(model: Any) -> "Iterator[Any]":
    """`model`, then what its input goes to first, then what that gives it to, … one by one."""
    for _ in range(50):
        yield model
        inner = _first_inside(model)
        if inner is None:
            return
        model = inner


def _first_inside(model: Any) -> Any:
    """The estimator that gets the input of `model` unchanged, or None."""
    if _is(model, "Pipeline"):
        return next((step for _, step in model.steps if _does_something(step)), None)
    if _is(model, "FeatureUnion"):
        return next((step for _, step in model.transformer_list if _does_something(step)), None)
    if _is(model, "ColumnTransformer"):
        return None
    for attribute in ("best_estimator_", "regressor_", "estimator_"):
        inner = _get(model, attribute)
        if _is_estimator(inner):
            return inner
    if _is(model, "CalibratedClassifierCV"):
        each = (_get(model, "calibrated_classifiers_") or [None])[0]
        inner = _get(each, "estimator", _get(each, "base_estimator"))
        return inner if _is_estimator(inner) else None
    if any(_is(model, name) for name in _PASSING):
        return next((inner for inner in _get(model, "estimators_", []) if _is_estimator(inner)), None)
    return None


def _transformers(model: Any) -> "List[Tuple[str, Any, Any]]":
    """(name, fitted transformer, columns) of a ColumnTransformer, without those that drop their columns."""
    listed = _get(model, "transformers_", []) or []
    return [(name, each, columns) for name, each, columns in listed if not (isinstance(each, str) and each == "drop")]


def _names_in_transformers(model: Any) -> "Optional[List[str]]":
    """Before scikit-learn 0.24 a ColumnTransformer kept no names but those it was told."""
    names: "List[str]" = []
    for _, _, columns in _transformers(model):
        for column in [columns] if isinstance(columns, str) else columns if isinstance(columns, (list, tuple)) else []:
            if isinstance(column, str) and column not in names:
                names.append(column)
    return names or None


def _column_keys(columns: Any, keys: "List[str]") -> "List[str]":
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


def _columns(
    model: Any, names: "Optional[List[str]]"
) -> "Tuple[Dict[str, str], Dict[str, List[Any]], List[str], Dict[str, bool]]":
    """Types, categories, columns with closed categories, and whether each column may be missing."""
    types: "Dict[str, str]" = {}
    categories: "Dict[str, List[Any]]" = {}
    closed: "List[str]" = []
    nullable: "Dict[str, bool]" = {}
    keys = names or [str(index) for index in range(_n_features(model) or 0)]
    overall = _allows_nan(model)

    def look(estimator: Any, columns: "List[str]") -> None:
        for inner in _inputs(estimator):
            if _is(inner, "Pipeline"):
                for _, step in inner.steps:
                    if _does_something(step):
                        look(step, columns)
                        if not _keeps_columns(step, len(columns)):
                            break
                return
            known = _get(inner, "categories_")
            if known is not None and len(known) == len(columns):
                for column, values in zip(columns, known):
                    types[column] = _type_of(values)
                    if len(values) <= MANY:
                        categories[column] = _listed([value for value in values.tolist() if not _missing(value)])
                    if _get(inner, "handle_unknown", "error") == "error":
                        closed.append(column)
            fill = _get(inner, "statistics_")
            if fill is not None and len(fill) == len(columns):
                for column, value in zip(columns, np.asarray(fill, object).tolist()):
                    types.setdefault(column, "string" if isinstance(value, str) else "number")
            elif _has(inner, _TEXT):
                types.update(dict.fromkeys(columns, "string"))
            if _is(inner, "ColumnTransformer"):
                parts = [part for _, part, _ in _transformers(inner) if _is_estimator(part)]
                refused_later = overall is False and all(_allows_nan(part) for part in parts)
                for _, part, chosen in _transformers(inner):
                    inside = _column_keys(chosen, columns)
                    if _is_estimator(part):
                        look(part, inside)
                        nullable.update(_nullable(part, inside, refused_later))
            elif _takes_numbers(inner):
                for column in columns:
                    types.setdefault(column, "number")

    try:
        look(model, keys)
    except (KeyError, ValueError, IndexError, TypeError):  # an unusual choice of columns: nothing is known of them
        return {}, {}, [], {}
    return types, categories, closed, nullable


def _nullable(part: Any, columns: "List[str]", refused_later: bool) -> "Dict[str, bool]":
    """Whether each column that goes to `part` of a ColumnTransformer may be missing, where that can be told."""
    allowed = _allows_nan(part)
    if allowed is None:
        return {}
    if allowed and refused_later and _passes_nan_on(part):
        allowed = False
    answers = dict.fromkeys(columns, allowed)
    known = _get(part, "categories_")
    if known is not None and len(known) == len(columns) and _get(part, "handle_unknown", "error") == "error":
        # A missing value is one more category, which these know only if they have seen it.
        answers.update(
            (column, False) for column, values in zip(columns, known) if not any(map(_missing, values.tolist()))
        )
    return answers


def _keeps_columns(step: Any, width: int) -> bool:
    """Whether what `step` gives has the columns that it got: it fills holes, or scales."""
    fill = _get(step, "statistics_")
    if fill is not None:
        kept = not any(_missing(value) for value in np.asarray(fill, object).tolist())
        return kept and len(fill) == width and not _get(step, "add_indicator", False)
    return any(_is(step, name) for name in ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler"))


def _time_dtype(kind: str) -> "Optional[str]":
    """The unit in which pandas here reads times from text; None where no pandas is needed."""
    if kind != "columns":
        return None
    try:
        import pandas
    except ImportError:
        return None
    return "<M8[us]" if int(pandas.__version__.split(".")[0]) >= 3 else "<M8[ns]"


def _takes_numbers(estimator: Any) -> bool:
    """True for scikit-learn's own that turn everything into numbers at once."""
    if not type(estimator).__module__.startswith("sklearn."):
        return False
    return any(
        _get(estimator, name) is not None
        for name in ("mean_", "scale_", "coef_", "center_", "data_min_", "quantiles_", "tree_")
    )


def _type_of(values: Any) -> str:
    if values.dtype.kind in "biuf":
        return "boolean" if values.dtype.kind == "b" else "number"
    if values.dtype.kind == "M":
        return "datetime"
    present = [value for value in values.tolist() if not _missing(value)]
    if present and all(isinstance(value, bool) for value in present):
        return "boolean"
    if present and all(isinstance(value, (int, float)) for value in present):
        return "number"
    return "string"


# ---------------------------------------------------------------- what X must be


def _kind(model: Any, names: "Optional[List[str]]", types: "Dict[str, str]") -> "Tuple[str, Optional[str]]":
    """array, columns or list; of a list, what it holds."""
    for estimator in _inputs(model):
        if _has(estimator, _TEXT):
            return "list", "text"
        if any(_is(estimator, name) for name in _RECORDS):
            return "list", "record" if _get(estimator, "input_type", "dict") == "dict" else None
        if any(_is(estimator, name) for name in _LABELS):
            return "list", "label"
    return ("columns" if names and _needs_frame(model, types) else "array"), None


def _needs_frame(model: Any, types: "Dict[str, str]") -> bool:
    """Whether a model that was fitted with names must get them again. scikit-learn's own numeric ones only compare them."""
    if any(word != "number" for word in types.values()):
        return True
    for estimator in nested(model):
        if not type(estimator).__module__.startswith("sklearn."):
            return True
        if _is(estimator, "FunctionTransformer") and estimator.func is not None:
            return True
        if _is(estimator, "ColumnTransformer"):
            return True
        mask = _get(estimator, "is_categorical_")
        if mask is not None and np.any(mask):
            return True
    return False


# ---------------------------------------------------------------- missing values


def _allows_nan(model: Any) -> "Optional[bool]":
    """Whether `model` takes NaN; None when it does not tell."""
    if _is(model, "Pipeline"):
        for _, step in model.steps:
            if not _does_something(step):
                continue
            allowed = _allows_nan(step)
            if allowed is not True:
                return allowed
            if not _passes_nan_on(step):
                return True
        return True
    if _is(model, "ColumnTransformer"):
        answers = {_allows_nan(part) if _is_estimator(part) else None for _, part, _ in _transformers(model)}
        return answers.pop() if len(answers) == 1 else None
    if _is(model, "FeatureUnion"):
        answers = {_allows_nan(part) for _, part in model.transformer_list if _does_something(part)}
        return answers.pop() if len(answers) == 1 else None
    inner = _first_inside(model)
    if inner is not None:
        several = _get(model, "estimators_") if any(_is(model, name) for name in _PASSING) else None
        answers = {_allows_nan(each) for each in several or [inner] if _is_estimator(each)}
        return answers.pop() if len(answers) == 1 else False if False in answers else None
    return _tag_allows_nan(model)


def _tag_allows_nan(model: Any) -> "Optional[bool]":
    if not type(model).__module__.startswith("sklearn."):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if _has(model, "__sklearn_tags__"):
                return bool(model.__sklearn_tags__().input_tags.allow_nan)
            if _has(model, "_get_tags"):
                return bool(model._get_tags()["allow_nan"])
        except (AttributeError, KeyError, TypeError):
            return None
    if _has(model, "_more_tags"):  # 0.21
        return bool(model._more_tags().get("allow_nan", False))
    return None  # before: an imputer may take it, most refuse it with a sentence of their own


def _passes_nan_on(step: Any) -> bool:
    """Scalers keep NaN as NaN; what fills or encodes does not."""
    if type(step).__module__.startswith("sklearn.impute") or _is(step, "OneHotEncoder"):
        return False
    if _is(step, "ColumnTransformer"):
        return any(not _is_estimator(part) or _passes_nan_on(part) for _, part, _ in _transformers(step))
    if _is(step, "Pipeline"):
        return all(_passes_nan_on(inner) for _, inner in step.steps if _does_something(inner))
    return _has(step, "transform")


# ---------------------------------------------------------------- sizes, classes, versions


def _n_features(model: Any) -> "Optional[int]":
    for estimator in _inputs(model):
        if _has(estimator, _TEXT) or any(_is(estimator, name) for name in _RECORDS + _LABELS):
            return None
        for attribute in ("n_features_in_", "n_features_", "_n_features"):
            found = _get(estimator, attribute)
            if isinstance(found, (int, np.integer)):
                return int(found)
        if _is(estimator, "ColumnTransformer"):
            return None
        width = _width_of_attributes(estimator)
        if width is not None:
            return width
    return None


def _width_of_attributes(estimator: Any) -> "Optional[int]":
    """Before 0.23 the number of columns shows only in the shape of what was learnt."""
    shape = _get(estimator, "shape_fit_")
    if shape is not None and len(shape) == 2:
        return int(shape[1])
    for attribute in ("scale_", "mean_", "data_min_", "statistics_", "center_"):
        found = _get(estimator, attribute)
        if isinstance(found, np.ndarray) and found.ndim == 1 and _has(estimator, "transform"):
            return int(found.shape[0])
    for attribute in ("coef_", "cluster_centers_", "components_", "_fit_X", "theta_", "means_", "feature_log_prob_"):
        found = _get(estimator, attribute)
        if isinstance(found, np.ndarray) and found.ndim in (1, 2):
            return int(found.shape[-1])
    return None


def _classes(model: Any) -> "Optional[List[Any]]":
    found = _get(model, "classes_")
    if isinstance(found, np.ndarray):
        return _listed(found.tolist())
    if isinstance(found, (list, tuple)) and found:
        return [_listed(np.asarray(part).tolist()) for part in found]
    return None


def _n_outputs(model: Any) -> "Optional[int]":
    found = _get(_last(model), "n_outputs_")
    if isinstance(found, (int, np.integer)):
        return int(found)
    classes = _get(model, "classes_")
    if isinstance(classes, (list, tuple)) and classes:
        return len(classes)
    coef = _get(_last(model), "coef_")
    if isinstance(coef, np.ndarray) and _estimator_type(model) == "regressor":
        return int(coef.shape[0]) if coef.ndim == 2 else 1
    return 1 if isinstance(classes, np.ndarray) else None


def _output_dtype(model: Any) -> "Optional[str]":
    """Of `predict`, where the classes tell."""
    found = _get(model, "classes_")
    return found.dtype.str if isinstance(found, np.ndarray) and found.dtype.kind in "biuf" else None


def _estimator_type(model: Any) -> "Optional[str]":
    found = _get(model, "_estimator_type")
    if found is None and _has(model, "__sklearn_tags__"):
        try:
            found = model.__sklearn_tags__().estimator_type
        except (AttributeError, TypeError, ValueError):
            return None
    return str(found) if found in _KINDS else "transformer" if found is None and _has(model, "transform") else None


def _last(model: Any) -> Any:
    if _is(model, "Pipeline"):
        return model.steps[-1][1]
    inner = _get(model, "best_estimator_")
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
    """What the loading warned of, each once."""
    notes: "List[str]" = []
    for warning in caught:
        text = " ".join(str(warning.message).split())[:300]
        if text not in notes and not issubclass(warning.category, (DeprecationWarning, PendingDeprecationWarning)):
            notes.append(text)
    return notes[:5]


def memory_bytes(before: int = 0) -> int:
    """Memory that this process has for itself, roughly and at once; the exact figure costs 5 ms with so many mappings.

    Small pages touched since it was forked or started, or what `resident` grew by since `before`, whichever is more.
    """
    touched = resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize()
    return max(touched, resident() - before)


def resident() -> int:
    """Memory in use that is no file's, in bytes, shared with the nursery or not; 0 where the kernel does not tell."""
    try:
        with open("/proc/self/status") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)
    except OSError:
        return 0


# ---------------------------------------------------------------- small words


def _get(item: Any, name: str, default: Any = None) -> Any:
    """An attribute of somebody else's object; one that raises counts as absent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return getattr(item, name, default)
        except Exception:
            return default


def _has(item: Any, name: str) -> bool:
    return _get(item, name) is not None


def _own(item: Any) -> "Dict[str, Any]":
    return getattr(item, "__dict__", {})


def _is(item: Any, name: str) -> bool:
    """By name, so that nothing has to be imported: the class or one of its bases in scikit-learn is called that."""
    return any(base.__name__ == name and base.__module__.startswith("sklearn.") for base in type(item).__mro__)


def _is_estimator(item: Any) -> bool:
    return hasattr(type(item), "get_params") and not isinstance(item, type)


def _does_something(step: Any) -> bool:
    return step is not None and not isinstance(step, str)


def _missing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124 - NaN


def _listed(values: "List[Any]") -> "List[Any]":
    return [value if isinstance(value, (str, bool, int, float)) or value is None else str(value) for value in values]


def _class_name(model: Any) -> str:
    module = type(model).__module__
    return type(model).__name__ if module == "builtins" else "{}.{}".format(module.split(".")[0], type(model).__name__)


def _version(module: str) -> "Optional[str]":
    return getattr(sys.modules.get(module), "__version__", None)
