"""The metadata store on SQL: SQLite by default, PostgreSQL by URL.

Each change is one transaction that begins by raising the revision. That row makes writers wait for one another, so
numbers are given in order and a record read inside a change cannot move under it.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from sqlalchemy import Column, Connection, Engine, RowMapping, Select, Table, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from registry.errors import (
    EnvironmentNotFound,
    InvalidArgument,
    ModelInUse,
    ModelNotFound,
    RunNotFound,
    ServiceNotFound,
)
from registry.records import EnvironmentRecord, Json, MetricRecord, ModelVersion, RunRecord, ServiceRecord
from registry.stores import disk, postgres, rows, schema, sqlite
from registry.stores import tables as t

_IMMEDIATE: Final = {sqlite.BEGIN: "BEGIN IMMEDIATE"}
_WATCH: Final = {sqlite.BEGIN: "", "isolation_level": "AUTOCOMMIT"}
_REVISION: Final = "SELECT value FROM revision"


class SqlMetadata:
    """A `registry.stores.base.MetadataStore`. Safe to use from several threads."""

    def __init__(self, engine: Engine, where: Path) -> None:
        """`where` is the workspace's folder, for sentences. The database is opened by `open_sqlite` or `open_url`."""
        self._engine, self._where = engine, where
        self._watcher: Connection | None = None
        self._watching = threading.Lock()

    @classmethod
    def open_sqlite(cls, path: Path, drafts: Path | None = None) -> Self:
        """The database in the file `path`, made when it is not there, migrated when it is older than this code.

        Args:
            drafts: folder on the same disk in which a new one is made; None means one beside it.

        Raises:
            WorkspaceError, DiskFull: see `registry.errors`.
        """
        sqlite.refuse_network_disk(path.parent)
        if not path.exists():
            with disk.writing(path.parent), _sentences(path.parent):
                schema.create_sqlite(path, drafts or path.with_name(f".{path.name}.drafts"))
        return cls._opened(sqlite.sqlite_engine(path), path.parent)

    @classmethod
    def open_url(cls, url: str, where: Path) -> Self:
        """The database at a SQLAlchemy URL; an empty one gets its tables. `where` is the workspace's folder."""
        if url.startswith("sqlite:"):
            return cls.open_sqlite(sqlite.path_of(url))
        return cls._opened(schema.url_engine(url), where)

    @classmethod
    def _opened(cls, engine: Engine, where: Path) -> Self:
        try:
            with _sentences(where):
                schema.make_current(engine, where)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, where)

    def close(self) -> None:
        with self._watching:
            if self._watcher is not None:
                self._watcher.close()
                self._watcher = None
        self._engine.dispose()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with _sentences(self._where), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        connect = self._engine.connect
        with _sentences(self._where), connect().execution_options(**_IMMEDIATE) as connection, connection.begin():
            connection.execute(update(t.revision).values(value=t.revision.c.value + 1))
            yield connection

    def revision(self) -> int:
        with self._watching, _sentences(self._where):
            if self._watcher is None:
                self._watcher = self._engine.connect().execution_options(**_WATCH)
            try:
                return int(self._watcher.exec_driver_sql(_REVISION).scalar_one())
            except DBAPIError:
                self._watcher.invalidate()
                self._watcher.close()
                self._watcher = None
                raise

    # models

    def add_model(self, draft: ModelVersion) -> ModelVersion:
        with self._write() as connection:
            number = _next(connection, t.model_names, t.model_names.c.last_version, draft.name)
            model = replace(draft, version=number)
            connection.execute(insert(t.models), rows.model_row(model))
        return model

    def put_model(self, model: ModelVersion) -> ModelVersion:
        with self._write() as connection:
            last = _last(connection, t.model_names, t.model_names.c.last_version, model.name)
            if last is not None and model.version <= last:
                there = select(t.models).where(*_is(t.models, model.name, model.version))
                found = _first(connection, there)
                if found is None or rows.model_from(found) != model:
                    raise InvalidArgument("model", f"the number of {model.id} was given already in this workspace")
                return model
            _count(connection, t.model_names, t.model_names.c.last_version, model.name, last, model.version)
            connection.execute(insert(t.models), rows.model_row(model))
        return model

    def get_model(self, name: str, version: int | None = None) -> ModelVersion:
        with self._read() as connection:
            return _model(connection, name, version)

    def list_models(self, name: str | None = None) -> Sequence[ModelVersion]:
        query = select(t.models).order_by(t.models.c.name, t.models.c.version)
        with self._read() as connection:
            return [rows.model_from(row) for row in _all(connection, _where(query, t.models.c.name, name))]

    def update_model(self, name: str, version: int, change: Callable[[ModelVersion], ModelVersion]) -> ModelVersion:
        with self._write() as connection:
            old = _model(connection, name, version)
            new = change(old)
            if (new.name, new.version) != (name, version):
                raise InvalidArgument("change", f"it turned {old.id} into {new.id}; name and version cannot change")
            connection.execute(update(t.models).where(*_is(t.models, name, version)), rows.model_row(new))
        return new

    def delete_model(self, name: str, version: int) -> None:
        with self._write() as connection:
            model = _model(connection, name, version)
            only = len(_all(connection, select(t.models.c.version).where(t.models.c.name == name))) == 1
            names = {model.id, name} if only else {model.id}
            services = _all(connection, select(t.services.c.name, t.services.c.models))
            if users := [service["name"] for service in services if names & set(service["models"])]:
                raise ModelInUse(model.id, users)
            connection.execute(delete(t.models).where(*_is(t.models, name, version)))

    # environments

    def put_environment(self, name: str, digest: str, spec: Mapping[str, Json]) -> EnvironmentRecord:
        same = select(t.environments).where(t.environments.c.name == name, t.environments.c.digest == digest)
        with self._read() as connection:
            if found := _first(connection, same):
                return rows.environment_from(found)
        with self._write() as connection:
            if found := _first(connection, same):
                return rows.environment_from(found)
            last = select(func.max(t.environments.c.version)).where(t.environments.c.name == name)
            record = EnvironmentRecord(
                name=name,
                version=(connection.execute(last).scalar() or 0) + 1,
                digest=digest,
                spec=dict(spec),
                created_time=datetime.now(UTC),
            )
            connection.execute(insert(t.environments), rows.environment_row(record))
        return record

    def get_environment(self, name: str, version: int | None = None) -> EnvironmentRecord:
        query = select(t.environments).where(t.environments.c.name == name).order_by(t.environments.c.version.desc())
        with self._read() as connection:
            if found := _first(connection, _where(query, t.environments.c.version, version)):
                return rows.environment_from(found)
        raise EnvironmentNotFound(name, None if version is None else str(version))

    def get_environment_by_digest(self, digest: str) -> EnvironmentRecord:
        query = select(t.environments).where(t.environments.c.digest == digest).order_by(t.environments.c.created_time)
        with self._read() as connection:
            if found := _first(connection, query):
                return rows.environment_from(found)
        raise EnvironmentNotFound(digest)

    def list_environments(self) -> Sequence[EnvironmentRecord]:
        query = select(t.environments).order_by(t.environments.c.name, t.environments.c.version)
        with self._read() as connection:
            return [rows.environment_from(row) for row in _all(connection, query)]

    # runs

    def add_run(self, draft: RunRecord) -> RunRecord:
        with self._write() as connection:
            number = _next(connection, t.experiments, t.experiments.c.last_number, draft.experiment)
            if _first(connection, select(t.runs.c.id).where(t.runs.c.id == draft.id)):
                raise InvalidArgument("run id", f"{draft.id} is in this workspace already")
            run = replace(draft, number=number)
            connection.execute(insert(t.runs), rows.run_row(run))
        return run

    def get_run(self, run_id: str) -> RunRecord:
        with self._read() as connection:
            return _run(connection, run_id)

    def list_runs(self, experiment: str | None = None, parent: str | None = None) -> Sequence[RunRecord]:
        query = select(t.runs).order_by(t.runs.c.created_time.desc(), t.runs.c.number.desc())
        query = _where(_where(query, t.runs.c.experiment, experiment), t.runs.c.parent, parent)
        with self._read() as connection:
            return [rows.run_from(row) for row in _all(connection, query)]

    def list_experiments(self) -> Sequence[str]:
        """Names of the experiments that ever had a run."""
        with self._read() as connection:
            return [row["name"] for row in _all(connection, select(t.experiments).order_by(t.experiments.c.name))]

    def update_run(self, run_id: str, change: Callable[[RunRecord], RunRecord]) -> RunRecord:
        with self._write() as connection:
            old = _run(connection, run_id)
            new = change(old)
            if (new.id, new.experiment, new.number) != (old.id, old.experiment, old.number):
                raise InvalidArgument("change", f"id, experiment and number of run {run_id} cannot change")
            connection.execute(update(t.runs).where(t.runs.c.id == run_id), rows.run_row(new))
        return new

    def add_metrics(self, metrics: Sequence[MetricRecord]) -> None:
        if not metrics:
            return
        with self._write() as connection:
            fresh: list[MetricRecord] = []
            for run_id in sorted({metric.run_id for metric in metrics}):
                _run(connection, run_id)
                there = set(connection.execute(_sequences(run_id, metrics)).scalars())
                ours = {metric.sequence: metric for metric in reversed(metrics) if metric.run_id == run_id}
                fresh += [metric for sequence, metric in ours.items() if sequence not in there]
            if fresh:
                connection.execute(insert(t.metrics), [rows.metric_row(metric) for metric in fresh])

    def list_metrics(self, run_id: str) -> Sequence[MetricRecord]:
        query = select(t.metrics).where(t.metrics.c.run_id == run_id).order_by(t.metrics.c.sequence)
        with self._read() as connection:
            _run(connection, run_id)
            return [rows.metric_from(row) for row in _all(connection, query)]

    # services

    def put_service(self, service: ServiceRecord) -> ServiceRecord:
        with self._write() as connection:
            if _first(connection, _service(service.name)):
                changed = update(t.services).where(t.services.c.name == service.name)
                connection.execute(changed, rows.service_row(service))
            else:
                connection.execute(insert(t.services), rows.service_row(service))
        return service

    def get_service(self, name: str) -> ServiceRecord:
        with self._read() as connection:
            if found := _first(connection, _service(name)):
                return rows.service_from(found)
        raise ServiceNotFound(name)

    def list_services(self) -> Sequence[ServiceRecord]:
        with self._read() as connection:
            found = _all(connection, select(t.services).order_by(t.services.c.created_time, t.services.c.name))
            return [rows.service_from(row) for row in found]

    def delete_service(self, name: str) -> None:
        with self._write() as connection:
            if not connection.execute(delete(t.services).where(t.services.c.name == name)).rowcount:
                raise ServiceNotFound(name)

    # values

    def get_value(self, key: str) -> Json:
        with self._read() as connection:
            found = _first(connection, _value(key))
        return found["value"] if found else None

    def set_value(self, key: str, value: Json, *, only_if_absent: bool = False) -> Json:
        if only_if_absent and (there := self.get_value(key)) is not None:
            return there
        with self._write() as connection:
            found = _first(connection, _value(key))
            if found and only_if_absent and found["value"] is not None:
                return found["value"]
            if found:
                connection.execute(update(t.named_values).where(t.named_values.c.key == key), {"value": value})
            else:
                connection.execute(insert(t.named_values), {"key": key, "value": value})
        return value


