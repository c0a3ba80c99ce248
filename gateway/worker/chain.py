"""A model that comes in several files: the objects in them put together as its version's plan says.

Runs inside the model's own Python (3.6 and later), beside child.py, with scikit-learn and, where columns have names, pandas. The plan is
`registry.composition.plan.Plan` as JSON. Where it is only steps and a model the result is scikit-learn's own Pipeline.
"""

import importlib
import os
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline

from . import loading

_ASKED_OF_MODEL = (
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "score_samples",
    "kneighbors",
    "apply",
    "decision_path",
    "transform",
)


def load_chain(path: str, digest: str, plan: "Dict[str, Any]", code: str = "") -> "Tuple[Any, List[Any]]":
    """The chain that `plan` makes of the files in the folder `path`, and the warnings that loading them gave.

    Args:
        digest: SHA-256 of the folder's manifest.
        code: folder with modules that travel with the version.

    Raises:
        LoadFailed: with a sentence.
    """
    if code:
        loading.add_code(code)
    loading.verify(path, digest, "folder")
    parts, caught = _parts(path, plan)
    steps = [_step(step, parts) for step in plan["steps"]]
    model = parts[plan["model"]]
    if plan.get("names"):
        _name_columns(steps, model, plan["names"])
    if steps:
        names = ["{}_{}".format(index, step["do"]) for index, step in enumerate(plan["steps"])]
        model = Pipeline(list(zip(names, steps)) + [("model", model)])
    if plan["after"]:
        model = Outcome(model, plan["after"], parts)
    return model, caught


def _parts(path: str, plan: "Dict[str, Any]") -> "Tuple[Dict[str, Any], List[Any]]":
    files = {}  # type: Dict[str, Any]
    caught = []  # type: List[Any]
    for file, _ in plan["parts"].values():
        if file not in files:
            files[file], warned = loading.load_file(os.path.join(path, file))
            caught.extend(warned)
    found = {}
    for name, (file, key) in plan["parts"].items():
        found[name] = files[file] if key is None else files[file][key]
    return found, caught


def _step(step: "Dict[str, Any]", parts: "Dict[str, Any]") -> Any:
    do, part, columns, values = step["do"], parts.get(step["part"]), step["columns"], step["values"]
    if do == "stage":
        return part
    if do == "in_place":
        return InPlace(part, columns)
    if do == "encode":
        encoders = part if isinstance(part, dict) else {columns[0]: part}
        return Encode({column: encoders[column] for column in columns})
    if do == "map":
        maps = values if part is None else part
        return Map({column: maps[column] for column in columns})
    if do == "dummies":
        return Dummies(columns, values)
    if do == "before":
        return Before(_function(values))
    raise loading.LoadFailed("load", "this fitserve does not know the step {!r} of the model's plan".format(do))


def _function(place: str) -> Any:
    """A function by ``module:name``, of a package or of the code that travels with the version."""
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise loading.LoadFailed("load", "the function {} cannot be loaded: {}".format(place, error)) from error


def _name_columns(steps: "List[Any]", model: Any, names: "List[str]") -> None:
    """Callers give columns by these names; an object fitted without names would not say so by itself."""
    first = steps[0] if steps else model
    if isinstance(first, Step):
        first.feature_names_in_ = np.array(names, dtype=object)
        first.n_features_in_ = len(names)
    elif getattr(first, "feature_names_in_", None) is None:
        try:
            first.feature_names_in_ = np.array(names, dtype=object)
        except AttributeError:  # some packages make it read-only; positions do as well
            return


