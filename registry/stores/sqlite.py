"""All that is SQLite's own: transactions, pragmas, its error names, and disks that it must not be put on."""

import os
import re
import secrets
import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from registry.errors import (
    DiskFull,
    FitserveError,
    InvalidArgument,
    WorkspaceCorrupt,
    WorkspaceLocked,
    WorkspaceOnNetworkDisk,
    WorkspaceReadOnly,
    WorkspaceUnreachable,
)

BUSY_TIMEOUT_S: Final = 5.0
BEGIN: Final = "fitserve_begin"  # execution option: the statement that opens the transaction

MOUNTINFO: Path = Path("/proc/self/mountinfo")
NETWORK_FILESYSTEMS: Final = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
        "gpfs",
        "beegfs",
        "ocfs2",
        "davfs",
        "fuse.sshfs",
        "fuse.s3fs",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.ceph",
        "fuse.rclone",
        "fuse.davfs2",
        "fuse.blobfuse",
        "fuse.blobfuse2",
    ]
)
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def sqlite_engine(path: Path) -> Engine:
    """An engine whose transactions begin where we say so, and whose writers wait up to `BUSY_TIMEOUT_S`."""
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def path_of(url: str) -> Path:
    """The file of ``sqlite:///PATH``.

    Raises:
        InvalidArgument: it names none.
    """
    try:
        database = make_url(url).database
    except ArgumentError as error:
        raise InvalidArgument("workspace", f"{url} is not the URL of a database") from error
    if not database or database == ":memory:":
        raise InvalidArgument("workspace", f"{url} names no file: sqlite:///PATH does")
    return Path(database).absolute()


def _prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # else the driver begins late, and a reader that turns writer is refused at once
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")  # what was said to be registered survives a power cut


def _begin(connection: Connection) -> None:
    if statement := connection.get_execution_options().get(BEGIN, "BEGIN"):
        connection.exec_driver_sql(statement)


def use_wal(connection: Connection) -> None:
    """Readers then never wait for a writer. The database file remembers it."""
    if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")


def mark(connection: Connection) -> None:
    """Give a new database file a number that no other has."""
    connection.exec_driver_sql(f"PRAGMA user_version = {secrets.randbits(31)}")


def mark_of(descriptor: int) -> bytes:
    """What `mark` gave, read past SQLite, which does not notice that its file has another's content. Raises OSError."""
    return os.pread(descriptor, 4, 60)  # https://www.sqlite.org/fileformat.html: the user version


def translated(error: sqlite3.Error, where: Path) -> FitserveError:
    """The sentence for a person about what SQLite said of the database in the folder `where`."""
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return WorkspaceLocked(str(where))
    if code.startswith("SQLITE_FULL") or (code.startswith("SQLITE_IOERR") and _is_full(where)):
        return DiskFull(str(where))
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return WorkspaceReadOnly(str(where))
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or isinstance(error, sqlite3.DataError):
        return WorkspaceCorrupt(str(where), str(error))
    return WorkspaceUnreachable(str(where), f"{code}: {error}" if code else str(error))


def _is_full(where: Path) -> bool:
    """SQLite reports a shared-memory file that cannot grow as an I/O error."""
    try:
        disk = os.statvfs(where)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < 2**16


def refuse_network_disk(folder: Path, mountinfo: Path | None = None) -> None:
    """SQLite's locks are not to be trusted on network disks: two gateways would damage the database.

    Raises:
        WorkspaceOnNetworkDisk: `folder` (or its nearest parent that exists) lies on one.
    """
    kind = _filesystem(folder, mountinfo or MOUNTINFO)
    if kind in NETWORK_FILESYSTEMS:
        raise WorkspaceOnNetworkDisk(str(folder), kind)


def _filesystem(folder: Path, mountinfo: Path) -> str:
    """Type of the file system that holds `folder`: of the last and deepest mount above it; "" when unknown."""
    try:
        lines = mountinfo.read_text(errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return ""
    target, best, kind = folder.resolve(), -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), before.split(" ")[4]))
        if len(point.parts) >= best and target.is_relative_to(point):
            best, kind = len(point.parts), after.split(" ")[0]
    return kind
