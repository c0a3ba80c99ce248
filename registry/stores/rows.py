"""Records to rows and back. Most columns are named as the field they hold; the others are named here."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import RowMapping

from registry.records import Artifact, EnvironmentRecord, MetricRecord, ModelVersion, RunRecord, ServiceRecord
from registry.resources import ResourceConfiguration

Row = RowMapping | Mapping[str, Any]


def model_row(model: ModelVersion) -> dict[str, Any]:
    row = _row(model)
    artifact, limits = row.pop("artifact"), row.pop("resource_configuration")
    row |= {f"artifact_{key}": value for key, value in _row(artifact).items()}
    return row | {"cpu": limits.cores, "memory_in_gb": limits.memory_in_gb}


def model_from(row: Row) -> ModelVersion:
    values: dict[str, Any] = {**row}
    artifact = Artifact(**{field.name: values.pop(f"artifact_{field.name}") for field in fields(Artifact)})
    limits = ResourceConfiguration(cpu=values.pop("cpu"), memory_in_gb=values.pop("memory_in_gb"))
    return ModelVersion(artifact=artifact, resource_configuration=limits, **values)


def environment_row(environment: EnvironmentRecord) -> dict[str, Any]:
    return _row(environment)


def environment_from(row: Row) -> EnvironmentRecord:
    return EnvironmentRecord(**row)


def run_row(run: RunRecord) -> dict[str, Any]:
    return _row(run)


def run_from(row: Row) -> RunRecord:
    return RunRecord(**{**row, "arguments": tuple(row["arguments"])})


def metric_row(metric: MetricRecord) -> dict[str, Any]:
    return _row(metric)


def metric_from(row: Row) -> MetricRecord:
    return MetricRecord(**row)


def service_row(service: ServiceRecord) -> dict[str, Any]:
    return _row(service)


def service_from(row: Row) -> ServiceRecord:
    return ServiceRecord(**{**row, "models": tuple(row["models"])})


def _row(record: Any) -> dict[str, Any]:
    """One level only, unlike `dataclasses.asdict`; mappings become plain dicts, as the JSON writer wants them."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
