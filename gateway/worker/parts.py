"""What the objects in model files are: a model, a step before it, labels of its classes, names of its columns.

Runs inside the model's own Python (3.6 and later), beside child.py, as a process of its own inside limits: it loads each file once and
writes what it found as JSON. `registry.composition` makes a plan of it. Nothing here decides how parts fit together.
"""

import importlib.util
import json
import os
import sys
import warnings
from typing import Any, Dict, Iterator, List, Optional, Tuple

MOST_PARTS = 40  # in one file
MOST_VALUES = 10000  # names, classes or values of a mapping
_ONE_TO_ONE = (
    "StandardScaler",
    "MinMaxScaler",
    "MaxAbsScaler",
    "RobustScaler",
    "PowerTransformer",
    "QuantileTransformer",
    "Normalizer",
    "SimpleImputer",
    "KNNImputer",
    "IterativeImputer",
    "OrdinalEncoder",
    "Binarizer",
)


def parts_of(name: str, value: Any) -> "Iterator[Tuple[Dict[str, Any], Any]]":
    """The parts that one file holds, each with its facts; of a dict, tuple or list its members."""
    members = None  # type: Optional[List[Tuple[Any, Any]]]
    if isinstance(value, dict) and not _encoders(value) and not _mappings(value):
        members = [(key, member) for key, member in value.items() if isinstance(key, (str, int))]
    elif isinstance(value, (list, tuple)) and not _names(value) and any(_is_estimator(member) for member in value):
        members = list(enumerate(value))
    if members is None:
        yield dict(facts_of(value), file=name, key=None, id=name), value
        return
    for key, member in members[:MOST_PARTS]:
        yield dict(facts_of(member), file=name, key=key, id="{}[{}]".format(name, key)), member


def facts_of(value: Any) -> "Dict[str, Any]":
    """JSON: ``roles`` (of model, stage, labels, encoders, maps, names) and what decides where the object fits."""
    facts = {"class": type(value).__name__, "module": type(value).__module__, "roles": []}  # type: Dict[str, Any]
    names = _names(value)
    if names is not None:
        facts.update(roles=["names"], values=names)
    elif _encoders(value):
        facts.update(roles=["encoders"], columns={key: _classes(each) for key, each in value.items()})
    elif _mappings(value):
        facts.update(roles=["maps"], columns=_mappings(value))
    elif _is_estimator(value):
        facts.update(_estimator(value))
    return facts


def _estimator(value: Any) -> "Dict[str, Any]":
    from .columns import columns_of, feature_names, n_features
    from .describe import _estimator_type
    from .pipeline import TEXT, has, inputs
    from .shortcut_base import is_a

    if is_a(value, "LabelEncoder"):
        classes = _classes(value)
        return {"roles": ["labels"] if classes else [], "classes": classes, "fitted": classes is not None}
    roles = [role for role, method in (("model", "predict"), ("stage", "transform")) if has(value, method)]
    names = feature_names(value)
    text = any(has(each, TEXT) for each in inputs(value))
    known = columns_of(value, names)
    types, categories = known.types, known.categories
    found = {
        "roles": roles,
        "fitted": is_fitted(value),
        "takes": "text" if text else "columns" if any(kind != "number" for kind in types.values()) else "numbers",
        "names": names,
        "width": None if text else len(names) if names else n_features(value),
        "selects": is_a(value, "ColumnTransformer") or _first_is(value, "ColumnTransformer"),
        "keeps": any(is_a(value, name) for name in _ONE_TO_ONE) and "stage" in roles,
        "inverse": has(value, "inverse_transform"),
        "estimator_type": _estimator_type(value),
        "classes": _plain(getattr(value, "classes_", None)) if "model" in roles else None,
    }  # type: Dict[str, Any]
    found.update(_prints(value, "stage" in roles))
    if "stage" in roles and found["fitted"]:
        found["gives"] = _width_out(value, found, types, categories)
        found["keeps"] = found["keeps"] and found["gives"] == found["width"]
    return found


def _prints(value: Any, is_stage: bool) -> "Dict[str, Any]":
    """What tells whether the same step lies in two files, or inside the model as well."""
    from .pipeline import has, nested

    try:
        import joblib
    except ImportError:  # scikit-learn before 0.21 has its own
        return {}
    inner = [each for each in nested(value) if each is not value and has(each, "transform")]
    return {
        "print": joblib.hash(value) if is_stage else None,
        "inside": {type(each).__name__: joblib.hash(each) for each in inner[:MOST_PARTS]},
    }


def _first_is(value: Any, name: str) -> bool:
    from .pipeline import inputs
    from .shortcut_base import is_a

    return any(is_a(each, name) for each in inputs(value))


