"""Frozen records: the shared words that stores take and give, and that signatures are read with.

Times are timezone-aware UTC. Digests are lower-case hexadecimal SHA-256 of content.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from registry.resources import ResourceConfiguration

Json = Any  # what json.loads gives
#: Key of `ModelVersion.facts` under which registration keeps what the run had installed.
TRAINED_IN: Final = "trained_in"

ArtifactKind = Literal["file", "folder"]
ArtifactFormat = Literal["pickle", "joblib", "skops", "onnx", "folder", "other"]  # "other" is stored, never loaded


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """Content in the artifact store: a file, or a folder whose digest is that of its manifest of hashes."""

    digest: str
    size: int  # bytes; of a folder, of all its files
    kind: ArtifactKind
    name: str  # base name as registered, such as "model.joblib"
    format: ArtifactFormat


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One registered version. `environment`, `code`, `sample` and `golden` are digests or None."""

    name: str
    version: int
    created_time: datetime
    artifact: Artifact
    framework: str | None = None
    framework_version: str | None = None
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    resource_configuration: ResourceConfiguration = field(default_factory=ResourceConfiguration)
    run_id: str | None = None
    experiment_name: str | None = None
    created_by: str | None = None
    environment: str | None = None  # digest of the Environment it is served in; None: the gateway's own
    code: str | None = None  # folder artifact with the modules that the artifact names
    sample: str | None = None  # file artifact: sample input
    sample_name: str | None = None  # its base name, which tells its format
    golden: str | None = None  # JSON artifact: recorded inputs and answers
    facts: Mapping[str, Json] = field(default_factory=dict)  # read from the artifact without executing it
    settings: Mapping[str, Json] = field(default_factory=dict)  # default_method, children, batching, max_compute_s, …

    @property
    def id(self) -> str:
        return f"{self.name}:{self.version}"


@dataclass(frozen=True, kw_only=True)
class EnvironmentRecord:
    """A named description of a Python. `digest` covers what an interpreter is built from, not the name."""

    name: str
    version: int
    digest: str
    spec: Mapping[str, Json]  # see `registry.environments.spec` for the keys
    created_time: datetime


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run of a script. `status` is one of `trainer.history.STATUSES`."""

    id: str
    experiment: str
    number: int
    status: str
    created_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None
    script: str | None = None
    arguments: tuple[str, ...] = ()
    target: str = "local"
    environment: str | None = None
    snapshot: str | None = None
    parent: str | None = None
    type: str = "azureml.scriptrun"
    display_name: str | None = None
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    exit_code: int | None = None
    pid: int | None = None  # of the launcher, while it lives
    details: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MetricRecord:
    """One call of a logging function. `kind` is scalar, list, row, table, image, confusion_matrix, …"""

    run_id: str
    sequence: int
    time: datetime
    name: str
    kind: str
    value: Json
    step: int | None = None
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class ServiceRecord:
    """A deployed service: what should run. The gateway makes it so."""

    name: str
    models: tuple[str, ...]  # "name:version" or "name"
    created_time: datetime
    updated_time: datetime
    settings: Mapping[str, Json] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None
