"""Shortcuts: the same bits as a public method, without its checks, wrappers and thread pools.

For a few rows, scikit-learn spends most of its time on checking the input, once per estimator inside the model, and on setting up
parallel work. A shortcut does the arithmetic alone. `Scorer` uses it only for float64 arrays of the right width whose values are all
finite, for which the checks would pass, and only after `shortcut_verify.py` saw it give the public method's bits. Unknown models,
other versions and any difference in a bit go through the public method.

scikit-learn's own switch, `assume_finite`, is not used: a pipeline whose step makes a NaN, or a number too large for
float32, must end in the public method's error.

Runs inside the model's own Python (3.6 and later), beside child.py.
"""

import sys
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, Optional, Tuple

import numpy as np

from . import shortcut_trees
from .shortcut_base import Unsupported, finite, is_a, own, with_method

if TYPE_CHECKING:
    from .shortcut_base import Array, FastCall


def candidates(model: Any) -> "Tuple[int, List[Tuple[str, str, FastCall]]]":
    """The number of columns, and the candidates (method, display name, shortcut), the best first for each method."""
    if is_a(model, "Pipeline") and own(type(model)):
        return _of_pipeline(model)
    if not own(type(model)):
        return 0, []
    for kind, make in _KINDS:
        if is_a(model, kind):
            return width_of(model), list(make(model))
    return 0, []


def _of_pipeline(pipeline: Any) -> "Tuple[int, List[Tuple[str, str, FastCall]]]":
    steps = [step for _, step in pipeline.steps if step is not None and step != "passthrough"]
    scale = [_scaler(step) for step in steps[:-1]]
    if not scale or any(each is None for each in scale):
        return 0, []
    width, inner = candidates(steps[-1])
    if not inner:
        # The steps without their checks, then the last one's public method.
        inner = [(name, "public", getattr(steps[-1], name)) for name in _LAST if hasattr(steps[-1], name)]
        width = width_of(steps[0])

    def after(call: "FastCall") -> "FastCall":
        def fast(X: "Array") -> Any:
            for each in scale:
                X = each(X)  # type: ignore[misc]
            if not finite(X):
                raise Unsupported
            return call(X)

        return fast

    return width, [(method, "scaler + " + name, after(call)) for method, name, call in inner]


_LAST = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform")


def _scaler(step: Any) -> "Optional[FastCall]":
    """The arithmetic of `step` on rows, if it is simple; NaN and infinities pass through."""
    if not own(type(step)):
        return None
    if is_a(step, "StandardScaler"):
        return _shifted(step.mean_ if step.with_mean else None, step.scale_ if step.with_std else None)
    if is_a(step, "RobustScaler"):
        return _shifted(step.center_ if step.with_centering else None, step.scale_ if step.with_scaling else None)
    if is_a(step, "MaxAbsScaler") and not getattr(step, "clip", False):
        return _shifted(None, step.scale_)
    if is_a(step, "MinMaxScaler") and not getattr(step, "clip", False):
        factor, offset = step.scale_, step.min_

        def stretched(X: "Array") -> Any:
            X = X * factor
            X += offset
            return X

        return stretched
    return None


def _shifted(center: "Optional[Array]", scale: "Optional[Array]") -> "FastCall":
    def fast(X: "Array") -> Any:
        if center is None:
            return X if scale is None else X / scale
        X = X - center
        if scale is not None:
            X /= scale
        return X

    return fast


# ---------------------------------------------------------------- linear models and support vectors


def _linear_classifier(model: Any) -> "Iterator[Tuple[str, str, FastCall]]":
    coef, intercept, classes = model.coef_, model.intercept_, model.classes_
    coef_t = coef.T
    if not isinstance(coef, np.ndarray) or coef.ndim != 2:
        return

    def scores(X: "Array") -> Any:
        found = X @ coef_t + intercept
        return found.ravel() if found.shape[1] == 1 else found

    def predict(X: "Array") -> Any:
        found = scores(X)
        return classes.take((found > 0).astype(int) if found.ndim == 1 else found.argmax(axis=1), axis=0)

    def softmax(X: "Array") -> Any:
        found = scores(X)
        if found.ndim == 1:  # asked for as multinomial with two classes
            found = np.c_[-found, found]
        found -= found.max(axis=1).reshape(-1, 1)
        np.exp(found, out=found)
        found /= found.sum(axis=1).reshape(-1, 1)
        return found

    def one_by_one(X: "Array") -> Any:
        found = scores(X)
        expit(found, out=found)
        if found.ndim == 1:
            both = np.empty((len(found), 2))
            np.subtract(1, found, out=both[:, 0])
            both[:, 1] = found
            return both
        total = found.sum(axis=1)
        if not total.all():
            raise Unsupported
        found /= total.reshape(-1, 1)
        return found

    yield "decision_function", "linear", scores
    yield "predict", "linear", predict
    if hasattr(model, "predict_proba"):
        from scipy.special import expit

        for fast in (softmax, one_by_one) if len(classes) > 2 else (one_by_one, softmax):
            yield "predict_proba", "linear", fast
            yield "predict_log_proba", "linear", lambda X, fast=fast: np.log(fast(X))  # type: ignore[misc]


