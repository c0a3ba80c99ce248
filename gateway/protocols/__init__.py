"""The dialects in which models are asked. One file each over one internal request; adding one is adding a line here."""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.types import Dialect

#: Name → "module:class". The first one is Azure's, whose error bodies are also those of paths that no dialect owns.
PROTOCOLS: Final[dict[str, str]] = {
    "azure": "gateway.protocols.azure:Azure",
    "native": "gateway.protocols.native:Native",
    "open_inference": "gateway.protocols.open_inference:OpenInference",
    "kserve_v1": "gateway.protocols.kserve_v1:KServeV1",
    "mlflow": "gateway.protocols.mlflow:MLflow",
}


def dialects() -> "list[Dialect]":
    """One of each."""
    found: list[Dialect] = []
    for place in PROTOCOLS.values():
        module, name = place.split(":")
        found.append(getattr(import_module(module), name)())
    return found
