"""What is PostgreSQL's own: first tables, migrations, sentences, where files lie. Its contract: tests/contracts."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from registry import Model, Workspace
from registry.errors import InvalidArgument, WorkspaceNotOurs, WorkspaceReadOnly, WorkspaceTooNew, WorkspaceUnreachable
from registry.stores import schema, tables
from registry.stores.sql import SqlMetadata
from tests.postgres import make_database, postgres
from tests.registry.test_opening import NEXT

OPENER = """
import sys
from pathlib import Path
from registry.stores.sql import SqlMetadata
print("ready", flush=True)
sys.stdin.readline()
store = SqlMetadata.open_url(sys.argv[1], Path("."))
store.set_value("n", 1)
"""


def described(url: str) -> dict[str, object]:
    engine = schema.url_engine(url)
    with engine.connect() as connection:
        seen = inspect(connection)
        found = {
            name: [
                sorted((c["name"], str(c["type"]), c["nullable"]) for c in seen.get_columns(name)),
                seen.get_pk_constraint(name),
                sorted(key["name"] or "" for key in seen.get_foreign_keys(name)),
                sorted((index["name"] or "", index["unique"]) for index in seen.get_indexes(name)),
                sorted(check["name"] or "" for check in seen.get_check_constraints(name)),
            ]
            for name in seen.get_table_names()
        }
    engine.dispose()
    return found


def test_fresh_tables_are_what_the_migrations_make(postgres_server: str, database: str, tmp_path: Path) -> None:
    migrated = make_database(postgres_server, "migrated")
    engine = schema.url_engine(migrated)
    with engine.connect() as connection, connection.begin():
        schema.migrate(connection)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        assert schema.stored_schema(connection) == tables.SCHEMA
    engine.dispose()
    SqlMetadata.open_url(database, tmp_path).close()
    made = [described(url) for url in (database, migrated)]
    for tables_made in made:
        assert tables_made.pop("alembic_version")  # Alembic makes this one in its own way
    assert made[0] == made[1]
    assert len(made[0]) > 8


def test_processes_that_make_the_first_tables_at_once_all_succeed(database: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPENER, database]
    makers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for maker in makers:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"
    ends = []
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("go\n")
        maker.stdin.flush()
    for maker in makers:
        _, said = maker.communicate(timeout=60)
        ends.append((maker.returncode, said))
    assert ends == [(0, "")] * 3
    store = SqlMetadata.open_url(database, tmp_path)
    assert store.revision() == 3
    store.close()


def test_an_older_database_is_migrated_once(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SqlMetadata.open_url(database, tmp_path).close()
    scripts = tmp_path / "scripts"
    shutil.copytree(schema.MIGRATIONS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions/9998_next.py").write_text(NEXT.format(now=tables.SCHEMA, then="pass"))
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", scripts)
        patched.setattr(tables, "SCHEMA", "9998")
        for _ in range(2):
            SqlMetadata.open_url(database, tmp_path).close()
        assert "('added'" in str(described(database)["models"])
    with pytest.raises(WorkspaceTooNew, match="9998"):
        SqlMetadata.open_url(database, tmp_path)


@pytest.mark.parametrize(
    ("theirs", "named"),
    [
        (
            "CREATE TABLE alembic_version (version_num varchar(32)); INSERT INTO alembic_version VALUES ('a1b2c3')",
            "a1b2c3",
        ),
        ("CREATE TABLE models (id int)", "models"),
    ],
)
def test_somebody_elses_database_is_left_alone(database: str, tmp_path: Path, theirs: str, named: str) -> None:
    engine = schema.url_engine(database)
    with engine.connect() as connection, connection.begin():
        for statement in theirs.split("; "):
            connection.execute(text(statement))
    engine.dispose()
    before = described(database)
    with pytest.raises(WorkspaceNotOurs, match=named):
        SqlMetadata.open_url(database, tmp_path)
    assert described(database) == before


def test_a_database_that_cannot_be_reached_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceUnreachable, match="cannot be reached") as raised:
        Workspace.open(f"postgresql://ann:secret@/db?host={tmp_path}")
    assert "secret" not in str(raised.value)


def test_a_database_that_only_reads_says_so(database: str, tmp_path: Path) -> None:
    SqlMetadata.open_url(database, tmp_path).close()
    store = SqlMetadata.open_url(f"{database}%20-cdefault_transaction_read_only%3Don", tmp_path)
    with pytest.raises(WorkspaceReadOnly, match="read-only transaction"):
        store.set_value("n", 1)
    store.close()


def test_a_watcher_goes_on_when_its_connection_was_cut(database: str, tmp_path: Path) -> None:
    store, other = (SqlMetadata.open_url(database, tmp_path) for _ in range(2))
    store.set_value("n", 1)
    before = store.revision()
    with other._engine.connect() as connection:  # as a restart of the server does
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE 'SELECT value%'"
            )
        )
    with pytest.raises(WorkspaceUnreachable):
        store.revision()
    assert store.revision() == before
    store.close()
    other.close()


def test_two_workspaces_with_folders_of_their_own_share_records_and_artifacts(
    database: str, tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FITSERVE_ARTIFACTS", f"file://{tmp_path}/shared")
    monkeypatch.setenv("FITSERVE_WORKSPACE", database)
    opened = []
    for name in ("one", "two"):
        monkeypatch.setenv("FITSERVE_WORKSPACE_FOLDER", str(tmp_path / name))
        opened.append(Workspace.open())
    one, two = opened
    assert (one.root, two.root) == (tmp_path / "one", tmp_path / "two")
    model = Model.register(one, model_file, "iris", show_output=False)
    there = two.models["iris"]
    assert there.version == model.version == 1
    assert two.artifacts.local_path(there.record.artifact.digest).read_bytes() == model_file.read_bytes()
    monkeypatch.setenv("FITSERVE_ARTIFACTS", f"file://{tmp_path}/elsewhere")
    with pytest.raises(InvalidArgument, match="shared"):
        Workspace.open()
    for workspace in opened:
        workspace.close()


def test_a_server_that_ends_is_a_sentence_and_one_that_comes_is_found(tmp_path: Path) -> None:
    with postgres() as server:
        store = SqlMetadata.open_url(server, tmp_path)
        store.set_value("n", 1)
    for ask in (store.revision, store.list_models, lambda: store.set_value("n", 2)):
        with pytest.raises(WorkspaceUnreachable):
            ask()
    store.close()