@contextmanager
def _sentences(where: Path) -> Iterator[None]:
    """Errors of the database become sentences for a person; the cause stays attached for the log."""
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise sqlite.translated(error.orig, where) from error
        raise postgres.translated(error.orig or error, where) from error


def _next(connection: Connection, table: Table, counter: Column[int], name: str) -> int:
    """The next number of a counter that starts at 1 and never goes back."""
    last = _last(connection, table, counter, name)
    number = (last or 0) + 1
    _count(connection, table, counter, name, last, number)
    return number


def _last(connection: Connection, table: Table, counter: Column[int], name: str) -> int | None:
    return connection.execute(select(counter).where(table.c.name == name)).scalar()


def _count(
    connection: Connection, table: Table, counter: Column[int], name: str, last: int | None, number: int
) -> None:
    if last is None:
        connection.execute(insert(table), {"name": name, counter.name: number})
    else:
        connection.execute(update(table).where(table.c.name == name), {counter.name: number})


def _model(connection: Connection, name: str, version: int | None) -> ModelVersion:
    query = select(t.models).where(t.models.c.name == name).order_by(t.models.c.version.desc())
    if found := _first(connection, _where(query, t.models.c.version, version)):
        return rows.model_from(found)
    versions = select(t.models.c.version).where(t.models.c.name == name).order_by(t.models.c.version)
    known = list(connection.execute(versions).scalars())
    if known:
        raise ModelNotFound(name, version, known)
    names = select(t.models.c.name).distinct().order_by(t.models.c.name).limit(11)
    raise ModelNotFound(name, version, connection.execute(names).scalars())


