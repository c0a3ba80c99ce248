"""Small words that the shorter ways share (see shortcut.py). Runs inside the model's own Python (3.6 and later), beside child.py."""

import copy
from typing import TYPE_CHECKING, Any, Callable, Iterator, Tuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Way = Callable[[Array], Any]


class Unsupported(Exception):
    """A way raises this where only the public method knows what to do."""


def finite(X: "Array") -> bool:
    return bool(np.isfinite(X).all())


def narrow(X: "Array") -> Any:
    """As trees want it. Raises NotHere where float32 cannot hold a value."""
    with np.errstate(over="ignore"):
        Z = X.astype(np.float32)
    if not finite(Z):
        raise Unsupported
    return Z


def with_method(model: Any, method: str, way: "Callable[..., Any]", name: str) -> "Iterator[Tuple[str, str, Way]]":
    """`way` for `method`, and the model's other methods on a copy of it that has `way` in that method's place."""
    other = copy.copy(model)
    setattr(other, method, way)
    for each in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        if hasattr(model, each):
            yield each, name, getattr(other, each)


def own(kind: type) -> bool:
    """scikit-learn's very class: one derived from it may do anything."""
    return kind.__module__.startswith("sklearn.")


def is_a(item: Any, name: str) -> bool:
    """By name, so that nothing has to be imported: the class or one of its bases in scikit-learn is called that."""
    return any(base.__name__ == name and base.__module__.startswith("sklearn.") for base in type(item).__mro__)
