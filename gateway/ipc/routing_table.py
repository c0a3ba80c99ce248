"""The routing table: what the supervisor publishes, and what HTTP processes look requests up in.

One frozen entry per model and per version, and a message form that carries only what changed. A look-up costs two
dictionary accesses whatever the number of models. The table holds no connections and knows no transport; `gateway.ipc.control`
carries its messages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from registry.records import Json

State = Literal["preparing", "starting", "live", "failed", "idle", "unloaded", "draining", "quarantined"]

#: States from which a "want" makes the version live, if it fits; "failed" and "quarantined" need a person or a change.
STARTABLE: Final = frozenset({"preparing", "starting", "idle", "draining"})


#: Between a model's name and a service's, where that has children of its own; no name holds it.
OF_SERVICE: Final = "@"


@dataclass(frozen=True, slots=True)
class ChildAddress:
    """A scoring child that takes frames. `id` is the supervisor's number for it, never given twice."""

    id: int
    socket: str


@dataclass(frozen=True, slots=True)
class LastDeath:
    """Why the version has to be started again, for a 503 that helps. Sizes in GB (2**30 bytes)."""

    cause: str  # "memory", "signal 9", "exit 3", "stuck"
    sentence: str  # "model iris:1 exceeded its memory limit of 0.5 GB (peak 0.51 GB) and is being restarted"
    limit_gb: float | None = None
    peak_gb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionEntry:
    """One version of a model as an HTTP process sees it.

    `children` is empty unless the version takes requests. `description` is what the child said of the loaded model,
    `schema` is `gateway.schema.infer.schema_for(...)` of it; both are None until it was loaded once. `reason` is the sentence of a
    "failed" or "quarantined" version, or why an "idle" one is not running. `max_compute_s` and others are in `settings`.
    """

    name: str
    version: int
    state: State
    reason: str | None = None
    children: tuple[ChildAddress, ...] = ()
    description: Mapping[str, Json] | None = None
    schema: Mapping[str, Json] | None = None
    settings: Mapping[str, Json] = field(default_factory=dict)
    framework: str | None = None
    framework_version: str | None = None
    created_time: str = ""  # ISO 8601, UTC
    model_description: str | None = None  # the text given at registration
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    cpu: float = 1.0  # as asked for
    cpu_in_force: float = 1.0  # at most the machine's
    memory_in_gb: float = 0.5
    unverified: bool = False  # no golden rows could be made
    last_death: LastDeath | None = None  # set from a death until the next child is live
    content: str = ""  # what its children were opened with, see `registry.inference.content_of`

    @property
    def id(self) -> str:
        return f"{self.name}:{self.version}"

    def to_json(self) -> dict[str, Json]:
        data: dict[str, Json] = {key: getattr(self, key) for key in self.__dataclass_fields__}
        data["children"] = [{"id": child.id, "socket": child.socket} for child in self.children]
        data["limits"] = {name: data.pop(name) for name in ("cpu", "cpu_in_force", "memory_in_gb")}
        if self.last_death is not None:
            death = self.last_death
            data["last_death"] = {key: getattr(death, key) for key in death.__dataclass_fields__}
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> "VersionEntry":
        values: dict[str, Any] = dict(data)
        values["children"] = tuple(ChildAddress(**child) for child in values.get("children", ()))
        values.update(values.pop("limits", {}))
        if values.get("last_death") is not None:
            values["last_death"] = LastDeath(**values["last_death"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model: `latest` is the highest registered version, `live` the one that answers when no version is named.

    `live` stays the old version while a new one starts, and for good when the new one fails. It is None until a first version
    was live; then `current` is the latest, whose state and reason explain why nothing answers.
    """

    name: str
    latest: int
    live: int | None
    versions: Mapping[int, VersionEntry]

    @property
    def current(self) -> VersionEntry:
        """The version a request without a version is for."""
        return self.versions[self.latest if self.live is None else self.live]

    def to_json(self) -> dict[str, Json]:
        versions = {str(number): entry.to_json() for number, entry in self.versions.items()}
        return {"name": self.name, "latest": self.latest, "live": self.live, "versions": versions}

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> "ModelEntry":
        versions = {int(number): VersionEntry.from_json(entry) for number, entry in data["versions"].items()}
        return cls(name=data["name"], latest=data["latest"], live=data["live"], versions=versions)


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """A deployed service: another name for a model, or for one version of it.

    `version` None is whichever is live. `keys` holds SHA-256 hex digests of the service's own keys; None: it asks for
    none beside those of the gateway. `alone`: it has children of its own, under limits of its own.
    """

    name: str
    model: str
    version: int | None = None
    keys: tuple[str, ...] | None = None
    alone: bool = False

    @property
    def served_by(self) -> str:
        """The name in the table of what answers: the model, or the model as this service has it."""
        return f"{self.model}{OF_SERVICE}{self.name}" if self.alone else self.model

    @property
    def number(self) -> int | None:
        """The version that is asked there. What is the service's own has no other than the service wants."""
        return None if self.alone else self.version

    def to_json(self) -> dict[str, Json]:
        keys = None if self.keys is None else list(self.keys)
        return {"name": self.name, "model": self.model, "version": self.version, "keys": keys, "alone": self.alone}

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> "ServiceEntry":
        keys = data["keys"]
        return cls(data["name"], data["model"], data["version"], None if keys is None else tuple(keys), data["alone"])


class RoutingTable:
    """All models by name, with the revision of the last message that was applied.

    `keys` holds SHA-256 hex digests of the accepted keys, or None when no key is asked for. `default` is the model of
    ``POST /score``, `default_service` the service by whose terms it answers there, if it is one.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.models: dict[str, ModelEntry] = {}
        self.services: dict[str, ServiceEntry] = {}
        self.default: str | None = None
        self.default_service: str | None = None
        self.keys: frozenset[str] | None = None

    @property
    def registered(self) -> dict[str, ModelEntry]:
        """Without what is a service's own."""
        return {name: entry for name, entry in self.models.items() if OF_SERVICE not in name}

    def model(self, name: str) -> ModelEntry | None:
        return self.models.get(name)

    def version(self, name: str, version: int | None = None) -> VersionEntry | None:
        """That version, or the one that answers when none is named. None: not registered."""
        model = self.models.get(name)
        if model is None:
            return None
        return model.current if version is None else model.versions.get(version)

    def children(self) -> frozenset[int]:
        """Ids of all children that take requests."""
        entries = (entry for model in self.models.values() for entry in model.versions.values())
        return frozenset(child.id for entry in entries for child in entry.children)

    def apply(self, message: Mapping[str, Json]) -> frozenset[str]:
        """Take over a "table" message; gives the names whose entry changed or went away."""
        changed = {name: ModelEntry.from_json(data) for name, data in message.get("set", {}).items()}
        removed = [name for name in message.get("remove", ()) if name in self.models]
        self.models.update(changed)
        for name in removed:
            del self.models[name]
        self.default = message.get("default")
        self.default_service = message.get("default_service")
        moved = self._take_services(message)
        auth = message.get("auth")
        self.keys = None if auth is None else frozenset(auth["keys"])
        self.revision = message["revision"]
        return frozenset(changed) | frozenset(removed) | moved

    def _take_services(self, message: Mapping[str, Json]) -> frozenset[str]:
        """The names of the models whose paths change by that: of those that services mean, and of their namesakes."""
        if "services" not in message:
            return frozenset()
        old, new = self.services, {each["name"]: ServiceEntry.from_json(each) for each in message["services"]}
        self.services = new
        different = [name for name in old.keys() | new.keys() if old.get(name) != new.get(name)]
        means = {each.served_by for table in (old, new) for name in different if (each := table.get(name)) is not None}
        return (frozenset(different) | means) & self.models.keys()


class Publisher:
    """The supervisor's side of the table: keeps what was published and says what changed since."""

    def __init__(self) -> None:
        self.revision = 0
        self._models: dict[str, dict[str, Json]] = {}
        self._default: str | None = None
        self._default_service: str | None = None
        self._services: list[Json] = []
        self._auth: dict[str, Json] | None = None

    def update(
        self,
        models: Mapping[str, ModelEntry | None],
        default: str | None,
        keys: frozenset[str] | None,
        services: Sequence[ServiceEntry] = (),
        default_service: str | None = None,
    ) -> dict[str, Json] | None:
        """The message that brings what was published up to date, or None when nothing changed.

        `models` holds those that may have changed; None stands for one that is gone. The others stay as they are.
        """
        changed: dict[str, Json] = {}
        removed = []
        for name, entry in models.items():
            if entry is None:
                if self._models.pop(name, None) is not None:
                    removed.append(name)
            elif self._models.get(name) != (data := entry.to_json()):
                self._models[name] = changed[name] = data
        auth = None if keys is None else {"keys": sorted(keys)}
        now = [service.to_json() for service in services]
        moved = now != self._services
        same = (default, default_service, auth) == (self._default, self._default_service, self._auth)
        if self.revision and not changed and not removed and not moved and same:
            return None
        self._default, self._default_service, self._services, self._auth = default, default_service, now, auth
        self.revision += 1
        message = self._message(changed, removed)
        return message | {"services": now} if moved else message

    def whole(self) -> dict[str, Json]:
        """The message for an HTTP process that knows nothing yet."""
        return self._message(self._models, []) | {"services": self._services}

    def _message(self, changed: Mapping[str, Json], removed: list[str]) -> dict[str, Json]:
        return {
            "op": "table",
            "revision": self.revision,
            "set": dict(changed),
            "remove": removed,
            "default": self._default,
            "default_service": self._default_service,
            "auth": self._auth,
        }
