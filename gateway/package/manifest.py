"""`package.json`: both ends of it. The same contents give the same bytes."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.package.contents import Contents, Packaged, Pinned
from gateway.package.errors import NotAPackage
from gateway.package.patterns import checked
from registry.environments.spec import digest_of
from registry.records import TRAINED_IN, Artifact, Json, ModelVersion, ServiceRecord
from registry.resources import ResourceConfiguration

NAME: Final = "package.json"
_FORMAT: Final = 1


@dataclass(frozen=True)
class Manifest:
    """`environments` maps the digest that a model's entry names to it."""

    models: tuple[tuple[ModelVersion, str], ...]
    environments: Mapping[str, Pinned]
    services: tuple[ServiceRecord, ...]
    default: str


def environment_key(pinned: Pinned) -> str:
    return digest_of(asdict(pinned))[:12]


def to_bytes(contents: Contents) -> bytes:
    """Requirements are not in it: each environment has a requirements file of its own."""
    environments = {environment_key(model.environment): model.environment for model in contents.models}
    form = {
        "format": _FORMAT,
        "models": [_model(packaged) for packaged in contents.models],
        "environments": {
            key: {"python": pinned.python, "variables": dict(pinned.variables), "own": pinned.own}
            for key, pinned in environments.items()
        },
        "services": [_plain(service) for service in contents.services],
        "default": contents.default,
    }
    return (json.dumps(form, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()


def requirements_file(key: str) -> str:
    return f"environments/{key}.txt"


def read(folder: Path) -> Manifest:
    """The manifest of the package in `folder`.

    Raises:
        NotAPackage, UnsafeValue
    """
    try:
        form = json.loads((folder / NAME).read_text(encoding="utf-8"))
        if form["format"] != _FORMAT:
            raise NotAPackage(str(folder), f"it is of format {form['format']}, this fitserve reads {_FORMAT}")
        environments = {key: _environment(folder, key, value) for key, value in form["environments"].items()}
        models = tuple((_record(entry["record"]), str(entry["environment"])) for entry in form["models"])
        services = tuple(_service(entry) for entry in form["services"])
        return Manifest(models, environments, services, str(form["default"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotAPackage(str(folder), f"{type(error).__name__}: {error}") from error


def _model(packaged: Packaged) -> dict[str, Json]:
    return {"record": _plain(packaged.record), "environment": environment_key(packaged.environment)}


def _plain(record: ModelVersion | ServiceRecord) -> dict[str, Json]:
    """Its fields as JSON has them; who registered it, and in which run, is nobody's business elsewhere."""
    values: dict[str, Any] = asdict(record)
    for private in ("created_by", "run_id", "environment"):
        values.pop(private, None)
    values["facts"] = {k: v for k, v in values.get("facts", {}).items() if k != TRAINED_IN}
    return {k: v.astimezone(UTC).isoformat() if isinstance(v, datetime) else v for k, v in values.items()}


def _record(values: dict[str, Json]) -> ModelVersion:
    checked("a model", f"{values['name']}:{values['version']}")
    limits = ResourceConfiguration(**values["resource_configuration"])
    created = datetime.fromisoformat(values["created_time"])
    artifact = Artifact(**values["artifact"])
    known = {field.name for field in fields(ModelVersion)}
    rest = {k: v for k, v in values.items() if k in known - {"artifact", "resource_configuration", "created_time"}}
    return ModelVersion(artifact=artifact, resource_configuration=limits, created_time=created, **rest)


def _service(values: dict[str, Json]) -> ServiceRecord:
    checked("a service", values["name"])
    times = {name: datetime.fromisoformat(values[name]) for name in ("created_time", "updated_time")}
    known = {field.name for field in fields(ServiceRecord)}
    return ServiceRecord(
        **{**{k: v for k, v in values.items() if k in known}, **times, "models": tuple(values["models"])}
    )


def _environment(folder: Path, key: str, values: dict[str, Json]) -> Pinned:
    lines = (folder / requirements_file(checked_key(key))).read_text(encoding="ascii").splitlines()
    requirements = tuple(checked("a pinned requirement", line) for line in lines if not line.startswith("#"))
    variables = {str(k): str(v) for k, v in values["variables"].items()}
    return Pinned(checked("a Python", values["python"]), requirements, variables, bool(values["own"]))


def checked_key(key: str) -> str:
    checked("a digest", key.ljust(64, "0"))
    return key
