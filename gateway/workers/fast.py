"""Shorter ways to a model's answers: the same bits as the public method, without its checks, wrappers and thread pools.

For a frame of few rows scikit-learn spends most of its time on looking at the input, once per estimator inside the model, and on
setting up parallel work. Here the arithmetic alone is done: `Scorer` takes a way only for float64 arrays of the right width whose
values are all finite, so that the checks would have passed, and only after `prove` saw it give the public method's bits on
probe rows. Whatever is unknown, of another version, or one bit different goes through the public method.

scikit-learn's own switch, `assume_finite`, is not used: a pipeline whose step makes a NaN, or a number too large for
float32, must end in the public method's error.

Runs inside the model's own Python (3.6 and later), beside child.py.
"""

import copy
import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Way = Callable[[Array], Any]


class NotHere(Exception):
    """A way raises this where only the public method knows what to do."""


SIZES = (1, 2, 7, 33)  # rows of the probes
PATIENCE_S = 0.25  # for proving all methods of a model; what is not proved by then is public
_MANY_NODES = 500 * 1000  # a larger forest is not packed: that costs memory inside the model's limit
_STEPS = 128  # rows times depth up to which packed trees beat one call for each tree
_MARGIN = 1.05  # a way that gains less is not worth its risk

_clock = getattr(time, "perf_counter", time.time)


class Fast(object):
    """One method's shorter way: `name` for people, `gain` as measured with one row (public time / own time)."""

    __slots__ = ("call", "gain", "name")

    def __init__(self, name: str, call: "Way", gain: float) -> None:
        self.name, self.call, self.gain = name, call, gain


def find(model: Any, methods: "Dict[str, Callable[[Any], Any]]") -> "Dict[str, Fast]":
    """Proved ways for those of the public `methods` (bound, by name) that have one. Takes at most about `PATIENCE_S`."""
    until = _clock() + PATIENCE_S
    found: "Dict[str, Fast]" = {}
    try:
        width, candidates = _candidates(model)
        if not candidates or width < 1:
            return found
        proof = Proof(_probes(model, width), until)
        for method, name, call in candidates:
            if method in methods and method not in found and _clock() < until:
                gain = proof.gain(method, methods[method], call)
                if gain is not None and gain >= _MARGIN:
                    found[method] = Fast(name, call, round(gain, 1))
    except Exception as error:  # an attribute that this version has not: no way is lost that was there
        sys.stderr.write("no shorter way to this model's answers: {}: {}\n".format(type(error).__name__, error))
    return found


class Proof(object):
    """Holds ways against the public methods on the same `probes`, until the time `until`."""

    def __init__(self, probes: "Sequence[Array]", until: float) -> None:
        self._probes, self._until = probes, until
        self._expected: "Dict[str, Tuple[List[Any], float]]" = {}

    def gain(self, method: str, public: "Way", call: "Way") -> "Optional[float]":
        """How many times quicker `call` is with one row; None unless all its answers have the public method's bits."""
        try:
            with np.errstate(all="ignore"):
                if method not in self._expected:
                    self._expected[method] = self._asked(public)
                expected, public_s = self._expected[method]
                if len(expected) < len(self._probes):
                    return None
                for X, answer in zip(self._probes, expected):
                    if not same(answer, call(X.copy())):
                        return None
                times = [_timed(call, self._probes[0])[1] for _ in range(3)]
        except Exception:  # also the public method's refusal of a probe: then nothing was proved
            return None
        return public_s / max(min(times), 1e-9)

    def _asked(self, public: "Way") -> "Tuple[List[Any], float]":
        """Its answers, fewer where they take too long; and the seconds for one row, not counting the first call's."""
        answers, seconds = [], float("inf")
        for X in self._probes:
            answer, took = _timed(public, X)
            answers.append(answer)
            if len(X) == 1 and _clock() + took < self._until:
                seconds = min(_timed(public, X)[1], took)
            if _clock() > self._until:
                break
        return answers, seconds


