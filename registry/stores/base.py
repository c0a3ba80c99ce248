"""The contracts of the two stores. `tests/contracts` holds one suite for each; every backend passes it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from registry.records import (
    Artifact,
    EnvironmentRecord,
    Json,
    MetricRecord,
    ModelVersion,
    RunRecord,
    ServiceRecord,
)


class MetadataStore(Protocol):
    """Records by key. Every change is one transaction that also raises `revision()` by at least one.

    A method that is given an unknown key raises the matching `registry.errors.NotFound`; a store that cannot be
    reached, written or trusted raises the matching `registry.errors.WorkspaceError` or `DiskFull`.
    """

    def revision(self) -> int:
        """Changes so far; cheap enough to ask ten times a second."""

    def close(self) -> None: ...

    # models: `add_model` gets version 0 and gives the next one, from 1, never given twice even after a deletion.
    def add_model(self, draft: ModelVersion) -> ModelVersion: ...
    def put_model(self, model: ModelVersion) -> ModelVersion:
        """A version that was numbered elsewhere, as it is. Raises `registry.errors.InvalidArgument` where that number was
        given already to something else; the same once more changes nothing."""

    def get_model(self, name: str, version: int | None = None) -> ModelVersion:
        """That version, or the latest."""

    def list_models(self, name: str | None = None) -> Sequence[ModelVersion]:
        """Ordered by name, then version."""

    def update_model(self, name: str, version: int, change: Callable[[ModelVersion], ModelVersion]) -> ModelVersion:
        """`change` gets the current record inside the transaction, so that two writers never lose an update."""

    def delete_model(self, name: str, version: int) -> None:
        """Raises `registry.errors.ModelInUse` while a service needs it."""

    # environments: the same spec under the same name is the same version.
    def put_environment(self, name: str, digest: str, spec: Mapping[str, Json]) -> EnvironmentRecord: ...
    def get_environment(self, name: str, version: int | None = None) -> EnvironmentRecord: ...
    def get_environment_by_digest(self, digest: str) -> EnvironmentRecord: ...
    def list_environments(self) -> Sequence[EnvironmentRecord]: ...

    # runs: `add_run` gets number 0 and gives the next one of its experiment, from 1.
    def add_run(self, draft: RunRecord) -> RunRecord: ...
    def get_run(self, run_id: str) -> RunRecord: ...
    def list_runs(self, experiment: str | None = None, parent: str | None = None) -> Sequence[RunRecord]:
        """Newest first."""

    def list_experiments(self) -> Sequence[str]:
        """Names of the experiments that ever had a run, in order of the alphabet."""

    def update_run(self, run_id: str, change: Callable[[RunRecord], RunRecord]) -> RunRecord: ...
    def add_metrics(self, metrics: Sequence[MetricRecord]) -> None:
        """A (run_id, sequence) that is already there is left as it is, so a reader of a file may resume."""

    def list_metrics(self, run_id: str) -> Sequence[MetricRecord]:
        """In order of sequence."""

    # services
    def put_service(self, service: ServiceRecord) -> ServiceRecord: ...
    def get_service(self, name: str) -> ServiceRecord: ...
    def list_services(self) -> Sequence[ServiceRecord]: ...
    def delete_service(self, name: str) -> None: ...

    # values: small things with no record of their own, such as "default_service" or the hashed key.
    def get_value(self, key: str) -> Json:
        """None when it was never set."""

    def set_value(self, key: str, value: Json, *, only_if_absent: bool = False) -> Json:
        """Gives the value that is in force afterwards."""


class ArtifactStore(Protocol):
    """Content by its SHA-256. What is stored is complete or absent, also after SIGKILL or a full disk."""

    def put_file(self, path: Path, name: str | None = None) -> Artifact:
        """Hashed while it is copied, so that the digest is that of the stored bytes."""

    def put_bytes(self, data: bytes, name: str) -> Artifact: ...
    def put_folder(self, path: Path, name: str | None = None, files: Sequence[str] | None = None) -> Artifact:
        """All files below `path`, or the relative `files`; links are not followed out of it."""

    def read_bytes(self, digest: str) -> bytes: ...
    def open(self, digest: str) -> BinaryIO: ...
    def files(self, digest: str) -> Mapping[str, str]:
        """Of a folder: relative path → digest."""

    def local_path(self, digest: str) -> Path:
        """A readable local path with that content: the stored file itself where it is local, else a cached copy.
        Of a folder: a folder. Its bytes are to be checked by who loads them."""

    def verify(self, digest: str) -> None:
        """Read all of it; `registry.errors.ArtifactChanged` or `ArtifactMissing` when it is not what was stored."""

    def exists(self, digest: str) -> bool: ...
    def delete(self, digest: str) -> None: ...


class Stores(Protocol):
    """An open workspace, as far as services, models and environments need it: its two stores, and folders for what is local.

    `registry.Workspace` is one.
    """

    root: Path
    metadata: MetadataStore

    @property
    def artifacts(self) -> ArtifactStore: ...
    @property
    def cache_dir(self) -> Path: ...
    @property
    def interpreters_dir(self) -> Path: ...
    @property
    def runs_dir(self) -> Path: ...