def _linear_regressor(model: Any) -> "Iterator[Tuple[str, str, FastCall]]":
    coef, intercept = model.coef_, model.intercept_
    if isinstance(coef, np.ndarray) and coef.ndim <= 2:
        turned = coef.T
        yield "predict", "linear", lambda X: X @ turned + intercept


def _support_vectors(model: Any) -> "Iterator[Tuple[str, str, FastCall]]":
    """libsvm itself, as the public methods call it."""
    if model._sparse or callable(model.kernel) or model.kernel == "precomputed":
        return
    libsvm = getattr(sys.modules.get("sklearn.svm._base"), "libsvm", None)
    raw: "FastCall" = model._dense_predict
    if libsvm is not None and hasattr(model, "_n_support") and hasattr(model, "_probA"):
        known = (
            model.support_, model.support_vectors_, model._n_support, model._dual_coef_, model._intercept_,
            model._probA, model._probB,
        )  # fmt: skip
        kind = ("c_svc", "nu_svc", "one_class", "epsilon_svr", "nu_svr").index(model._impl)
        options = {"svm_type": kind, "kernel": model.kernel, "degree": model.degree, "coef0": model.coef0}
        options.update(gamma=model._gamma, cache_size=model.cache_size)

        def raw(X: "Array") -> Any:
            return libsvm.predict(X, *known, **options)

        def distances(X: "Array") -> Any:
            return libsvm.decision_function(X, *known, **options)

        yield from [("decision_function", "libsvm", each) for each in _signed(model, distances)]
    if hasattr(model, "classes_"):
        classes = model.classes_
        yield "predict", "libsvm", lambda X: classes.take(raw(X).astype(np.intp))
        if hasattr(model, "predict_proba"):
            yield "predict_proba", "libsvm", lambda X: model._dense_predict_proba(X)
            yield "predict_log_proba", "libsvm", lambda X: np.log(model._dense_predict_proba(X))
    elif not is_a(model, "OneClassSVM"):
        yield "predict", "libsvm", raw


def _signed(model: Any, distances: "FastCall") -> "Iterator[FastCall]":
    """`distances` in the form in which the public method gives them."""
    count = len(getattr(model, "classes_", ()))
    whole = getattr(sys.modules.get("sklearn.svm._base"), "_ovr_decision_function", None)
    if count == 2:
        yield lambda X: -distances(X).ravel()
    elif count and model.decision_function_shape == "ovr" and whole is not None:

        def one_against_all(X: "Array") -> Any:
            found = distances(X)
            return whole(found < 0, -found, count)

        yield one_against_all
    yield distances
    yield lambda X: distances(X).ravel()


# ---------------------------------------------------------------- others: their own code without the checks


def _neighbours(model: Any) -> "Iterator[Tuple[str, str, FastCall]]":
    """The tree of the rows that it was fitted with, asked directly."""
    if model._fit_method not in ("kd_tree", "ball_tree"):
        return
    query = model._tree.query

    def kneighbors(X: "Array", n_neighbors: "Optional[int]" = None, return_distance: bool = True) -> Any:
        return query(X, n_neighbors or model.n_neighbors, return_distance)

    yield "kneighbors", "neighbours", kneighbors
    yield from with_method(model, "kneighbors", kneighbors, "neighbours")


def _naive_bayes(model: Any) -> "Iterator[Tuple[str, str, FastCall]]":
    return with_method(model, "_check_X", lambda X: X, "naive Bayes")


def _layers(model: Any) -> "Iterator[Tuple[str, str, FastCall]]":
    forward = model._forward_pass_fast
    return with_method(model, "_forward_pass_fast", lambda X, **_: forward(X, check_input=False), "layers")


#: Bases and classes of scikit-learn, by name; the first that fits counts.
_KINDS: "Tuple[Tuple[str, Callable[[Any], Iterator[Tuple[str, str, FastCall]]]], ...]" = (
    ("BaseLibSVM", _support_vectors),
    ("BaseForest", shortcut_trees.forest),
    ("DecisionTreeClassifier", shortcut_trees.tree),
    ("DecisionTreeRegressor", shortcut_trees.tree),
    ("BaseHistGradientBoosting", shortcut_trees.boosting),
    ("BaseGradientBoosting", shortcut_trees.gradient_boosting),
    ("IsolationForest", shortcut_trees.isolation_forest),
    ("KNeighborsClassifier", _neighbours),
    ("KNeighborsRegressor", _neighbours),
    ("_BaseNB", _naive_bayes),
    ("BaseMultilayerPerceptron", _layers),
    ("LinearClassifierMixin", _linear_classifier),
    ("LinearModel", _linear_regressor),
)


def width_of(model: Any) -> int:
    for name in ("n_features_in_", "n_features_", "_n_features"):
        if isinstance(getattr(model, name, None), (int, np.integer)):
            return int(getattr(model, name))
    shape = getattr(model, "shape_fit_", None) or np.shape(getattr(model, "coef_", ()))
    return int(shape[-1]) if shape else 0
