"""Locked, read-only, full, network: what the disk refuses becomes a sentence, and nothing is left half done."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry import Model, Workspace
from registry.errors import WorkspaceLocked, WorkspaceOnNetworkDisk
from registry.stores import sqlite
from tests.registry.mounts import python_where

PRELUDE = """
import sys
from pathlib import Path
from registry import Model, Workspace
from registry.errors import FitserveError

def attempt(what):
    try:
        what()
        print("ok")
    except FitserveError as error:
        print(type(error).__name__ + ":", error)

folder = Path(sys.argv[1])
files = Path(sys.argv[2])

def register(name="model.joblib"):
    with Workspace.open(folder / "w") as workspace:
        Model.register(workspace, files / name, "iris", model_framework="Custom", show_output=False)

def stored():
    with Workspace.open(folder / "w") as workspace:
        for model in Model.list(workspace):
            workspace.artifacts.verify(model.record.artifact.digest)
        return [model.id for model in Model.list(workspace)]
"""


@contextmanager
def another_process_writes(root: Path) -> Iterator[None]:
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE');"
        "c.execute('UPDATE revision SET value = value + 1'); print('writing', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(root / "fitserve.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "writing\n"
        try:
            yield
        finally:
            process.stdin.close()


def test_a_writer_waits_five_seconds_by_default() -> None:
    assert sqlite.BUSY_TIMEOUT_S == 5


def test_a_locked_workspace_can_be_read_and_says_so_to_writers(
    tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.2)
    root = tmp_path / "w"
    with Workspace.open(root) as workspace:
        Model.register(workspace, model_file, "iris", show_output=False)
        with another_process_writes(root):
            with pytest.raises(WorkspaceLocked, match=f"{root} is locked by another process"):
                Model.register(workspace, model_file, "iris", show_output=False)
            assert [model.id for model in Model.list(workspace)] == ["iris:1"]
            assert workspace.revision() == 1
            with Workspace.open(root) as other:
                assert other.revision() == 1
        assert Model.register(workspace, model_file, "iris", show_output=False).version == 2


def test_a_writer_waits_for_the_other_one(tmp_path: Path, model_file: Path) -> None:
    root = tmp_path / "w"
    with Workspace.open(root) as workspace:
        with sqlite3.connect(root / "fitserve.db", isolation_level=None, check_same_thread=False) as other:
            other.execute("BEGIN IMMEDIATE")
            code = "import sys, registry as r; r.Model.register(r.Workspace.open(sys.argv[1]), sys.argv[2], 'iris')"
            with subprocess.Popen(
                [sys.executable, "-c", code, str(root), str(model_file)], stdout=subprocess.PIPE
            ) as p:
                assert p.stdout is not None
                assert p.stdout.read(1) == b"R"  # Registering model iris: it runs, and cannot be done
                assert p.poll() is None
                other.execute("COMMIT")
                p.stdout.read()
            assert p.returncode == 0
        assert workspace.models["iris"].version == 1


def test_a_read_only_workspace_says_so(tmp_path: Path, model_file: Path) -> None:
    with Workspace.open(tmp_path / "w") as workspace:
        Model.register(workspace, model_file, "iris", show_output=False)
    said = python_where(
        'mount --bind "$1" "$1"\nmount -o remount,ro,bind "$1"',
        PRELUDE + "attempt(register)\nattempt(lambda: Workspace.open(folder / 'new'))",
        tmp_path,
        tmp_path,
    ).splitlines()
    assert [line.partition(":")[0] for line in said] == ["WorkspaceReadOnly", "WorkspaceReadOnly"]
    assert str(tmp_path / "w") in said[0]
    assert "check the owner and the mode" in said[0]


FULL = """
import os
(folder / "w").mkdir(exist_ok=True)
register()
(files / "big").write_bytes(os.urandom(4 * 2**20))
attempt(lambda: register("big"))
print(stored(), sorted(p.name for p in (folder / "w/artifacts/incoming").iterdir()))
print("free again:", os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize > 2**20)

# not one block left: the artifact is there already, but the record does not fit
filler = open(folder / "filler", "wb", buffering=0)
for size in (2**16, 2**12, 1):
    try:
        while True:
            filler.write(bytes(size))
    except OSError:
        pass
attempt(register)
attempt(lambda: Workspace.open(folder / "new"))
print(sorted(p.name for p in (folder / "new").glob("*.db*")) if (folder / "new").exists() else [])
filler.close()
(folder / "filler").unlink()
print(stored())
register()
print(stored())
"""


def test_a_full_disk_says_so_and_stores_nothing_by_halves(tmp_path: Path, model_file: Path) -> None:
    (tmp_path / "disk").mkdir()
    said = python_where(
        'mount -t tmpfs -o size=3m tmpfs "$1"', PRELUDE + FULL, tmp_path / "disk", tmp_path
    ).splitlines()
    assert said[0].startswith("DiskFull: no space is left on the disk that holds")
    assert said[1] == "['iris:1'] []"
    assert said[2] == "free again: True"
    assert said[3].startswith("DiskFull:")
    assert said[4].startswith("DiskFull:")
    assert said[5] == "[]"
    assert said[6] == "['iris:1']"
    assert said[7] == "['iris:1', 'iris:2']"


MOUNTS = r"""22 1 254:1 / / rw,relatime - ext4 /dev/vda rw
30 22 0:30 / {home} rw,relatime shared:5 - {kind} server:/home rw
31 22 0:31 / {home}/local\040disk rw,relatime - ext4 /dev/vdb rw
"""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs"])
def test_a_network_disk_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS.format(home=tmp_path / "home", kind=kind))
    monkeypatch.setattr(sqlite, "MOUNTINFO", tmp_path / "mountinfo")
    with pytest.raises(WorkspaceOnNetworkDisk, match=rf"\({kind}\).*FITSERVE_WORKSPACE=postgresql://"):
        Workspace.open(tmp_path / "home/project/.fitserve")
    assert not (tmp_path / "home/project/.fitserve/fitserve.db").exists()
    for good in ("elsewhere", "home/local disk/w"):
        Workspace.open(tmp_path / good).close()


def test_where_mounts_are_not_told_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "MOUNTINFO", tmp_path / "not-linux")
    Workspace.open(tmp_path / "w").close()
