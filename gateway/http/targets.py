"""From an entry of the routing table to what dialects need to know of a version."""

from gateway.ipc.routing_table import OF_SERVICE, VersionEntry
from gateway.schema.methods import METHODS
from gateway.schema.schema import ModelSchema
from gateway.types import Target


def target_of(entry: VersionEntry) -> Target:
    """Compiled once per change of the entry. While nothing is known of the model every allow-listed method may be asked."""
    description = entry.description or {}
    return Target(
        model=entry.name.partition(OF_SERVICE)[0],
        version=entry.version,
        methods=tuple(description.get("methods", METHODS)),
        description=description,
        schema=None if entry.schema is None else ModelSchema.from_json(entry.schema),
        settings=entry.settings,
    )
