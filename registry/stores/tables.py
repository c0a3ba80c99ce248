"""The tables, as SQLAlchemy Core sees them. The same on SQLite and PostgreSQL.

JSON is kept as text that we write ourselves: it then reads back as it was on every database, NaN and NUL included.
A change here needs a new file in `migrations/versions`, and `SCHEMA` raised to its number.
"""

import json
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

from registry.records import Json

SCHEMA: Final = "0001"  # the newest migration; four digits, so that text order is their order


class JsonText(TypeDecorator[Json]):
    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Json, dialect: Dialect) -> str:  # noqa: ARG002
        return json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Json:  # noqa: ARG002
        return None if value is None else json.loads(value)


class UtcTime(TypeDecorator[datetime]):
    """ISO 8601 in UTC, always with microseconds, so that text order is time order."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else datetime.fromisoformat(value)


NAME = String(255)
DIGEST = String(64)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# Alembic's own table, declared so that a fresh database is made and stamped without importing Alembic.
schema_version = Table("alembic_version", metadata, Column("version_num", String(32), primary_key=True))

# One row. Each write transaction raises it first, which also makes writers wait for one another on PostgreSQL.
revision = Table(
    "revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

# Counters outlive what they counted: a number is never given twice.
model_names = Table(
    "model_names", metadata, Column("name", NAME, primary_key=True), Column("last_version", Integer, nullable=False)
)
experiments = Table(
    "experiments", metadata, Column("name", NAME, primary_key=True), Column("last_number", Integer, nullable=False)
)

models = Table(
    "models",
    metadata,
    Column("name", NAME, ForeignKey("model_names.name"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("created_time", UtcTime, nullable=False),
    Column("artifact_digest", DIGEST, nullable=False),
    Column("artifact_size", BigInteger, nullable=False),
    Column("artifact_kind", String(16), nullable=False),
    Column("artifact_name", Text, nullable=False),
    Column("artifact_format", String(16), nullable=False),
    Column("framework", Text),
    Column("framework_version", Text),
    Column("description", Text),
    Column("tags", JsonText, nullable=False),
    Column("properties", JsonText, nullable=False),
    Column("cpu", Float(53), nullable=False),
    Column("memory_in_gb", Float(53), nullable=False),
    Column("run_id", String(300)),  # no foreign key: a model outlives the record of its run
    Column("experiment_name", NAME),
    Column("created_by", Text),
    Column("environment", DIGEST),
    Column("code", DIGEST),
    Column("sample", DIGEST),
    Column("sample_name", Text),
    Column("golden", DIGEST),
    Column("facts", JsonText, nullable=False),
    Column("settings", JsonText, nullable=False),
)

environments = Table(
    "environments",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("digest", DIGEST, nullable=False),
    Column("spec", JsonText, nullable=False),
    Column("created_time", UtcTime, nullable=False),
    Index("ix_environments_digest", "digest"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(300), primary_key=True),
    Column("experiment", NAME, ForeignKey("experiments.name"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("status", String(32), nullable=False),
    Column("created_time", UtcTime, nullable=False),
    Column("start_time", UtcTime),
    Column("end_time", UtcTime),
    Column("script", Text),
    Column("arguments", JsonText, nullable=False),
    Column("target", Text, nullable=False),
    Column("environment", DIGEST),
    Column("snapshot", Text),
    Column("parent", String(300)),
    Column("type", Text, nullable=False),
    Column("display_name", Text),
    Column("description", Text),
    Column("tags", JsonText, nullable=False),
    Column("properties", JsonText, nullable=False),
    Column("error", Text),
    Column("exit_code", Integer),
    Column("pid", BigInteger),
    Column("details", JsonText, nullable=False),
    Index("ix_runs_experiment", "experiment", "number", unique=True),
    Index("ix_runs_parent", "parent"),
)

metrics = Table(
    "metrics",
    metadata,
    Column("run_id", String(300), ForeignKey("runs.id"), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("time", UtcTime, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("value", JsonText, nullable=False),
    Column("step", BigInteger),
    Column("description", Text, nullable=False),
)

services = Table(
    "services",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("models", JsonText, nullable=False),
    Column("created_time", UtcTime, nullable=False),
    Column("updated_time", UtcTime, nullable=False),
    Column("settings", JsonText, nullable=False),
    Column("tags", JsonText, nullable=False),
    Column("properties", JsonText, nullable=False),
    Column("description", Text),
)

named_values = Table(
    "named_values", metadata, Column("key", String(255), primary_key=True), Column("value", JsonText, nullable=False)
)
