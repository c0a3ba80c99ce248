"""What is known: the workspace, its models and their versions, environments, runs, services, and the stores they lie in.

The names are imported when they are first used, so that `import registry` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.resources import ResourceConfiguration as ResourceConfiguration
    from registry.sdk.environment import Environment as Environment
    from registry.sdk.model import Model as Model
    from registry.sdk.workspace import Workspace as Workspace

__all__ = ["Environment", "Model", "ResourceConfiguration", "Workspace"]

_HOMES = {
    "Environment": "registry.sdk.environment",
    "Model": "registry.sdk.model",
    "ResourceConfiguration": "registry.resources",
    "Workspace": "registry.sdk.workspace",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'registry' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
