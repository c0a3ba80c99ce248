"""What runs a submitted run. A choice is a name in `COMPUTE_TARGETS`."""

import importlib
from typing import Final, Protocol

from registry.errors import InvalidArgument
from registry.records import RunRecord
from registry.workspace import Workspace


class ComputeTarget(Protocol):
    """Where runs are carried out. A run is in the store, NotStarted, with its folder ready, when it comes here."""

    def start(self, workspace: Workspace, run: RunRecord) -> None:
        """Begin the run and return; it goes on when this process ends.

        Raises:
            trainer.errors.LaunchFailed: it cannot be started.
        """

    def cancel(self, workspace: Workspace, run: RunRecord) -> None:
        """Called when the store says CancelRequested: make that noticed soon."""

    def lost(self, workspace: Workspace, run: RunRecord) -> str | None:
        """For a run that has not ended: a sentence when whoever should end it is gone, else None."""


COMPUTE_TARGETS: Final = {"local": "trainer.compute.local:LocalTarget"}


def target_name(given: object) -> str:
    """The name of a compute target given as Azure allows: None, a name, or an object that has a name.

    Raises:
        InvalidArgument: there is no such target.
    """
    name = "local" if given is None else given if isinstance(given, str) else getattr(given, "name", given)
    if not isinstance(name, str) or name not in COMPUTE_TARGETS:
        raise InvalidArgument("compute_target", f"{name!r} is not one of: {', '.join(COMPUTE_TARGETS)}")
    return name


def find_target(name: str) -> ComputeTarget:
    module, _, attribute = COMPUTE_TARGETS[target_name(name)].partition(":")
    target: ComputeTarget = getattr(importlib.import_module(module), attribute)()
    return target
