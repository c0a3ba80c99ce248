"""The interface of compute targets, and their table `COMPUTE_TARGETS`."""

import importlib
from typing import Final, Protocol

from registry.errors import InvalidArgument
from registry.records import RunRecord
from registry.workspace import Workspace


class ComputeTarget(Protocol):
    """Compute targets: where runs are executed. A run is in the store, NotStarted, with its folder ready, when it comes here."""

    def start(self, workspace: Workspace, run: RunRecord) -> None:
        """Start the run and return; it continues when this process ends.

        Raises:
            trainer.errors.LaunchFailed: it cannot be started.
        """

    def cancel(self, workspace: Workspace, run: RunRecord) -> None:
        """Called when the status is CancelRequested, to make the launcher notice soon."""

    def lost(self, workspace: Workspace, run: RunRecord) -> str | None:
        """For a run that has not ended: why nobody will end it, or None if its launcher is alive."""


COMPUTE_TARGETS: Final = {"local": "trainer.compute.local:LocalTarget"}


def target_name(given: object) -> str:
    """The name of a compute target given as None, a name, or an object with a name, as Azure allows.

    Raises:
        InvalidArgument: the target is unknown.
    """
    name = "local" if given is None else given if isinstance(given, str) else getattr(given, "name", given)
    if not isinstance(name, str) or name not in COMPUTE_TARGETS:
        raise InvalidArgument("compute_target", f"{name!r} is not one of: {', '.join(COMPUTE_TARGETS)}")
    return name


def find_target(name: str) -> ComputeTarget:
    module, _, attribute = COMPUTE_TARGETS[target_name(name)].partition(":")
    target: ComputeTarget = getattr(importlib.import_module(module), attribute)()
    return target
