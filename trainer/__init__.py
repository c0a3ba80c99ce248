"""How a model comes to be: script + environment + compute target → run → outputs, metrics, logs → registered model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.experiment import Experiment
    from trainer.run import Run
    from trainer.script import ScriptRunConfig
    from trainer.sweep import Sweep

__all__ = ["Experiment", "Run", "ScriptRunConfig", "Sweep"]

_HOME = {
    "Experiment": "trainer.experiment",
    "Run": "trainer.run",
    "ScriptRunConfig": "trainer.script",
    "Sweep": "trainer.sweep",
}


def __getattr__(name: str) -> Any:
    """Resolved at first use, since a launcher imports this package before it forks away."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
