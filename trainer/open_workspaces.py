"""The workspaces that a server of the shim's calls has open, by what the shim knows of them."""

import contextlib
import os
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from registry.locate import VARIABLE, Identity, Location
from registry.records import Json
from registry.workspace import DATABASE, Workspace
from trainer.folder import RunFolder
from trainer.variables import RUN_OF_RPC


class OpenWorkspaces:
    """Opened at their first use. A client names one by the facts that it got, so a new server knows it too."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str | None, Identity], Workspace] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for workspace in self._open.values():
            workspace.close()

    def take(self, workspace: Workspace) -> dict[str, Json]:
        """Keep it open; gives what the client is to know of it."""
        key = (str(workspace.root), workspace._location.database, workspace.identity)
        held = self._open.setdefault(key, workspace)
        if held is not workspace:
            workspace.close()
        return {
            "root": key[0],
            "database": None if address_is_secret() else key[1],
            **asdict(held.identity),
        }

    def get(self, facts: Json) -> Workspace:
        """The workspace of which `take` gave these facts."""
        root = str(facts["root"])
        database = _database_of(Path(root)) if address_is_secret() else facts.get("database")
        identity = Identity(*(str(facts[name]) for name in ("name", "subscription_id", "resource_group", "location")))
        key = (root, database, identity)
        if key not in self._open:
            self._open[key] = Workspace._at(Location(Path(root), database, identity), create=False)
        return self._open[key]

    def of_run(self, folder: str) -> dict[str, Json]:
        """The workspace in which a run of this folder lies.

        Raises:
            WorkspaceNotFound: there is none.
        """
        root = Path(folder).absolute().parent.parent
        location = Location(root, _database_of(root))
        with contextlib.suppress(
            OSError, ValueError, KeyError, TypeError
        ):  # it is called as where the run was submitted
            facts = RunFolder(Path(os.environ.get(RUN_OF_RPC) or folder)).read_facts()
            location = replace(location, identity=Identity(**facts["workspace"]))
        return self.take(Workspace._at(location, create=False))


def address_is_secret() -> bool:
    """Whether the script of a run asks, which is not told where a database is."""
    return RUN_OF_RPC in os.environ


def _database_of(root: Path) -> str | None:
    """The address that the launcher of a run knows; None where the workspace keeps its records in its folder."""
    return None if (root / DATABASE).exists() else os.environ.get(VARIABLE)
