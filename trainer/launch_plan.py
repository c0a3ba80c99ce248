"""LaunchPlan: what a launcher has to run, read from the run's folder so that it can start before the store is open."""

from dataclasses import dataclass
from typing import Self

from registry.locate import Identity
from registry.records import Json
from registry.resources import ResourceConfiguration


@dataclass(frozen=True)
class LaunchPlan:
    """`environment` is a digest; None means fitserve's own Python, or `interpreter` when the user manages it.

    `duration_s` None means no time limit."""

    run_id: str
    experiment: str
    workspace: Identity
    script: str | None
    command: tuple[str, ...] | None
    arguments: tuple[str, ...]
    environment: str | None
    interpreter: str | None
    limits: ResourceConfiguration | None
    duration_s: float | None

    @classmethod
    def from_facts(cls, facts: dict[str, Json]) -> Self:
        """From the content of ``run.json``."""
        definition = facts["definition"]
        command, limits = definition["command"], definition["resourceConfiguration"]
        return cls(
            run_id=facts["run_id"],
            experiment=facts["experiment"],
            workspace=Identity(**facts["workspace"]),
            script=definition["script"],
            command=tuple(command) if command else None,
            arguments=tuple(definition["arguments"]),
            environment=definition["environment"]["digest"],
            interpreter=definition["environment"].get("interpreterPath"),
            limits=ResourceConfiguration(cpu=limits["cpu"], memory_in_gb=limits["memory_in_gb"]) if limits else None,
            duration_s=definition["maxRunDurationSeconds"],
        )

    @property
    def label(self) -> str:
        """Name of the script for messages."""
        return self.script or (self.command[0] if self.command else "the script")
