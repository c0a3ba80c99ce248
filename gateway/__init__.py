"""How a model answers: services, wire protocols, batching, worker processes, limits.

`Webservice` is imported when it is first used, since HTTP processes and children import this package too.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.client.webservice import Webservice as Webservice

__all__ = ["Webservice"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'gateway' has no attribute {name!r}")
    return getattr(import_module("gateway.client.webservice"), name)
