"""Opening databases: fresh, old, newer, damaged, somebody else's; and the modes of what is made."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from registry import Model, Workspace
from registry.errors import (
    FitserveError,
    InvalidArgument,
    MissingExtra,
    NoWorkspace,
    WorkspaceCorrupt,
    WorkspaceTooNew,
)
from registry.stores import schema, tables
from registry.stores.sqlite import BEGIN, sqlite_engine

KEPT = Path(__file__).parents[1] / "workspaces"


def described(path: Path) -> dict[tuple[str, str], list[object]]:
    """All that SQLite knows of each table and index, apart from how its SQL was spelt."""
    with sqlite3.connect(path) as connection:
        names = connection.execute("SELECT type, name, tbl_name FROM sqlite_master ORDER BY name").fetchall()
        return {
            (kind, name): [
                sorted(row[1:] for row in connection.execute(f"PRAGMA table_info('{name}')")),
                sorted(row[2:] for row in connection.execute(f"PRAGMA foreign_key_list('{name}')")),
                connection.execute(f"PRAGMA index_info('{name}')").fetchall(),
                [row[2:] for row in connection.execute(f"PRAGMA index_list('{table}')") if row[1] == name],
            ]
            for kind, name, table in names
        }


def test_a_fresh_database_is_what_the_migrations_make(tmp_path: Path) -> None:
    schema.create_sqlite(tmp_path / "fresh.db", tmp_path / "drafts")
    engine = sqlite_engine(tmp_path / "migrated.db")
    with engine.connect() as connection, connection.begin():
        schema.migrate(connection)
    assert described(tmp_path / "fresh.db") == described(tmp_path / "migrated.db")
    assert len(described(tmp_path / "fresh.db")) > 10
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        assert schema.stored_schema(connection) == tables.SCHEMA
        assert connection.exec_driver_sql("SELECT * FROM revision").all() == [(1, 0)]
    engine.dispose()


def test_the_newest_migration_is_the_current_schema() -> None:
    numbers = [path.name.partition("_")[0] for path in (schema.MIGRATIONS / "versions").glob("[0-9]*.py")]
    assert max(numbers) == tables.SCHEMA


@pytest.mark.parametrize("kept", sorted(path.name for path in KEPT.iterdir() if path.is_dir() and path.name.isdigit()))
def test_a_workspace_of_every_schema_opens(tmp_path: Path, kept: str) -> None:
    shutil.copytree(KEPT / kept, tmp_path / "w")
    with Workspace.open(tmp_path / "w", create=False) as workspace:
        first, second = Model.list(workspace, "kept")
        assert (first.tags, first.description) == ({"area": "naïve ☃"}, "the first")
        assert (first.resource_configuration.cpu, first.resource_configuration.memory_in_gb) == (0.5, 0.25)
        assert first.created_time.isoformat() == "2026-11-23T19:50:00.123456+00:00"
        assert first.record.facts["class_name"] == "DummyClassifier"
        assert first.sample_input_dataset == b"a,b\n1,2\n"
        for model in (first, second):
            workspace.artifacts.verify(model.record.artifact.digest)
        assert second.run_id == "kept_1"
        run = workspace.metadata.get_run("kept_1")
        assert (run.status, run.arguments) == ("Completed", ("--kernel", "linear"))
        assert [metric.value for metric in workspace.metadata.list_metrics("kept_1")] == ["linear", 0.97]
        assert workspace.metadata.get_environment("kept-env").spec["pip"] == ["scikit-learn==1.9.1"]
        assert workspace.metadata.get_service("kept-service").models == ("kept",)
        assert workspace.name == "kept"
        assert (
            Model.register(workspace, tmp_path / "w/model.joblib", "kept", show_output=False).version == 4
        )  # 3 is gone


# what comes after the current schema is tested with a migration of the test's own

NEXT = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "9998", "{now}", None, None
def upgrade():
    op.add_column("models", sa.Column("added", sa.Text, nullable=False, server_default="new"))
    {then}
"""


