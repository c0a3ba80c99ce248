"""Services in the supervisor: their entries in the routing table, and the versions that run for one service alone."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.ipc.routing_table import ServiceEntry
from registry import services
from registry.records import ModelVersion, ServiceRecord

log = logging.getLogger("fitserve.supervisor")


@dataclass(frozen=True)
class OwnModel:
    """A model as one service has it: under the service's limits, in children of its own.

    `asked` is the version that the service names, None for whichever proves right last. `records` are those that may
    run.
    """

    service: str
    asked: int | None
    records: Mapping[int, ModelVersion] = field(default_factory=dict)


def read_services(
    deployed: Sequence[ServiceRecord], models: Sequence[ModelVersion]
) -> tuple[list[ServiceEntry], dict[str, OwnModel]]:
    """The entries of all services with valid records, and the models that run for one service alone, by their name in
    the table."""
    by_name: dict[str, list[ModelVersion]] = {}
    for version in models:
        by_name.setdefault(version.name, []).append(version)
    entries: list[ServiceEntry] = []
    own: dict[str, OwnModel] = {}
    for record in deployed:
        try:
            entry = _entry(record)
            if entry.alone:
                versions = {each.version: services.own_version(record, each) for each in by_name.get(entry.model, ())}
                own[entry.served_by] = OwnModel(record.name, entry.version, versions)
            entries.append(entry)
        except Exception:  # one invalid record must not affect the other services and models
            log.exception("service %s: its record cannot be used", record.name)
    return entries, own


def _entry(record: ServiceRecord) -> ServiceEntry:
    """With authentication on and no keys made yet, every request is rejected."""
    model, version = services.target(record)
    keys = tuple(record.settings.get("keys") or ()) if record.settings.get("auth_enabled") else None
    return ServiceEntry(record.name, model, version, keys, services.runs_alone(record))