def _run(connection: Connection, run_id: str) -> RunRecord:
    if found := _first(connection, select(t.runs).where(t.runs.c.id == run_id)):
        return rows.run_from(found)
    raise RunNotFound(run_id)


def _service(name: str) -> Select[Any]:
    return select(t.services).where(t.services.c.name == name)


def _value(key: str) -> Select[Any]:
    return select(t.named_values).where(t.named_values.c.key == key)


def _sequences(run_id: str, metrics: Sequence[MetricRecord]) -> Select[Any]:
    """Which sequences the run has between the least and the greatest of these."""
    wanted = [metric.sequence for metric in metrics if metric.run_id == run_id]
    column = t.metrics.c.sequence
    return select(column).where(t.metrics.c.run_id == run_id, column.between(min(wanted), max(wanted)))


def _is(table: Table, name: str, version: int) -> tuple[Any, Any]:
    return table.c.name == name, table.c.version == version


def _where(query: Select[Any], column: Column[Any], value: object) -> Select[Any]:
    return query if value is None else query.where(column == value)


def _first(connection: Connection, query: Select[Any]) -> RowMapping | None:
    return connection.execute(query.limit(1)).mappings().first()


def _all(connection: Connection, query: Select[Any]) -> Sequence[RowMapping]:
    return connection.execute(query).mappings().all()
