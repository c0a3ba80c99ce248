"""All that is PostgreSQL's own: how it is reached, one maker of tables at a time, and the names of its errors."""

from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, text

from registry.errors import (
    DiskFull,
    FitserveError,
    WorkspaceLocked,
    WorkspaceNotOurs,
    WorkspaceReadOnly,
    WorkspaceUnreachable,
)

# What libpq would otherwise wait for minutes. A parameter in the workspace's URL goes before these.
_PARAMETERS: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "application_name": "fitserve",
}
_LOCK: Final = 0x66697473  # "fits": the advisory lock of who makes or migrates the tables


def parameters(url: URL) -> dict[str, Any]:
    """Connection parameters that the URL does not give itself."""
    return {name: value for name, value in _PARAMETERS.items() if name not in url.query}


def lock_schema(connection: Connection) -> None:
    """Wait until nobody else makes or migrates tables in this database; held until the transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def translated(error: BaseException, where: Path) -> FitserveError:
    """The sentence for a person about what PostgreSQL said of the workspace in the folder `where`."""
    state = str(getattr(error, "sqlstate", None) or "")
    said = " ".join(str(error).split()) or type(error).__name__
    if state in {"53100"}:  # disk full
        return DiskFull(str(where))
    if state in {"55P03", "40P01", "57014"}:  # lock not available, deadlock, statement timeout
        return WorkspaceLocked(str(where))
    if state in {"25006", "42501"}:  # a standby, or a user without the right
        return WorkspaceReadOnly(str(where), said)
    if state == "42P07":  # a table of ours has the name of somebody else's
        return WorkspaceNotOurs(str(where), said)
    return WorkspaceUnreachable(str(where), said)
