"""The value of a "status" answer: plain JSON about models, made on request."""

from collections.abc import Callable, Sequence

from gateway.ipc.routing_table import LastDeath
from gateway.rundir.version_log import VersionLog
from gateway.supervisor.models import ModelManager
from gateway.supervisor.requirements import cores_in_force, note_of_cores
from gateway.supervisor.served_model import ServedModel
from gateway.supervisor.version_state import VersionState
from registry.limits.base import Enforcement, Usage
from registry.records import Json
from registry.resources import GB

LOG_LINES = 20


def model_status(
    model: ServedModel,
    log_of: Callable[[VersionState], VersionLog],
    enforcement: Enforcement,
    services: Sequence[ServedModel] = (),
) -> dict[str, Json]:
    """One model in full: the facts of the version that answers, and all versions.

    Args:
        services: the copies of it that services with limits of their own run.
    """
    versions = {number: version_status(v, log_of(v), enforcement) for number, v in sorted(model.versions.items())}
    entry = model.entry()
    current = versions[entry.current.version]
    shared = (
        "state",
        "reason",
        "limits",
        "usage",
        "pids",
        "restarts",
        "last_death",
        "golden",
        "facts",
        "environment",
        "progress",
        "notes",
    )
    return {
        "name": model.name,
        "latest": entry.latest,
        "live": entry.live,
        **{key: current[key] for key in shared},
        "versions": list(versions.values()),
        "services": [_service_status(service, log_of, enforcement) for service in services],
    }


def _service_status(
    model: ServedModel, log_of: Callable[[VersionState], VersionLog], enforcement: Enforcement
) -> dict[str, Json]:
    """The version that answers for one service alone, in full."""
    version = model.versions[model.entry().current.version]
    return {"service": model.service, **version_status(version, log_of(version), enforcement)}


def version_status(version: VersionState, log: VersionLog, enforcement: Enforcement) -> dict[str, Json]:
    """One version in full. Sizes in bytes where the name says so, else in GB (2**30 bytes)."""
    replicas, record = version.replicas, version.record
    limits = version.limits if replicas is None else replicas.limits
    usage = Usage() if replicas is None else replicas.usage()
    return {
        "version": record.version,
        "id": record.id,
        "state": version.shown[0],
        "reason": version.shown[1],
        "limits": {
            "cpu": cores_in_force(limits),
            "memory_in_gb": limits.memory_in_gb,
            "asked": {"cpu": version.limits.cores, "memory_in_gb": version.limits.memory_in_gb},
            "enforcement": enforcement if replicas is None else replicas.group.enforcement,
        },
        "usage": {
            "memory_bytes": usage.memory_bytes,
            "memory_peak_bytes": usage.memory_peak_bytes,
            "cpu_seconds": usage.cpu_seconds,
            "throttled_seconds": usage.throttled_seconds,
            "oom_kills": usage.oom_kills,
        },
        "pids": sorted(child.pid for child in version.children),
        "restarts": version.backoff.by_cause.total(),
        "restarts_by_cause": dict(version.backoff.by_cause),
        "last_death": death_json(version.backoff.last),
        "answers": version.answers,
        "golden": version.golden,
        "unverified": version.unverified,
        "notes": [*version.notes, *note_of_cores(version.limits)],
        "environment": record.environment,
        "progress": version.progress,
        "facts": {
            "declared": record.framework_version,
            "written_by": record.facts.get("sklearn_version"),
            "served_with": (version.description or {}).get("sklearn"),
            "python": (version.description or {}).get("python"),
            **_decided(version),
        },
        "scoring": (version.description or {}).get("scoring"),
        "proving": bool((version.description or {}).get("proving")),
        "batching": _batching(version),
        "start_ms": {phase: round(ms, 1) for phase, ms in version.start_ms.items()},
        "log": log.tail(LOG_LINES),
    }


def _batching(version: VersionState) -> dict[str, Json]:
    """Which methods are called for one request at a time, each with its largest difference (None: in a label)."""
    description = version.description or {}
    by_hand = version.record.settings.get("batching") is False or description.get("batchable") is False
    return {"on": not by_hand, "alone": description.get("unbatchable") or {}}


def _decided(version: VersionState) -> dict[str, Json]:
    """Which environment serves it, and by which rule that was decided."""
    return {} if version.serving is None else {"environment": version.serving.to_json()}


def version_metrics(version: VersionState) -> dict[str, Json]:
    """One version in numbers, for ``/metrics``."""
    replicas = version.replicas
    usage = Usage() if replicas is None else replicas.usage()
    return {
        "name": version.model,
        "version": version.record.version,
        "state": version.shown[0],
        "children": len(version.children),
        "memory_bytes": usage.memory_bytes,
        "memory_limit_bytes": (version.limits if replicas is None else replicas.limits).memory_bytes,
        "cpu_seconds": usage.cpu_seconds,
        "throttled_seconds": usage.throttled_seconds,
        "restarts_by_cause": dict(version.backoff.by_cause),
    }


def gateway_status(models: ModelManager, enforcement: Enforcement, pids: dict[str, Json]) -> dict[str, Json]:
    """The whole gateway in short."""
    admission = models.admission
    return {
        "enforcement": enforcement,
        "pids": pids,
        "memory": {
            "machine_gb": admission.machine / GB,
            "total_gb": admission.total / GB,
            "promised_gb": admission.promised / GB,
            "free_gb": admission.free / GB,
        },
        "models": {
            name: {
                "live": model.live,
                "versions": {str(number): version.shown[0] for number, version in sorted(model.versions.items())},
            }
            for name, model in sorted(models.models.items())
        },
    }


def death_json(death: LastDeath | None) -> dict[str, Json] | None:
    if death is None:
        return None
    return {"cause": death.cause, "limit_gb": death.limit_gb, "peak_gb": death.peak_gb, "sentence": death.sentence}
