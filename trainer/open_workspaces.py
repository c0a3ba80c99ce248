"""The workspaces that an RPC server has open, keyed by the facts that its client knows."""

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
    """Opened at first use. A client sends the facts that it received, so a restarted server recognises them too."""

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
        """Keep a workspace open; returns the facts for the client."""
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
        """The workspace for which `take` returned these facts."""
        root = str(facts["root"])
        database = _database_of(Path(root)) if address_is_secret() else facts.get("database")
        identity = Identity(*(str(facts[name]) for name in ("name", "subscription_id", "resource_group", "location")))
        key = (root, database, identity)
        if key not in self._open:
            self._open[key] = Workspace._at(Location(Path(root), database, identity), create=False)
        return self._open[key]

    def of_run(self, folder: str) -> dict[str, Json]:
        """The workspace that contains this run's folder.

        Raises:
            WorkspaceNotFound: there is none.
        """
        root = Path(folder).absolute().parent.parent
        location = Location(root, _database_of(root))
        with contextlib.suppress(
            OSError, ValueError, KeyError, TypeError
        ):  # use the name under which the run was submitted
            facts = RunFolder(Path(os.environ.get(RUN_OF_RPC) or folder)).read_facts()
            location = replace(location, identity=Identity(**facts["workspace"]))
        return self.take(Workspace._at(location, create=False))


def address_is_secret() -> bool:
    """Whether the client is the script of a run, which must not learn the address of a database."""
    return RUN_OF_RPC in os.environ


def _database_of(root: Path) -> str | None:
    """The database address that the run's launcher knows; None when the workspace keeps its records in its folder."""
    return None if (root / DATABASE).exists() else os.environ.get(VARIABLE)
