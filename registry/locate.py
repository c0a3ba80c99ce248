"""Where the workspace is: what was said, else the environment, else a configuration file upwards, else `.fitserve` here."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.errors import WorkspaceConfigError, WorkspaceNotFound
from registry.records import Json

FOLDER: Final = ".fitserve"
VARIABLE: Final = "FITSERVE_WORKSPACE"
FOLDER_VARIABLE: Final = "FITSERVE_WORKSPACE_FOLDER"  # what is local of a workspace whose records are in a database
KEY: Final = "fitserve"  # of the configuration file: a path, or the URL of a database

# Azure's order. Each is looked for in the folder and all its parents before the next one is.
PLACES: Final = (
    ".azureml/{0}",
    ".azureml/project.json",
    "aml_config/{0}",
    "aml_config/project.json",
    "{0}",
    "project.json",
)
CONFIG: Final = "config.json"


@dataclass(frozen=True)
class Identity:
    """The names by which Azure's users know a workspace; here they are labels."""

    name: str
    subscription_id: str = "00000000-0000-0000-0000-000000000000"
    resource_group: str = "local"
    location: str = "local"


@dataclass(frozen=True)
class Location:
    """`root` holds artifacts and all that is local; the records are in a file there, or in the `database` of a URL."""

    root: Path
    database: str | None = None
    identity: Identity | None = None


def locate(path: Path | str | None = None) -> Location:
    """`path` is a folder or the URL of a database; None asks the environment, then configuration files, then here.

    Raises:
        WorkspaceConfigError: a configuration file names a workspace, but cannot be understood.
    """
    said = path or os.environ.get(VARIABLE)
    if said:
        return _from_text(str(said), Path.cwd())
    found = next(find_configs(Path.cwd(), CONFIG), None)
    return found or Location(Path.cwd() / FOLDER)


def locate_by_config(path: Path | str | None, file_name: str | None = None) -> Location:
    """By a configuration file: `path` itself, or the first one found from the folder `path` upwards.

    Raises:
        WorkspaceNotFound, WorkspaceConfigError
    """
    start = Path(path) if path is not None else Path.cwd()
    if start.is_file():
        location = read_config(start)
        if location is None:
            raise WorkspaceConfigError(
                str(start), f"names no workspace: it needs subscription_id, resource_group and workspace_name, or {KEY}"
            )
        return location
    if found := next(find_configs(start.absolute(), file_name or CONFIG), None):
        return found
    raise WorkspaceNotFound(str(start.absolute()))


def find_configs(start: Path, file_name: str) -> Iterator[Location]:
    """In Azure's order. A file of that name that says nothing of a workspace belongs to somebody else: passed over."""
    for place in PLACES:
        for folder in (start, *start.parents):
            file = folder / place.format(file_name)
            if file.is_file() and (location := read_config(file)):
                yield location


def read_config(file: Path) -> Location | None:
    """What a configuration file says, None when it says nothing of a workspace.

    Raises:
        WorkspaceConfigError: it is not readable JSON.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorkspaceConfigError(str(file), f"cannot be read: {error}") from error
    if not isinstance(config, dict):
        return None
    identity = _identity(config)
    if identity is None and KEY not in config:
        return None
    project = project_of(file)
    said = config.get(KEY, FOLDER)
    if not isinstance(said, str) or not said:
        raise WorkspaceConfigError(str(file), f"has a key {KEY!r} that is neither a path nor the URL of a database")
    location = _from_text(said, project)
    return Location(location.root, location.database, identity)


def project_of(file: Path) -> Path:
    """The folder that a configuration file speaks for: `.azureml` and `aml_config` lie inside of it."""
    folder = file.absolute().parent
    return folder.parent if folder.name in (".azureml", "aml_config") else folder


def _from_text(said: str, base: Path) -> Location:
    if "://" in said:
        folder = os.environ.get(FOLDER_VARIABLE)
        return Location(Path(folder).expanduser().absolute() if folder else base / FOLDER, said)
    return Location((base / Path(said).expanduser()).absolute())


def _identity(config: dict[str, Json]) -> Identity | None:
    scope = config.get("Scope")
    if isinstance(scope, str) and len(parts := scope.split("/")) > 8:
        return Identity(parts[8], parts[2], parts[4])
    values = [config.get(key) for key in ("workspace_name", "subscription_id", "resource_group")]
    return Identity(*map(str, values)) if all(values) else None