class Step(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """A step of ours: nothing to learn, and it says what it knows of columns in ``column_facts_``."""

    column_facts_ = {}  # type: Dict[str, Dict[str, Any]]

    def fit(self, X: Any, y: Any = None) -> "Step":  # noqa: ARG002 - scikit-learn's signature
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True


class KeepsColumns(Step):
    """A step that changes some columns where they stand."""


class InPlace(KeepsColumns):
    """`transformer` on some columns, the others left alone."""

    def __init__(self, transformer: Any, columns: "List[str]") -> None:
        self.transformer, self.columns = transformer, columns

    def transform(self, X: Any) -> Any:
        X = X.copy()
        given = X[self.columns]
        if getattr(self.transformer, "feature_names_in_", None) is None:
            given = given.to_numpy()
        changed = self.transformer.transform(given)
        if hasattr(changed, "toarray"):
            changed = changed.toarray()
        X[self.columns] = np.asarray(changed)
        return X


class Encode(KeepsColumns):
    """The values of some columns as numbers, each by the LabelEncoder that was fitted on it."""

    def __init__(self, encoders: "Dict[str, Any]") -> None:
        self.encoders = encoders
        self.column_facts_ = {
            column: dict(_facts(encoder.classes_.tolist()), closed=True) for column, encoder in encoders.items()
        }

    def transform(self, X: Any) -> Any:
        X = X.copy()
        for column, encoder in self.encoders.items():
            X[column] = encoder.transform(X[column])
        return X


class Map(KeepsColumns):
    """The values of some columns as numbers, by a table."""

    def __init__(self, maps: "Dict[str, Dict[str, float]]") -> None:
        self.maps = maps
        self.column_facts_ = {column: dict(_facts(list(table)), closed=True) for column, table in maps.items()}

    def transform(self, X: Any) -> Any:
        X = X.copy()
        for column, table in self.maps.items():
            unknown = [value for value in X[column] if value not in table]
            if unknown:
                known = ", ".join(str(value) for value in list(table)[:20])
                raise ValueError("column {!r}: {!r} is not one of {}".format(column, unknown[0], known))
            X[column] = [table[value] for value in X[column]]
        return X


class Dummies(Step):
    """What `pandas.get_dummies` makes of some columns, put in the order of the columns that the model was fitted with. A column that
    the rows at hand do not give is 0, also where a value was never seen."""

    def __init__(self, columns: "List[str]", names: "List[str]") -> None:
        self.columns, self.names = columns, names
        self.places = {column: self._places(column) for column in columns}
        self.column_facts_ = {column: dict(_facts(list(self.places[column])), closed=False) for column in columns}

    def _places(self, column: str) -> "Dict[Any, int]":
        """Where each value of `column` stands; pandas wrote the values as text."""
        found = [(name[len(column) + 1 :], at) for at, name in enumerate(self.names) if name.startswith(column + "_")]
        for read in (_truth, int, float):
            try:
                return {read(value): at for value, at in found}
            except (KeyError, ValueError):
                continue
        return dict(found)

    def transform(self, X: Any) -> Any:
        made = np.zeros((len(X), len(self.names)))
        place = {name: index for index, name in enumerate(self.names)}
        for column in X.columns:
            if column in self.places:
                for row, value in enumerate(X[column]):
                    index = self.places[column].get(value)
                    if index is not None:
                        made[row, index] = 1.0
            elif column in place:
                made[:, place[column]] = np.asarray(X[column], dtype=float)
        return made


class Before(Step):
    """A function of the owner's: of each text, or of the whole frame."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def build_analyzer(self) -> Any:
        """What vectorizers have: it says that rows are texts."""
        return self.function

    def transform(self, X: Any) -> Any:
        return [self.function(text) for text in X]


class Outcome(BaseEstimator):  # type: ignore[misc]
    """A model whose `predict` is changed afterwards: numbers of classes into labels, a scaled target scaled back."""

    def __init__(self, model: Any, after: "List[Dict[str, Any]]", parts: "Dict[str, Any]") -> None:
        self.best_estimator_ = model  # the name by which the estimator inside is looked for
        self.after = [(step["do"], _of(parts.get(step["part"]), step["values"]), step["values"]) for step in after]
        labels = self._labels()
        if labels is not None:
            self.classes_ = labels
        elif getattr(model, "classes_", None) is not None:
            self.classes_ = model.classes_
        if getattr(model, "_estimator_type", None) is not None:
            self._estimator_type = model._estimator_type

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        return self.best_estimator_.__sklearn_tags__()

    def __getattr__(self, name: str) -> Any:
        if name in _ASKED_OF_MODEL:
            return getattr(self.best_estimator_, name)
        raise AttributeError(name)

    def _labels(self) -> "Optional[Any]":
        for do, part, values in self.after:
            if do == "labels":
                return part.classes_ if part is not None else np.array(values, dtype=object)
        return None

    def predict(self, X: Any) -> Any:
        rest = self.after
        if rest and rest[0][0] == "threshold":
            model = self.best_estimator_
            chosen = (model.predict_proba(X)[:, 1] >= rest[0][2]).astype(int)
            answer, rest = np.asarray(model.classes_)[chosen], rest[1:]
        else:
            answer = self.best_estimator_.predict(X)
        for do, part, values in rest:
            if do == "labels" and part is None:
                order = {each: index for index, each in enumerate(np.asarray(self.best_estimator_.classes_).tolist())}
                answer = np.array(values, dtype=object)[[order[each] for each in answer.tolist()]]
            elif do == "labels":
                answer = part.inverse_transform(answer)
            elif do == "inverse":
                answer = part.inverse_transform(np.asarray(answer).reshape(-1, 1)).ravel()
            elif do == "function":
                answer = _function(values)(answer)
        return answer


def _of(part: Any, values: Any) -> Any:
    """One encoder out of a dict of them, where the step names it."""
    return part[values["key"]] if isinstance(part, dict) and isinstance(values, dict) else part


def _truth(text: str) -> bool:
    return {"True": True, "False": False}[text]


def _facts(values: "List[Any]") -> "Dict[str, Any]":
    kinds = {type(value) for value in values}
    kind = "boolean" if kinds == {bool} else "number" if kinds and kinds <= {int, float} else "string"
    return {"type": kind, "categories": values}
