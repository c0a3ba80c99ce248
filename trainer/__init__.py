"""How a model comes to be: script + environment + compute target → run → outputs, metrics, logs → registered model."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.script import ScriptRunConfig
    from trainer.sdk import Experiment, Run
    from trainer.sweep import Sweep

__all__ = ["Experiment", "Run", "ScriptRunConfig", "Sweep"]

_HOME = {
    "Experiment": "trainer.sdk",
    "Run": "trainer.sdk",
    "ScriptRunConfig": "trainer.script",
    "Sweep": "trainer.sweep",
}


def __getattr__(name: str) -> Any:
    """Resolve names at first use: a launcher imports this package before it forks, and must start quickly."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
