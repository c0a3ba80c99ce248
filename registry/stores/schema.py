"""Making a database, and bringing an older one up to date. Alembic is imported only for the latter."""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, insert, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from registry.errors import InvalidArgument, MissingExtra, WorkspaceCorrupt, WorkspaceNotOurs, WorkspaceTooNew
from registry.stores import disk, postgres, sqlite
from registry.stores import tables as t

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_NUMBER: Final = re.compile(r"\d{4}")
_DRIVER: Final = "psycopg"


def url_engine(url: str) -> Engine:
    """An engine for a SQLAlchemy URL. `postgresql://` means the psycopg driver.

    Raises:
        InvalidArgument: not a URL of a database.
        MissingExtra: its driver is not installed.
    """
    scheme, separator, rest = url.partition("://")
    driver = f"postgresql+{_DRIVER}" if scheme in ("postgresql", "postgres") else scheme
    try:
        address = make_url(f"{driver}{separator}{rest}")
        more = postgres.parameters(address) if address.drivername.startswith("postgresql") else {}
        return create_engine(address, pool_pre_ping=True, connect_args=more)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == _DRIVER:
            raise MissingExtra(f"{_DRIVER}[binary]", "postgresql", f"a workspace at {scheme}://…") from error
        right = "postgresql://USER:PASSWORD@HOST/DATABASE"
        raise InvalidArgument("workspace", f"{scheme}://… is not a database that can be used; write {right}") from error


def create_sqlite(path: Path, drafts: Path) -> None:
    """A new database appears under its name complete, or not at all; who comes second uses the first one's.

    It is made in the folder `drafts`, on the same disk.
    """
    with disk.new_folder(drafts) as folder:
        draft = folder / path.name
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # SQLite gives its side files this mode
        engine = sqlite.sqlite_engine(draft)
        with engine.connect() as connection:
            sqlite.mark(connection)
            make_tables(connection)
            connection.commit()
        engine.dispose()
        with suppress(FileExistsError):
            disk.link_or("rename", draft, path)
        disk.sync_folder(path.parent)


def make_tables(connection: Connection) -> None:
    """All tables of the current schema, stamped. `tests/registry` proves them equal to what the migrations make."""
    t.metadata.create_all(connection, checkfirst=False)
    connection.execute(insert(t.revision), {"id": 1, "value": 0})
    connection.execute(insert(t.schema_version), {"version_num": t.SCHEMA})


def make_current(engine: Engine, where: Path) -> None:
    """Check the schema of the database; make or migrate it where that is needed.

    Raises:
        WorkspaceTooNew: a newer fitserve wrote it.
        WorkspaceCorrupt, WorkspaceNotOurs: it is a database, but not one of ours.
    """
    file = engine.dialect.name == "sqlite"
    with engine.connect().execution_options(**{sqlite.BEGIN: ""}) as connection:
        found = stored_schema(connection)
        if found is None and file:  # a file is never there without its tables: see `create_sqlite`
            raise WorkspaceCorrupt(str(where), "it holds no tables of fitserve")
        if found is not None and not _is_known(found):
            if not _has_our_tables(connection):
                raise WorkspaceNotOurs(str(where), f"its alembic_version is {found}")
            raise WorkspaceTooNew(str(where), found)
        if file:
            sqlite.use_wal(connection)
    if found == t.SCHEMA:
        return
    with engine.connect().execution_options(**{sqlite.BEGIN: "BEGIN IMMEDIATE"}) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            postgres.lock_schema(connection)
            found = stored_schema(connection)  # by whoever was first
        if found is None:
            make_tables(connection)
        else:
            migrate(connection)


def _is_known(version: str) -> bool:
    """Whether this release has the migration of that name, or one after it."""
    return bool(_NUMBER.fullmatch(version)) and version <= t.SCHEMA


def _has_our_tables(connection: Connection) -> bool:
    """Tells a workspace of a newer fitserve, however that names its migrations, from another program's database."""
    tables = set(inspect(connection).get_table_names())
    return {t.revision.name, t.model_names.name, t.named_values.name} <= tables


def stored_schema(connection: Connection) -> str | None:
    """The number of the last migration that ran, None where fitserve has no tables."""
    if not inspect(connection).has_table(t.schema_version.name):
        return None
    return connection.execute(select(t.schema_version.c.version_num)).scalar()


def migrate(connection: Connection, target: str = "head", scripts: Path | None = None) -> None:
    """Run what lies between the stored schema and `target`, inside the connection's transaction: all of it or nothing."""
    from alembic import command  # late: only a new or an old database is migrated
    from alembic.config import Config  # late: as above

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(scripts or MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, target)