@pytest.fixture
def next_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the code one migration newer than the database."""

    def next_schema(then: str = "pass") -> None:
        scripts = tmp_path / "scripts"
        shutil.copytree(schema.MIGRATIONS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
        (scripts / "versions/9998_next.py").write_text(NEXT.format(now=tables.SCHEMA, then=then))
        monkeypatch.setattr(schema, "MIGRATIONS", scripts)
        monkeypatch.setattr(tables, "SCHEMA", "9998")

    return next_schema


def columns(root: Path) -> list[str]:
    with sqlite3.connect(root / "fitserve.db") as connection:
        return [row[1] for row in connection.execute("PRAGMA table_info('models')")]


def test_an_older_database_is_migrated_when_it_is_opened(
    workspace: Workspace, model_file: Path, next_schema: Callable[[], None]
) -> None:
    Model.register(workspace, model_file, "iris", show_output=False)
    workspace.close()
    next_schema()

    def open_and_look(_: int) -> str | None:
        with (
            Workspace.open(workspace.root) as opened,
            create_engine(f"sqlite:///{opened.root}/fitserve.db").connect() as c,
        ):
            return schema.stored_schema(c)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(open_and_look, range(4))) == {"9998"}
    assert "added" in columns(workspace.root)


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    workspace: Workspace, next_schema: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.close()
    before = columns(workspace.root)
    with monkeypatch.context():
        next_schema("raise ZeroDivisionError")
        with pytest.raises(ZeroDivisionError):
            Workspace.open(workspace.root)
    assert columns(workspace.root) == before


@pytest.mark.parametrize("version", ["9999", "10000", "0002_traffic", "7f3a2b1c"])
def test_a_database_from_a_newer_fitserve_is_left_alone(workspace: Workspace, version: str) -> None:
    workspace.close()
    with sqlite3.connect(workspace.root / "fitserve.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    with pytest.raises(WorkspaceTooNew, match=rf"newer fitserve \(schema {version}\); upgrade fitserve"):
        Workspace.open(workspace.root)
    with sqlite3.connect(workspace.root / "fitserve.db") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (version,)


def spoil_with(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite_pages(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xaa" * (path.stat().st_size - 4096))


def another_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(spoil_with(b"this is not a database, it is a text of some length" * 100), id="garbage"),
        pytest.param(spoil_with(b"short"), id="short garbage"),
        pytest.param(lambda path: os.truncate(path, 0), id="empty"),
        pytest.param(truncate, id="half of it"),
        pytest.param(overwrite_pages, id="pages overwritten"),
        pytest.param(another_program, id="another program's"),
    ],
)
def test_a_damaged_database_says_so(workspace: Workspace, model_file: Path, spoil: Callable[[Path], object]) -> None:
    Model.register(workspace, model_file, "iris", show_output=False)
    workspace.close()
    spoil(workspace.root / "fitserve.db")
    damaged = (workspace.root / "fitserve.db").read_bytes()

    def use() -> None:
        with Workspace.open(workspace.root) as opened:
            Model.list(opened)

    with pytest.raises(WorkspaceCorrupt, match=f"{workspace.root} is damaged .*restore it from a backup"):
        use()
    assert (workspace.root / "fitserve.db").read_bytes() == damaged


def test_what_a_workspace_is_made_of_is_its_owners_only(workspace: Workspace, model_file: Path) -> None:
    old = os.umask(0)
    try:
        with Workspace.open(workspace.root.parent / "loose") as loose:
            Model.register(loose, model_file, "iris", sample=[[1, 2]], show_output=False)
            made = list(loose.root.rglob("*"))
            assert len(made) > 10
            modes = {oct(path.stat().st_mode & 0o777) for path in [loose.root, *made] if path.is_dir()}
            assert modes == {"0o700"}
            assert {oct(path.stat().st_mode & 0o777) for path in made if path.is_file()} == {"0o600"}
    finally:
        os.umask(old)


def test_a_workspace_that_was_opened_up_is_closed_again(workspace: Workspace) -> None:
    workspace.close()
    workspace.root.chmod(0o755)
    Workspace.open(workspace.root).close()
    assert workspace.root.stat().st_mode & 0o777 == 0o700


def test_a_folder_with_other_things_does_not_become_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    mode = tmp_path.stat().st_mode
    with pytest.raises(InvalidArgument, match=r"holds other things \(thesis.tex\)"):
        Workspace.open(tmp_path)
    assert tmp_path.stat().st_mode == mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.tex"]


def test_settings_may_be_there_before_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w/settings.toml").touch()
    (tmp_path / "w/lost+found").mkdir()
    Workspace.open(tmp_path / "w").close()


def test_a_file_is_not_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match="is a file, not a folder"):
        Workspace.open(tmp_path / "file")


def test_without_leave_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(NoWorkspace, match=r"no workspace in .*none; `fitserve up`"):
        Workspace.open(tmp_path / "none", create=False)
    assert list(tmp_path.iterdir()) == []


def test_many_processes_may_make_the_same_workspace(tmp_path: Path) -> None:
    code = (
        "import sys; from registry.sdk.workspace import Workspace; import registry.stores.sql; print(flush=True);"
        "sys.stdin.readline(); Workspace.open(sys.argv[1]).metadata.set_value('pid', 1)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "w")]
    makers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)]
    for maker in makers:
        assert maker.stdout is not None
        maker.stdout.readline()
    for maker in makers:
        maker.communicate(b"go\n")
    assert [maker.returncode for maker in makers] == [0] * 4
    with Workspace.open(tmp_path / "w", create=False) as workspace:
        assert workspace.revision() == 4
    assert sorted(path.name for path in (tmp_path / "w").iterdir() if path.is_file()) == ["fitserve.db"]


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("postgresql://ann:secret@nowhere.invalid/db", MissingExtra),
        ("mongodb://ann:secret@host/db", InvalidArgument),
        ("mysql://ann:secret@host/db", InvalidArgument),
        ("://", FitserveError),
        ("sqlite://", InvalidArgument),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(
    url: str, error: type[FitserveError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed
    with pytest.raises(error) as raised:
        Workspace.open(url)
    assert "secret" not in str(raised.value)


def test_a_database_by_url_makes_its_tables(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/records.db"
    for _ in range(2):
        with Workspace.open(url) as workspace:
            workspace.metadata.set_value("n", 1)
            assert workspace.root == tmp_path / ".fitserve"
    assert (tmp_path / "records.db").exists()


def test_transactions_begin_where_they_are_said_to(tmp_path: Path) -> None:
    schema.create_sqlite(tmp_path / "x.db", tmp_path / "drafts")
    engine = sqlite_engine(tmp_path / "x.db")
    with engine.connect().execution_options(**{BEGIN: "BEGIN IMMEDIATE"}) as writer, writer.begin():
        raw = writer.connection.driver_connection
        assert raw is not None
        assert raw.in_transaction
    engine.dispose()
