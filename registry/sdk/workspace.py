"""Workspace: a folder that holds all that is known, and the two stores in it. Shaped like Azure ML v1's.

It does not know experiments' objects or runs' (see `trainer`), nor compute targets, datastores and datasets.
"""

# ruff: noqa: ARG003  # arguments that only mean something in Azure are accepted and ignored

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from registry.errors import InvalidArgument, NoWorkspace, WorkspaceConfigError, WorkspaceExists
from registry.locate import CONFIG, FOLDER, KEY, Identity, Location, locate, locate_by_config
from registry.names import check_name
from registry.records import ServiceRecord
from registry.stores import disk
from registry.stores.base import ArtifactStore, MetadataStore
from registry.stores.files import FileArtifacts
from registry.stores.remote import RemoteArtifacts

if TYPE_CHECKING:
    from registry.sdk.environment import Environment
    from registry.sdk.model import Model

DATABASE: Final = "fitserve.db"
ARTIFACTS_VARIABLE: Final = "FITSERVE_ARTIFACTS"
_OURS: Final = re.compile(
    r"fitserve\.db.*|artifacts|runs|interpreters|cache|logs|settings\.toml|gateway\..*|lost\+found|\..*"
)


class Workspace:
    """An open workspace. `open`, `from_config`, `create` and `get` give one; closing it is optional.

    Attributes:
        root: its folder.
        metadata, artifacts: its stores, see `registry.stores.base`.
    """

    root: Path
    metadata: MetadataStore

    def __init__(self, location: Location, metadata: MetadataStore) -> None:
        self.root, self.metadata = location.root, metadata
        self._location = location

    @classmethod
    def open(cls, path: Path | str | None = None, *, create: bool = True, artifacts: str | None = None) -> Self:
        """The workspace at `path`: a folder, or the URL of a database; None means by `FITSERVE_WORKSPACE`, a
        `config.json` upwards, or `.fitserve` here.

        Args:
            create: make it when it is not there.
            artifacts: fsspec URL that keeps the artifacts, such as ``s3://bucket/models`` or ``file:///srv/artifacts``;
                remembered by the workspace. None means what ``FITSERVE_ARTIFACTS`` says, if it is set.

        Raises:
            NoWorkspace: it is not there, and `create` is False.
            WorkspaceError, DiskFull, InvalidArgument: it cannot be opened; the sentence says why.
        """
        workspace = cls._at(locate(path), create)
        artifacts = artifacts or os.environ.get(ARTIFACTS_VARIABLE)
        if artifacts:
            try:
                workspace._keep_artifacts_at(artifacts)
            except BaseException:
                workspace.close()
                raise
        return workspace

    @classmethod
    def from_config(
        cls,
        path: Path | str | None = None,
        auth: object = None,
        _logger: object = None,
        _file_name: str | None = None,
    ) -> Self:
        """The workspace that a configuration file names: `path`, or the first in Azure's order from there upwards.

        Raises:
            WorkspaceNotFound, WorkspaceConfigError, and what `open` raises.
        """
        return cls._at(locate_by_config(path, _file_name), create=True)

    @classmethod
    def create(
        cls,
        name: str,
        auth: object = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        location: str | None = None,
        *,
        path: Path | str | None = None,
        exist_ok: bool = False,
        show_output: bool = True,
        **azure: object,
    ) -> Self:
        """Make a workspace at `path` (see `open`) and give it a name. What only Azure's cloud needs is ignored.

        Raises:
            WorkspaceExists: there is one already, and `exist_ok` is False.
        """
        check_name("workspace", name)
        place = locate(path)
        if not exist_ok and place.database is None and (place.root / DATABASE).exists():
            raise WorkspaceExists(str(place.root))
        given = {"subscription_id": subscription_id, "resource_group": resource_group, "location": location}
        identity = replace(Identity(name), **{key: value for key, value in given.items() if value is not None})
        workspace = cls._at(place, create=True)
        stored = workspace.metadata.set_value("workspace", asdict(identity), only_if_absent=True)
        if stored["name"] != name:
            workspace.close()
            raise WorkspaceExists(str(place.root))
        if show_output:
            print(f"Workspace {name} is in {place.root}.")
        return workspace

    @classmethod
    def get(
        cls,
        name: str,
        auth: object = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        location: str | None = None,
        *,
        path: Path | str | None = None,
        **azure: object,
    ) -> Self:
        """The workspace at `path` (see `open`), if it has that name.

        Raises:
            NoWorkspace: it is not there, or has another name.
        """
        workspace = cls._at(locate(path), create=False)
        if workspace.name != name:
            workspace.close()
            raise NoWorkspace(str(workspace.root), f"one called {workspace.name}")
        return workspace

    @classmethod
    def _at(cls, location: Location, create: bool) -> Self:
        from registry.stores.sql import SqlMetadata  # late: SQLAlchemy takes most of the start-up time

        database = location.root / DATABASE
        if not create and location.database is None and not database.exists():
            raise NoWorkspace(str(location.root))
        _make_folders(location.root)
        if location.database is not None:
            return cls(location, SqlMetadata.open_url(location.database, location.root))
        return cls(location, SqlMetadata.open_sqlite(database, location.root / "cache" / "drafts"))

    def close(self) -> None:
        self.metadata.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Workspace.open({str(self.root)!r})"

    def revision(self) -> int:
        """Rises with every change of a record; asking costs some 30 µs."""
        return self.metadata.revision()

    @cached_property
    def artifacts(self) -> ArtifactStore:
        url = self.metadata.get_value("artifacts")
        return FileArtifacts(self.root / "artifacts", self.cache_dir) if url is None else self._artifacts_at(url)

    def _artifacts_at(self, url: str) -> ArtifactStore:
        return RemoteArtifacts(url, FileArtifacts(self.cache_dir / "artifacts", self.cache_dir))

    def _keep_artifacts_at(self, url: str) -> None:
        """Raises:
        InvalidArgument: they are kept elsewhere already, or fsspec cannot use the URL.
        """
        self._artifacts_at(url)
        said = self.metadata.get_value("artifacts")
        if said is None and self.metadata.list_models():
            said = str(self.root / "artifacts")
        said = said or self.metadata.set_value("artifacts", url, only_if_absent=True)
        if said != url:
            raise InvalidArgument("artifacts", f"this workspace keeps its artifacts at {said} already")

    @property
    def runs_dir(self) -> Path:
        return self.root / "runs"

    @property
    def interpreters_dir(self) -> Path:
        return self.root / "interpreters"

    @property
    def cache_dir(self) -> Path:
        return self.root / "cache"

    @property
    def logs_dir(self) -> Path:
        return self.root / "logs"

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def subscription_id(self) -> str:
        return self.identity.subscription_id

    @property
    def resource_group(self) -> str:
        return self.identity.resource_group

    @property
    def location(self) -> str:
        return self.identity.location

    @property
    def sku(self) -> str:
        return "basic"

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.metadata.get_value("workspace_tags") or {})

    @property
    def models(self) -> "dict[str, Model]":
        """Name → latest version."""
        from registry.sdk.model import Model  # late: YAML and packaging take longer than opening a workspace

        return {model.name: model for model in Model.list(self, latest=True)}

    @property
    def environments(self) -> "dict[str, Environment]":
        """Name → latest version."""
        from registry.sdk.environment import Environment  # late: as above

        return dict(Environment.list(self))

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names; `trainer.Experiment(workspace, name)` gives the object."""
        return tuple(self.metadata.list_experiments())

    @property
    def webservices(self) -> dict[str, ServiceRecord]:
        return {service.name: service for service in self.metadata.list_services()}

    def get_details(self) -> dict[str, Any]:
        identity = self.identity
        parts = ("subscriptions", identity.subscription_id, "resourceGroups", identity.resource_group)
        return {
            "id": "/" + "/".join((*parts, "providers", "fitserve", "workspaces", identity.name)),
            "name": identity.name,
            "location": identity.location,
            "sku": self.sku,
            "tags": self.tags,
            "root": str(self.root),
        }

    def write_config(self, path: Path | str | None = None, file_name: str | None = None) -> Path:
        """Write `.azureml/config.json` (`aml_config/` where that exists) into the folder `path`, for `from_config`.

        The file says where this workspace is, relative to the folder where that is possible.

        Raises:
            WorkspaceConfigError: it cannot be written.
        """
        project = Path(path).absolute() if path is not None else Path.cwd()
        folder = project / ("aml_config" if (project / "aml_config").is_dir() else ".azureml")
        file = folder / (file_name or CONFIG)
        identity = self.identity
        config = {
            "subscription_id": identity.subscription_id,
            "resource_group": identity.resource_group,
            "workspace_name": identity.name,
            KEY: self._location.database or _relative(self.root, project),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")
        except OSError as error:
            raise WorkspaceConfigError(str(file), f"cannot be written: {error}") from error
        return file

    @cached_property
    def identity(self) -> Identity:
        """What `create` stored, else what the configuration file said, else the name of the project's folder."""
        stored: Mapping[str, str] | None = self.metadata.get_value("workspace")
        if stored is not None:
            return Identity(**stored)
        project = self.root.parent if self.root.name == FOLDER else self.root
        return self._location.identity or Identity(project.resolve().name or "workspace")


def _relative(root: Path, project: Path) -> str:
    return root.relative_to(project).as_posix() if root.is_relative_to(project) else str(root)


def _make_folders(root: Path) -> None:
    """The workspace's folder, for its owner only, and those in it.

    Raises:
        InvalidArgument: the folder holds something else.
        WorkspaceReadOnly, DiskFull
    """
    if root.exists() and not root.is_dir():
        raise InvalidArgument("workspace", f"{root} is a file, not a folder")
    with disk.writing(root):
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=0o700, exist_ok=True)
        if not (root / DATABASE).exists():
            strange = sorted(entry.name for entry in root.iterdir() if not _OURS.fullmatch(entry.name))
            if strange:
                raise InvalidArgument(
                    "workspace", f"{root} holds other things ({', '.join(strange[:3])}); choose an empty folder"
                )
        if root.stat().st_mode & 0o077 and root.stat().st_uid == os.geteuid():
            root.chmod(0o700)
        for name in ("artifacts", "runs", "interpreters", "cache", "logs"):
            (root / name).mkdir(mode=0o700, exist_ok=True)