def _timed(call: "Way", X: "Array") -> "Tuple[Any, float]":
    X = X.copy()
    began = _clock()
    answer = call(X)
    return answer, _clock() - began


def same(a: Any, b: Any) -> bool:
    """Whether two answers have the same form, types and bits."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return bool((a == b).all()) if a.dtype.kind == "O" else a.tobytes() == b.tobytes()
    return False


# ---------------------------------------------------------------- which way for which model


def _candidates(model: Any) -> "Tuple[int, List[Tuple[str, str, Way]]]":
    """The number of columns, and (method, name of the way, way) that may be right, the best first for each method."""
    if _is(model, "Pipeline") and _own(type(model)):
        return _of_pipeline(model)
    if not _own(type(model)):
        return 0, []
    for kind, ways in _KINDS:
        if _is(model, kind):
            return _width(model), list(ways(model))
    return 0, []


def _of_pipeline(pipeline: Any) -> "Tuple[int, List[Tuple[str, str, Way]]]":
    steps = [step for _, step in pipeline.steps if step is not None and step != "passthrough"]
    scale = [_scaler(step) for step in steps[:-1]]
    if not scale or any(each is None for each in scale):
        return 0, []
    width, inner = _candidates(steps[-1])
    if not inner:
        # The steps without their checks, then the last one's public method.
        inner = [(name, "public", getattr(steps[-1], name)) for name in _LAST if hasattr(steps[-1], name)]
        width = _width(steps[0])

    def after(call: "Way") -> "Way":
        def way(X: "Array") -> Any:
            for each in scale:
                X = each(X)  # type: ignore[misc]
            if not finite(X):
                raise NotHere
            return call(X)

        return way

    return width, [(method, "scaler + " + name, after(call)) for method, name, call in inner]


_LAST = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform")


def finite(X: "Array") -> bool:
    return bool(np.isfinite(X).all())


def _scaler(step: Any) -> "Optional[Way]":
    """What `step` does to rows, where that is simple arithmetic; NaN and infinities stay what they are."""
    if not _own(type(step)):
        return None
    if _is(step, "StandardScaler"):
        return _shifted(step.mean_ if step.with_mean else None, step.scale_ if step.with_std else None)
    if _is(step, "RobustScaler"):
        return _shifted(step.center_ if step.with_centering else None, step.scale_ if step.with_scaling else None)
    if _is(step, "MaxAbsScaler") and not getattr(step, "clip", False):
        return _shifted(None, step.scale_)
    if _is(step, "MinMaxScaler") and not getattr(step, "clip", False):
        factor, offset = step.scale_, step.min_

        def stretched(X: "Array") -> Any:
            X = X * factor
            X += offset
            return X

        return stretched
    return None


def _shifted(center: "Optional[Array]", scale: "Optional[Array]") -> "Way":
    def way(X: "Array") -> Any:
        if center is None:
            return X if scale is None else X / scale
        X = X - center
        if scale is not None:
            X /= scale
        return X

    return way


# ---------------------------------------------------------------- linear models and support vectors


def _linear_classifier(model: Any) -> "Iterator[Tuple[str, str, Way]]":
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
            raise NotHere
        found /= total.reshape(-1, 1)
        return found

    yield "decision_function", "linear", scores
    yield "predict", "linear", predict
    if hasattr(model, "predict_proba"):
        from scipy.special import expit

        for way in (softmax, one_by_one) if len(classes) > 2 else (one_by_one, softmax):
            yield "predict_proba", "linear", way
            yield "predict_log_proba", "linear", lambda X, way=way: np.log(way(X))  # type: ignore[misc]


def _linear_regressor(model: Any) -> "Iterator[Tuple[str, str, Way]]":
    coef, intercept = model.coef_, model.intercept_
    if isinstance(coef, np.ndarray) and coef.ndim <= 2:
        turned = coef.T
        yield "predict", "linear", lambda X: X @ turned + intercept


def _support_vectors(model: Any) -> "Iterator[Tuple[str, str, Way]]":
    """libsvm itself, as the public methods call it."""
    if model._sparse or callable(model.kernel) or model.kernel == "precomputed":
        return
    libsvm = getattr(sys.modules.get("sklearn.svm._base"), "libsvm", None)
    raw: "Way" = model._dense_predict
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
    elif not _is(model, "OneClassSVM"):
        yield "predict", "libsvm", raw


def _signed(model: Any, distances: "Way") -> "Iterator[Way]":
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


# ---------------------------------------------------------------- trees


class Packed(object):
    """All trees in one set of arrays, walked side by side: for few rows, quicker than a call for each tree.

    Siblings are neighbours, so a step is `left + (x > threshold)`. Leaves lead to themselves.

    Args:
        trees: (feature, threshold, left, right) of each; a leaf is where left < 0.
    """

    def __init__(self, trees: "Sequence[Tuple[Array, Array, Array, Array]]") -> None:
        counts = [len(tree[0]) for tree in trees]
        starts = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.intp)
        total = int(sum(counts))
        self.feature = np.zeros(total, np.intp)
        self.threshold = np.full(total, np.inf)
        self.left = np.arange(total, dtype=np.intp)
        self.place = np.empty(total, np.intp)  # of each node in the order of the trees
        self.roots = starts.reshape(-1, 1).copy()
        self.depth = 0
        for start, count, (feature, threshold, left, right) in zip(starts, counts, trees):
            inner = np.flatnonzero(left >= 0)
            new = np.zeros(count, np.intp)
            new[left[inner]] = 1 + 2 * np.arange(len(inner))
            new[right[inner]] = 2 + 2 * np.arange(len(inner))
            at = start + new[inner]
            self.feature[at] = feature[inner]
            self.threshold[at] = threshold[inner]
            self.left[at] = start + new[left[inner]]
            self.place[start : start + count] = start + new
        nodes = self.roots.ravel()
        while True:  # level by level, to the deepest leaf
            nodes = nodes[self.left[nodes] != nodes]
            if not len(nodes):
                break
            self.depth += 1
            nodes = np.concatenate((self.left[nodes], self.left[nodes] + 1))

    def values(self, parts: "Sequence[Array]") -> "Array":
        """What each node holds, given in the order of the trees, in the order of the nodes here."""
        given = np.concatenate(list(parts))
        ordered = np.empty_like(given)
        ordered[self.place] = given
        return ordered

    def leaves(self, X: "Array") -> "Array":
        """The leaf of each tree (first axis) for each row of `X`."""
        flat, rows = X.ravel(), len(X)
        feature, threshold, left = self.feature, self.threshold, self.left
        if rows == 1:
            at, node = None, self.roots
        else:
            at = np.arange(0, flat.size, X.shape[1])
            node = np.repeat(self.roots, rows, axis=1)
        for _ in range(self.depth):
            column = feature.take(node)
            if at is not None:
                column += at
            node = left.take(node) + (flat.take(column) > threshold.take(node))
        return node


def summed(values: "Array") -> Any:
    """The sum over the first axis, strictly in its order, as one addition after the other gives it."""
    if values[0].size > 1:
        return np.add.reduce(values, axis=0)
    return np.add.accumulate(values, axis=0)[-1]


def _forest(model: Any) -> "Iterator[Tuple[str, str, Way]]":
    """The trees without 100 set-ups of parallel work; few rows through all trees at once."""
    if model.n_outputs_ != 1:
        return
    trees = [each.tree_ for each in model.estimators_]
    count, classifies = len(trees), hasattr(model, "classes_")
    values = [tree.value[:, 0, :] for tree in trees]
    outputs = values[0].shape[1]
    method = "predict_proba" if classifies else "predict"
    # Before scikit-learn 1.3 leaves held counts.
    for held in (values, [_shares(each) for each in values]) if classifies else (values,):
        packed = table = None
        if sum(tree.node_count for tree in trees) <= _MANY_NODES:
            packed = Packed([(t.feature, t.threshold, t.children_left, t.children_right) for t in trees])
            table = packed.values(held)
        by_tree = None if held is not values else [tree.predict for tree in trees]

        def way(X: "Array", packed: Any = packed, table: Any = table, by_tree: Any = by_tree) -> Any:
            Z = _narrow(X)
            if packed is not None and (len(Z) * packed.depth <= _STEPS or by_tree is None):
                leaves = packed.leaves(Z)
                begun = np.empty((count + 1, len(Z), table.shape[1]))
                begun[0] = 0.0
                table.take(leaves, axis=0, out=begun[1:], mode="clip")
                total = summed(begun)
            elif by_tree is not None:
                total = np.zeros((len(Z), outputs))
                for predict in by_tree:
                    total += predict(Z)
            else:
                raise NotHere
            total /= count
            return total

        yield from _with(model, method, way if classifies else (lambda X, way=way: way(X)[:, 0]), "trees")  # type: ignore[misc]


def _narrow(X: "Array") -> Any:
    """As trees want it. Raises NotHere where float32 cannot hold a value."""
    with np.errstate(over="ignore"):
        Z = X.astype(np.float32)
    if not finite(Z):
        raise NotHere
    return Z


def _shares(counts: "Array") -> Any:
    total = counts.sum(axis=1)[:, np.newaxis]
    total[total == 0.0] = 1.0
    return counts / total


def _tree(model: Any) -> "Iterator[Tuple[str, str, Way]]":
    if model.n_outputs_ != 1:
        return
    tree = model.tree_

    def values(X: "Array") -> Any:
        Z = _narrow(X)
        return tree.predict(Z)

    if not hasattr(model, "classes_"):
        yield "predict", "tree", lambda X: values(X)[:, 0]
        return
    classes = model.classes_
    yield "predict", "tree", lambda X: classes.take(values(X).argmax(axis=1), axis=0)
    for shares in (values, lambda X: _shares(values(X))):
        yield "predict_proba", "tree", shares
        yield "predict_log_proba", "tree", lambda X, shares=shares: np.log(shares(X))  # type: ignore[misc]


def _boosting(model: Any) -> "Iterator[Tuple[str, str, Way]]":
    """HistGradientBoosting: all its trees at once; the rest is its own code, with this in place of its loop."""
    rounds = model._predictors
    nodes = [tree.nodes for each in rounds for tree in each]
    if getattr(model, "_preprocessor", None) is not None or "num_threshold" not in nodes[0].dtype.names:
        return
    if any(each["is_categorical"].any() for each in nodes) or sum(map(len, nodes)) > _MANY_NODES:
        return
    packed = Packed([_hist_tree(each) for each in nodes])
    table = packed.values([each["value"] for each in nodes])
    base = np.asarray(model._baseline_prediction, float).reshape(-1)
    per_round, public = len(rounds[0]), model._raw_predict

    def raw(X: "Array") -> Any:
        if len(X) * packed.depth > 4 * _STEPS:
            return public(X)
        begun = np.empty((len(rounds) + 1, per_round * len(X)))
        begun[0] = np.repeat(base, len(X))
        table.take(packed.leaves(X), out=begun[1:].reshape(-1, len(X)), mode="clip")
        return summed(begun).reshape(per_round, len(X)).T  # in Fortran's order, as the public one: sums depend on it

    yield from _with(model, "_raw_predict", raw, "boosted trees")


def _hist_tree(nodes: "Array") -> "Tuple[Array, Array, Array, Array]":
    left, right = nodes["left"].astype(np.intp), nodes["right"].astype(np.intp)
    left[nodes["is_leaf"] != 0] = -1
    return nodes["feature_idx"].astype(np.intp), nodes["num_threshold"], left, right


def _with(model: Any, method: str, way: "Way", name: str) -> "Iterator[Tuple[str, str, Way]]":
    """`way` for `method`, and the model's other methods on a copy of it that has `way` in that method's place."""
    other = copy.copy(model)
    setattr(other, method, way)
    for each in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        if hasattr(model, each):
            yield each, name, getattr(other, each)


#: Bases and classes of scikit-learn, by name; the first that fits counts.
_KINDS: "Tuple[Tuple[str, Callable[[Any], Iterator[Tuple[str, str, Way]]]], ...]" = (
    ("BaseLibSVM", _support_vectors),
    ("BaseForest", _forest),
    ("DecisionTreeClassifier", _tree),
    ("DecisionTreeRegressor", _tree),
    ("BaseHistGradientBoosting", _boosting),
    ("LinearClassifierMixin", _linear_classifier),
    ("LinearModel", _linear_regressor),
)


# ---------------------------------------------------------------- probes


def _probes(model: Any, width: int) -> "List[Array]":
    """Rows in the regions that the model knows: half of them at random, half out of values that it decides by."""
    random = np.random.RandomState(0)
    total = sum(SIZES)
    low, high, known = np.zeros(width), np.ones(width), None
    for part in [step for _, step in model.steps] if _is(model, "Pipeline") else [model]:
        found = _region(part, width)
        if found is not None:
            low, high, known = found
            break
    spread = np.where(high > low, high - low, 1.0)
    rows = low + spread * random.uniform(-0.3, 1.3, (total, width))
    if known is not None:
        pick = random.uniform(size=(total, width)) < 0.5
        chosen = [random.choice(each, total) if len(each) else rows[:, at] for at, each in enumerate(known)]
        rows = np.where(pick, np.column_stack(chosen), rows)
    rows[-1] = 0.0
    ends = np.cumsum(SIZES)
    return [np.ascontiguousarray(rows[end - size : end]) for size, end in zip(SIZES, ends)]


def _region(part: Any, width: int) -> "Optional[Tuple[Array, Array, Optional[List[Array]]]]":
    """Lowest and highest of each column, and values of each column where the model turns."""
    vectors = getattr(part, "support_vectors_", None)
    if isinstance(vectors, np.ndarray) and vectors.ndim == 2 and len(vectors):
        return vectors.min(axis=0), vectors.max(axis=0), [vectors[:, at] for at in range(width)]
    if isinstance(getattr(part, "mean_", None), np.ndarray) and isinstance(getattr(part, "scale_", None), np.ndarray):
        return part.mean_ - 2 * part.scale_, part.mean_ + 2 * part.scale_, None
    turns = _turns(part)
    if turns is None:
        return None
    known = [turns[1][turns[0] == at] for at in range(width)]
    low = np.array([each.min() if len(each) else 0.0 for each in known])
    return low, np.array([each.max() if len(each) else 1.0 for each in known]), known


def _turns(part: Any) -> "Optional[Tuple[Array, Array]]":
    """Columns and finite thresholds of some trees in `part`."""
    if hasattr(part, "_predictors"):
        nodes = np.concatenate([tree.nodes for each in part._predictors[:20] for tree in each])
        inner = (nodes["is_leaf"] == 0) & np.isfinite(nodes["num_threshold"])
        return nodes["feature_idx"][inner], nodes["num_threshold"][inner]
    trees = [part.tree_] if hasattr(part, "tree_") else [each.tree_ for each in getattr(part, "estimators_", ())[:20]]
    if not trees:
        return None
    feature = np.concatenate([tree.feature for tree in trees])
    return feature[feature >= 0], np.concatenate([tree.threshold for tree in trees])[feature >= 0]


# ---------------------------------------------------------------- small words


def _width(model: Any) -> int:
    for name in ("n_features_in_", "n_features_", "_n_features"):
        if isinstance(getattr(model, name, None), (int, np.integer)):
            return int(getattr(model, name))
    shape = getattr(model, "shape_fit_", None) or np.shape(getattr(model, "coef_", ()))
    return int(shape[-1]) if shape else 0


def _own(kind: type) -> bool:
    """scikit-learn's very class: one derived from it may do anything."""
    return kind.__module__.startswith("sklearn.")


def _is(item: Any, name: str) -> bool:
    return any(base.__name__ == name and base.__module__.startswith("sklearn.") for base in type(item).__mro__)