def is_fitted(value: Any) -> bool:
    """What scikit-learn's own check says; where it has none, whether anything was learnt."""
    try:
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(value)
    except NotFittedError:
        return False
    except Exception:
        return True  # before 0.22 it asks for names of attributes; other packages' classes raise as they like
    return True


def _width_out(value: Any, facts: "Dict[str, Any]", types: "Dict[str, str]", categories: "Dict[str, List[Any]]") -> Any:
    """How many columns `transform` gives: asked with one made-up row, else read from the names of its output."""
    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if facts["takes"] == "text":
                row = ["a text"]  # type: Any
            elif facts["names"]:
                import pandas

                made_up = {"string": "text", "boolean": False, "datetime": "2026-01-01"}
                values = {
                    name: [(categories.get(name) or [made_up.get(types.get(name, "number"), 0.0)])[0]]
                    for name in facts["names"]
                }
                row = pandas.DataFrame(values)
            else:
                keys = [str(index) for index in range(facts["width"] or 0)]
                row = np.array(
                    [[(categories.get(key) or [0.0])[0] for key in keys]], dtype=object if categories else float
                )
            return int(value.transform(row).shape[1])
        except Exception:
            try:
                return len(value.get_feature_names_out())
            except Exception:
                return None


def _is_estimator(value: Any) -> bool:
    return not isinstance(value, type) and (hasattr(value, "predict") or hasattr(value, "transform"))


def _names(value: Any) -> "Optional[List[str]]":
    """A list, tuple, Index or array of texts."""
    if isinstance(value, (str, bytes, dict)) or hasattr(value, "predict"):
        return None
    if not isinstance(value, (list, tuple, set)) and type(value).__name__ not in ("Index", "ndarray", "Series"):
        return None
    if getattr(value, "ndim", 1) != 1 or not len(value) or len(value) > MOST_VALUES or isinstance(value, set):
        return None
    listed = value.tolist() if hasattr(value, "tolist") else list(value)
    return [str(each) for each in listed] if all(isinstance(each, str) for each in listed) else None


def _encoders(value: Any) -> bool:
    """A dict that has an encoder of one column for each name."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and type(each).__name__ == "LabelEncoder" for key, each in value.items())
    )


def _mappings(value: Any) -> "Optional[Dict[str, Dict[str, Any]]]":
    """A dict of dicts from values to numbers, by column."""
    if not isinstance(value, dict) or not value or not all(isinstance(each, dict) and each for each in value.values()):
        return None
    plain = (str, bool, int, float)
    if not all(isinstance(column, str) for column in value) or not all(
        isinstance(key, str) and isinstance(number, plain) and not isinstance(number, str)
        for each in value.values()
        for key, number in each.items()
    ):
        return None
    return {column: dict(each) for column, each in value.items()}


def _classes(encoder: Any) -> "Optional[List[Any]]":
    return _plain(getattr(encoder, "classes_", None))


def _plain(values: Any) -> "Optional[List[Any]]":
    if values is None or getattr(values, "ndim", 1) != 1 or len(values) > MOST_VALUES:
        return None
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    return [each if isinstance(each, (str, bool, int, float)) or each is None else str(each) for each in listed]


def look(files: "List[Tuple[str, str]]", code: str, definitions: str = "") -> "List[Dict[str, Any]]":
    """The facts of all parts of `files` (name, path); of a file that cannot be loaded ``problem``, a sentence."""
    from . import loading

    for folder in (code, definitions):
        if folder:
            loading.add_code(folder)
    found = []  # type: List[Dict[str, Any]]
    for name, path in files:
        try:
            value, _ = loading.load_file(path)
        except loading.LoadFailed as error:
            found.append({"file": name, "key": None, "id": name, "roles": [], "problem": error.reason})
            continue
        try:
            found.extend(facts for facts, _ in parts_of(name, value))
        except Exception as error:
            reason = "it was loaded but cannot be described: {}: {}".format(type(error).__name__, error)
            found.append({"file": name, "key": None, "id": name, "roles": [], "problem": reason[:500]})
    return found


def main() -> None:
    """`parts.py`: reads ``{"files": [[name, path]], "code": folder, "rlimits": …}`` as a line, writes a line of JSON."""
    said = os.dup(1)
    os.dup2(2, 1)  # what a model prints while it is loaded is no answer
    order = json.loads(sys.stdin.readline())
    from . import process_setup, scoring

    process_setup.confine(order.get("rlimits") or {})
    scoring.quiet_warnings()
    answer = json.dumps(look(order["files"], order.get("code") or "", order.get("definitions") or ""))
    with os.fdopen(said, "w") as out:
        out.write(answer + "\n")
        out.flush()
    os._exit(0)  # threads of somebody's library need not end


if __name__ == "__main__":
    _spec = importlib.util.spec_from_file_location(
        "fitserve_child_start", os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")
    )
    assert _spec is not None
    assert _spec.loader is not None
    _child = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_child)
    _child.sibling("parts").main()
