"""The resource requirements of a version's record: number of children, size, and everything that decides how it
runs."""

import functools
import math
from typing import Final

from registry.errors import FitserveError
from registry.inference import content_of
from registry.limits import machine_cores
from registry.records import Json, ModelVersion
from registry.resources import GB, ResourceConfiguration
from registry.units import memory_text

MOST_CHILDREN: Final = 1000


class TooLargeForLimit(FitserveError):
    """Sizes in bytes."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"the file of model {what} has {memory_text(size / GB)}, more than its memory limit of {memory_text(limit / GB)}; "
            "register it with more memory"
        )


@functools.cache
def most_cores() -> float:
    """Cores that this machine, or the container, has for all models."""
    return machine_cores()


def cores_in_force(limits: ResourceConfiguration) -> float:
    """As many as are asked for, at most the machine's."""
    return min(limits.cores, most_cores())


def note_of_cores(limits: ResourceConfiguration) -> list[str]:
    """What a person should know where more is asked for than there is."""
    if limits.cores <= most_cores():
        return []
    return [f"{limits.cores:g} cores are asked for; on this machine at most {most_cores():g} are in force"]


def children_of(record: ModelVersion) -> int:
    """How many children it should have: as many as were registered, else one for each whole core, at most the
    machine's."""
    children = record.settings.get("children")
    if isinstance(children, int | float) and 1 <= children <= MOST_CHILDREN:  # registration takes no others
        return int(children)
    return max(1, min(int(record.resource_configuration.cores), math.ceil(most_cores())))


def check_size(what: str, record: ModelVersion) -> None:
    """
    Raises:
        TooLargeForLimit: the file alone exceeds the memory limit.
    """
    size, limit = record.artifact.size, record.resource_configuration.memory_bytes
    if size > limit:
        raise TooLargeForLimit(what, size, limit)


def needs_of(record: ModelVersion) -> tuple[Json, ...]:
    """The parts of a record that decide how it runs."""
    return record.resource_configuration, record.settings.get("children"), content_of(record), record.golden
