"""The workspaces that a server of the shim's calls has open, by what the shim knows of them."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from registry.errors import InvalidArgument
from registry.locate import Location
from registry.records import Json
from registry.workspace import DATABASE, Workspace


class OpenWorkspaces:
    """Opened at their first use. A client names one by the facts that it got, so a new server knows it too."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str | None], Workspace] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for workspace in self._open.values():
            workspace.close()

    def take(self, workspace: Workspace) -> dict[str, Json]:
        """Keep it open; gives what the client is to know of it."""
        key = (str(workspace.root), workspace._location.database)
        held = self._open.setdefault(key, workspace)
        if held is not workspace:
            workspace.close()
        return {
            "root": key[0],
            "database": key[1],
            "name": held.name,
            "subscription_id": held.subscription_id,
            "resource_group": held.resource_group,
            "location": held.location,
        }

    def get(self, facts: Json) -> Workspace:
        """The workspace of which `take` gave these facts."""
        key = (str(facts["root"]), facts.get("database"))
        if key not in self._open:
            self._open[key] = Workspace._at(Location(Path(key[0]), key[1]), create=False)
        return self._open[key]

    def of_run(self, folder: str) -> dict[str, Json]:
        """The workspace in which a run of this folder lies.

        Raises:
            InvalidArgument: its records are elsewhere, at an address that scripts are not told.
        """
        root = Path(folder).absolute().parent.parent
        if not (root / DATABASE).exists():
            raise InvalidArgument(
                "workspace", "its records are in a database whose address scripts are not told; do it from outside"
            )
        return self.take(Workspace.open(root, create=False))


def is_inside_a_run() -> bool:
    """Whether this process was started by the script of a run."""
    return "FITSERVE_RUN_DIR" in os.environ
