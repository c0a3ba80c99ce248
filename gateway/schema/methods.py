"""Which methods of a model can be called from outside, and which of them is meant when a request names none.

Only methods that answer for given rows, change nothing and need no labels: never ``fit``, ``set_params`` or an
attribute by an arbitrary name.
"""

from collections.abc import Collection
from typing import Final, Literal

from gateway.errors import NoScoringMethod, UnknownMethod

METHODS: Final[tuple[str, ...]] = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "predict_joint_log_proba",
    "decision_function",
    "transform",
    "inverse_transform",
    "score_samples",
    "kneighbors",
    "kneighbors_graph",
    "radius_neighbors",
    "radius_neighbors_graph",
    "apply",
    "decision_path",
    "mahalanobis",
)
"""The allow-list, in the order in which methods are named to people."""

METHOD_SET: Final = frozenset(METHODS)

Dialect = Literal["azure", "open_inference", "kserve_v1", "mlflow"]

_FALLBACKS: Final = ("transform", "decision_function", "score_samples", "kneighbors")
_PREFERENCE: Final[dict[str, tuple[str, ...]]] = {"azure": ("predict_proba", "predict", *_FALLBACKS)}
_PREDICT_FIRST: Final = ("predict", *_FALLBACKS)


def default_method(methods: Collection[str], dialect: str = "azure", registered: str | None = None) -> str:
    """The method that runs when a request names none.

    Args:
        methods: what the *instance* has (an SVC without ``probability=True`` has no ``predict_proba``).
        dialect: Azure's documented default is ``predict_proba`` where there is one; everybody else's is ``predict``.
        registered: the default that was set at registration; wins everywhere.

    Raises:
        UnknownMethod: `registered` is not a method of this instance.
        NoScoringMethod: the model has none of `METHODS`.
    """
    if registered is not None:
        return check_method(registered, methods)
    for method in _PREFERENCE.get(dialect, _PREDICT_FIRST):
        if method in methods:
            return method
    for method in METHODS:
        if method in methods:
            return method
    raise NoScoringMethod()


def check_method(method: object, methods: Collection[str]) -> str:
    """`method` if it may be called and the instance has it.

    Raises:
        UnknownMethod: it is not text, not on the allow-list, or not a method of this model; lists those that are.
    """
    if isinstance(method, str) and method in METHOD_SET and method in methods:
        return method
    raise UnknownMethod(method, [known for known in METHODS if known in methods])
