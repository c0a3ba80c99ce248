"""What the supervisor knows of one model version, and how HTTP processes see it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from gateway.errors import redact_paths
from gateway.ipc.routing_table import OF_SERVICE, State, VersionEntry
from gateway.supervisor.backoff import RestartBackoff
from gateway.supervisor.replicas import Child, ReplicaSet
from gateway.supervisor.requirements import children_of, cores_in_force
from registry.inference import content_of
from registry.records import Json, ModelVersion
from registry.resources import ResourceConfiguration
from registry.serving_environment import ServingEnvironment

RESTING: Final = frozenset({"failed", "quarantined"})
UNLOADED: Final = "`load` of the Open Inference protocol starts it again"


class VersionState:
    """Attributes of a version and what follows from them. `VersionController` is the only one that changes them,
    except for `description`, `schema`, `golden`, `unverified`, `serving`, `progress`, `notes` and `start_ms`, which
    the launcher fills in."""

    def __init__(self, record: ModelVersion, service: str | None = None) -> None:
        self.record = record
        self.service = service  # set when this copy runs for one service alone, under the service's own limits
        self.state: State = "idle"
        self.reason: str | None = None
        self.replicas: ReplicaSet | None = None
        self.wanted = False
        self.urgent = False  # a caller waits for it, so others may be stopped to make room
        self.unloaded = False  # only `load` may start it
        self.crowded_out = False  # it should have started, but its memory is promised to others
        self.was_live = False
        self.description: Mapping[str, Json] | None = None
        self.schema: Mapping[str, Json] | None = None
        self.golden: dict[str, Json] = {}
        self.unverified = False
        self.backoff = RestartBackoff()
        self.answers = 0
        self.last_used = 0.0  # time.monotonic()
        self.live_since = 0.0
        self.serving: ServingEnvironment | None = None  # decided when it is first prepared
        self.progress: str | None = None  # last line of its environment's build
        self.notes: list[str] = []  # warnings for people, such as an unreadable sample
        self.start_ms: dict[str, float] = {}  # duration of each phase of the last start
        self.seen_time = datetime.now(UTC)
        self.content: str | None = None  # what the replica set was opened with, see `registry.inference.content_of`

    @property
    def id(self) -> str:
        """For people: "iris:3", or "iris:3 of service web"."""
        return self.record.id if self.service is None else f"{self.record.id} of service {self.service}"

    @property
    def model(self) -> str:
        """Its model's name in the routing table."""
        name = self.record.name
        return name if self.service is None else f"{name}{OF_SERVICE}{self.service}"

    @property
    def limits(self) -> ResourceConfiguration:
        return self.record.resource_configuration

    @property
    def shown(self) -> tuple[State, str | None]:
        """State and reason as they are published."""
        if self.unloaded and self.state == "idle":
            return "unloaded", UNLOADED
        return self.state, self.reason

    @property
    def size(self) -> int:
        """How many children it should have."""
        return children_of(self.record)

    @property
    def rejected(self) -> bool:
        """It was never live and will not get live by itself: another version should answer."""
        return self.state in RESTING and not self.was_live

    @property
    def proven(self) -> bool:
        """It is known to answer, from callers' requests or from its golden rows."""
        return self.answers > 0 or (self.was_live and not self.unverified)

    @property
    def children(self) -> list[Child]:
        return [] if self.replicas is None else list(self.replicas.children.values())

    def entry(self) -> VersionEntry:
        """Its entry in the routing table."""
        record, limits = self.record, self.limits
        state, reason = self.shown
        return VersionEntry(
            name=self.model,
            version=record.version,
            state=state,
            reason=None if reason is None else redact_paths(reason),
            children=tuple(child.address for child in self.children),
            description=self.description,
            schema=self.schema,
            settings=dict(record.settings),
            framework=record.framework,
            framework_version=record.framework_version,
            created_time=record.created_time.isoformat(),
            model_description=record.description,
            tags=dict(record.tags),
            properties=dict(record.properties),
            cpu=limits.cores,
            cpu_in_force=cores_in_force(limits),
            memory_in_gb=limits.memory_in_gb or 0.0,
            unverified=self.unverified,
            last_death=self.backoff.last,
            content=content_of(record) if self.replicas is None else self.content or "",
        )
