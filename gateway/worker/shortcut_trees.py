"""Shortcuts for trees and forests (see shortcut.py). Runs inside the model's own Python (3.6 and later), beside child.py."""

import sys
from typing import TYPE_CHECKING, Any, Iterator, Sequence, Tuple

import numpy as np

from .shortcut_base import Unsupported, is_a, narrow, with_method

if TYPE_CHECKING:
    from .shortcut_base import Array, FastCall

MANY_NODES = 500 * 1000  # a larger forest is not packed: that costs memory inside the model's limit
_STEPS = 128  # rows times depth up to which packed trees beat one call for each tree


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


def forest(model: Any) -> "Iterator[Tuple[str, str, FastCall]]":
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
        if sum(tree.node_count for tree in trees) <= MANY_NODES:
            packed = Packed([(t.feature, t.threshold, t.children_left, t.children_right) for t in trees])
            table = packed.values(held)
        by_tree = None if held is not values else [tree.predict for tree in trees]

        def fast(X: "Array", packed: Any = packed, table: Any = table, by_tree: Any = by_tree) -> Any:
            Z = narrow(X)
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
                raise Unsupported
            total /= count
            return total

        yield from with_method(model, method, fast if classifies else (lambda X, fast=fast: fast(X)[:, 0]), "trees")


def _shares(counts: "Array") -> Any:
    total = counts.sum(axis=1)[:, np.newaxis]
    total[total == 0.0] = 1.0
    return counts / total


def tree(model: Any) -> "Iterator[Tuple[str, str, FastCall]]":
    if model.n_outputs_ != 1:
        return
    tree = model.tree_

    def values(X: "Array") -> Any:
        Z = narrow(X)
        return tree.predict(Z)

    if not hasattr(model, "classes_"):
        yield "predict", "tree", lambda X: values(X)[:, 0]
        return
    classes = model.classes_
    yield "predict", "tree", lambda X: classes.take(values(X).argmax(axis=1), axis=0)
    for shares in (values, lambda X: _shares(values(X))):
        yield "predict_proba", "tree", shares
        yield "predict_log_proba", "tree", lambda X, shares=shares: np.log(shares(X))  # type: ignore[misc]


def boosting(model: Any) -> "Iterator[Tuple[str, str, FastCall]]":
    """HistGradientBoosting: all its trees at once; the rest is its own code, with this in place of its loop."""
    rounds = model._predictors
    nodes = [tree.nodes for each in rounds for tree in each]
    if getattr(model, "_preprocessor", None) is not None or "num_threshold" not in nodes[0].dtype.names:
        return
    if any(each["is_categorical"].any() for each in nodes) or sum(map(len, nodes)) > MANY_NODES:
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

    yield from with_method(model, "_raw_predict", raw, "boosted trees")


def _hist_tree(nodes: "Array") -> "Tuple[Array, Array, Array, Array]":
    left, right = nodes["left"].astype(np.intp), nodes["right"].astype(np.intp)
    left[nodes["is_leaf"] != 0] = -1
    return nodes["feature_idx"].astype(np.intp), nodes["num_threshold"], left, right


def gradient_boosting(model: Any) -> "Iterator[Tuple[str, str, FastCall]]":
    """All trees at once; each adds its share to what the constant first guess gives."""
    trees = [each.tree_ for each in model.estimators_.ravel()]
    rounds, per_round = model.estimators_.shape
    start = model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))
    constant = (
        isinstance(model.init_, str) or is_a(model.init_, "DummyClassifier") or is_a(model.init_, "DummyRegressor")
    )
    if not constant or sum(tree.node_count for tree in trees) > MANY_NODES:
        return
    packed = Packed([(t.feature, t.threshold, t.children_left, t.children_right) for t in trees])
    table = packed.values([model.learning_rate * tree.value[:, 0, 0] for tree in trees])
    several, public = _by_loss(model), model._raw_predict

    def raw(X: "Array") -> Any:
        Z = narrow(X)
        rows = len(Z)
        if rows * packed.depth > 4 * _STEPS:
            return public(Z)
        begun = np.empty((rounds + 1, per_round * rows))
        begun[0] = np.repeat(start.reshape(-1), rows)
        table.take(packed.leaves(Z), out=begun[1:].reshape(-1, rows), mode="clip")
        return np.ascontiguousarray(summed(begun).reshape(per_round, rows).T)

    if not hasattr(model, "classes_"):
        yield "predict", "boosted trees", lambda X: raw(X).ravel()
        return
    classes = model.classes_

    def scores(X: "Array") -> Any:
        found = raw(X)
        return found.ravel() if found.shape[1] == 1 else found

    def predict(X: "Array") -> Any:
        found = scores(X)
        return classes[(found >= 0).astype(int) if found.ndim == 1 else found.argmax(axis=1)]

    yield "decision_function", "boosted trees", scores
    yield "predict", "boosted trees", predict
    if several is not None:
        yield "predict_proba", "boosted trees", lambda X: several(scores(X))
        yield "predict_log_proba", "boosted trees", lambda X: np.log(several(scores(X)))


def _by_loss(model: Any) -> Any:
    """What makes probabilities of scores; its name has changed."""
    loss = getattr(model, "_loss", None)
    return getattr(loss, "predict_proba", None) or getattr(loss, "_raw_prediction_to_proba", None)


def isolation_forest(model: Any) -> "Iterator[Tuple[str, str, FastCall]]":
    """How deep each row comes to lie, all trees at once."""
    average = getattr(sys.modules.get("sklearn.ensemble._iforest"), "_average_path_length", None)
    trees = [each.tree_ for each in model.estimators_]
    if average is None or model._max_features != model.n_features_in_:
        return
    if sum(tree.node_count for tree in trees) > MANY_NODES:
        return
    packed = Packed([(t.feature, t.threshold, t.children_left, t.children_right) for t in trees])
    depths = zip(model._decision_path_lengths, model._average_path_length_per_tree)
    table = packed.values([path + rest - 1.0 for path, rest in depths])
    whole = len(trees) * average([model._max_samples])

    def scores(X: "Array") -> Any:
        Z = narrow(X)
        begun = np.empty((len(trees) + 1, len(Z)))
        begun[0] = 0.0
        table.take(packed.leaves(Z), out=begun[1:], mode="clip")
        return -(2 ** (-(summed(begun) / whole)))

    yield "score_samples", "trees", scores
    yield "decision_function", "trees", lambda X: scores(X) - model.offset_
    yield "predict", "trees", lambda X: np.where(scores(X) - model.offset_ < 0, -1, 1)
