"""The chain that several objects make: what is done, in which order, with which object. Kept with a model version as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from registry.records import Json

Do = Literal["before", "encode", "map", "dummies", "names", "in_place", "stage"]
After = Literal["labels", "threshold", "inverse", "function"]

#: The setting of a model version that holds its plan.
PLAN = "plan"


#: How a plan names a function of the script, whose definitions travel with the version.
OF_SCRIPT: Final = "__main__:"


def functions_of_script(plan: Mapping[str, Json] | None) -> list[str]:
    """The names of the script's functions that a plan calls."""
    named = [step["values"] for step in (plan or {}).get("steps") or () if step["do"] == "before"]
    return [place.removeprefix(OF_SCRIPT) for place in named if place.startswith(OF_SCRIPT)]


@dataclass(frozen=True)
class Step:
    """`part` is the id of the object that does it; `columns` those it is done to; `values` what else it needs."""

    do: Do | After
    part: str | None = None
    columns: tuple[str, ...] = ()
    values: Any = None

    def to_json(self) -> dict[str, Json]:
        return {"do": self.do, "part": self.part, "columns": list(self.columns), "values": self.values}


@dataclass(frozen=True)
class Plan:
    """`names` are the columns that a caller gives, where they are known. `parts` maps ids to files and keys in them."""

    model: str
    steps: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    names: tuple[str, ...] | None = None
    parts: Mapping[str, tuple[str, str | int | None]] = field(default_factory=dict)
    table: Sequence[tuple[str, str, str]] = ()  # file, class, what goes in and out

    def to_json(self) -> dict[str, Json]:
        return {
            "model": self.model,
            "steps": [step.to_json() for step in self.steps],
            "after": [step.to_json() for step in self.after],
            "names": None if self.names is None else list(self.names),
            "parts": {id: list(place) for id, place in self.parts.items()},
            "table": [list(row) for row in self.table],
        }

    @property
    def is_trivial(self) -> bool:
        """One object that answers by itself."""
        return not self.steps and not self.after and self.names is None

    def lines(self) -> list[str]:
        """The table for a person, in the order of the chain."""
        widths = [max((len(row[i]) for row in self.table), default=0) for i in (0, 1)]
        return [f"{file:<{widths[0]}}  {kind:<{widths[1]}}  {flow}".rstrip() for file, kind, flow in self.table]
