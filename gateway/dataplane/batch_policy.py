"""How many requests may travel together, from the settings, the registration and what the model says of itself."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.ipc.routing_table import VersionEntry
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Most rows and bytes of a frame, except that a single request may be larger. `max_compute_s` in seconds."""

    rows: int = 1024
    nbytes: int = 4_000_000
    batching: bool = True
    alone: frozenset[str] = frozenset()  # methods that answer differently for rows together
    max_compute_s: float = 60.0


def policy_for(settings: Settings, entry: VersionEntry) -> BatchPolicy:
    own, description = entry.settings, entry.description or {}
    described: Iterable[object] = (description.get("batchable"), own.get("batching"), own.get("batchable"))
    known = not description.get("proving")  # whether rows together are answered as each alone
    return BatchPolicy(
        rows=settings.batch_rows,
        nbytes=int(settings.batch_mb * 1e6),
        batching=known and all(word is not False for word in described),
        alone=frozenset(description.get("unbatchable") or ()),
        max_compute_s=_positive(own.get("max_compute_s")) or settings.max_compute_s,
    )


def _positive(value: object) -> float | None:
    """A registered value, if it is a positive number."""
    return float(value) if isinstance(value, int | float) and value > 0 else None
