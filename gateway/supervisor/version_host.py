"""What a version needs of the rest of the supervisor."""

from typing import Protocol

from gateway.settings import Settings
from gateway.supervisor.replicas import Child, OnDeath, ReplicaSet
from gateway.supervisor.version_state import VersionState
from registry.errors import FitserveError
from registry.resources import ResourceConfiguration


class NoRoomNow(FitserveError):
    """Its memory is promised to other models; the sentence is that of `DoesNotFit`."""


class Host(Protocol):
    """`ModelManager` for the versions; the other side of `gateway.supervisor.version`."""

    settings: Settings

    def changed(self, version: VersionState) -> None:
        """Its entry may differ from what was published."""

    async def open_replicas(self, version: VersionState, on_death: OnDeath) -> ReplicaSet:
        """Prepare the interpreter, reserve the memory, and give an empty replica set in a limit group of its own.

        Raises:
            NoRoomNow: the memory is promised to others.
            FitserveError: it can never run; the sentence says why.
        """

    async def start_child(self, version: VersionState, replicas: ReplicaSet) -> Child:
        """Start a child that has loaded the model and given the recorded answers to the golden rows.

        Raises:
            StartFailed
        """

    async def prove(self, version: VersionState, replicas: ReplicaSet, child: Child) -> None:
        """Find out how a loaded child may be asked; it answers meanwhile. Once for each child."""

    def has_stand_in(self, version: VersionState) -> bool:
        """Whether another version answers for the model until this one does."""

    async def promise(self, version: VersionState, replicas: ReplicaSet, limits: ResourceConfiguration) -> None:
        """Reserve the memory of other limits for a running replica set.

        Raises:
            NoRoomNow
        """

    async def close_replicas(self, version: VersionState, replicas: ReplicaSet) -> None:
        """End a replica set that has left the version's entry, as soon as no caller waits for its answers."""
