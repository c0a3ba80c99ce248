"""Helpers shared by the shortcuts (see shortcut.py). Runs inside the model's own Python (3.6 and later), beside child.py."""

import copy
from typing import TYPE_CHECKING, Any, Callable, Iterator, Tuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    FastCall = Callable[[Array], Any]


class Unsupported(Exception):
    """Raised by a shortcut for input that it cannot handle; the public method answers instead."""


def finite(X: "Array") -> bool:
    return bool(np.isfinite(X).all())


def narrow(X: "Array") -> Any:
    """`X` as float32, which trees compare. Raises Unsupported where float32 cannot hold a value."""
    with np.errstate(over="ignore"):
        Z = X.astype(np.float32)
    if not finite(Z):
        raise Unsupported
    return Z


def with_method(
    model: Any, method: str, fast: "Callable[..., Any]", name: str
) -> "Iterator[Tuple[str, str, FastCall]]":
    """`fast` for `method`, and the model's other methods on a copy of the model whose `method` is replaced by `fast`."""
    other = copy.copy(model)
    setattr(other, method, fast)
    for each in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        if hasattr(model, each):
            yield each, name, getattr(other, each)


def own(kind: type) -> bool:
    """Whether the class is scikit-learn's own. A class derived from one may do anything."""
    return kind.__module__.startswith("sklearn.")


def is_a(item: Any, name: str) -> bool:
    """Whether the class of `item`, or one of its bases, is the class of scikit-learn with this name. Nothing is imported."""
    return any(base.__name__ == name and base.__module__.startswith("sklearn.") for base in type(item).__mro__)
