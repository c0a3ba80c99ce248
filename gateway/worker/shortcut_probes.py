"""Probe rows for comparing shortcuts with the public methods (see shortcut_verify.py). Runs inside the model's own Python (3.6 and later)."""

from typing import TYPE_CHECKING, Any, List, Optional, Tuple

import numpy as np

from .shortcut_base import is_a

if TYPE_CHECKING:
    from .shortcut_base import Array

SIZES = (1, 2, 7, 33)  # rows of each


def probes(model: Any, width: int) -> "List[Array]":
    """Rows in the model's input region: half of the values are random, half are values at which the model decides."""
    random = np.random.RandomState(0)
    total = sum(SIZES)
    low, high, known = np.zeros(width), np.ones(width), None
    for part in [step for _, step in model.steps] if is_a(model, "Pipeline") else [model]:
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
    """Minimum and maximum of each column, and the values of each column at which the model decides."""
    vectors = getattr(part, "support_vectors_", None)
    if isinstance(vectors, np.ndarray) and vectors.ndim == 2 and len(vectors):
        return vectors.min(axis=0), vectors.max(axis=0), [vectors[:, at] for at in range(width)]
    rows = getattr(part, "_fit_X", None)
    if isinstance(rows, np.ndarray) and rows.ndim == 2 and len(rows) and rows.dtype.kind in "iuf":
        return rows.min(axis=0), rows.max(axis=0), [rows[:, at] for at in range(width)]
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
    listed = getattr(part, "estimators_", ())
    several = (listed.ravel() if isinstance(listed, np.ndarray) else listed)[:20]
    trees = [each.tree_ for each in ([part] if hasattr(part, "tree_") else several) if hasattr(each, "tree_")]
    if not trees:
        return None
    feature = np.concatenate([tree.feature for tree in trees])
    return feature[feature >= 0], np.concatenate([tree.threshold for tree in trees])[feature >= 0]
