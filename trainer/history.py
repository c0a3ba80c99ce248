"""Run history: status transitions, and storing what a script logged."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from registry.errors import RunNotFound
from registry.records import Json, MetricRecord, RunRecord
from registry.stores.base import MetadataStore
from trainer.shim.azureml._fitserve.wire import KINDS, Event, EventReader, collapse

# Azure's, in its order. Runs here pass NotStarted, Starting, Preparing, Running, Finalizing, then one of TERMINAL.
STATUSES: Final = (
    "Queued",
    "NotStarted",
    "Preparing",
    "Provisioning",
    "Starting",
    "Running",
    "CancelRequested",
    "Canceled",
    "Finalizing",
    "Completed",
    "Failed",
    "Unapproved",
    "NotResponding",
    "Pausing",
    "Paused",
)
TERMINAL: Final = frozenset({"Completed", "Failed", "Canceled"})
OVER: Final = TERMINAL | {"NotResponding"}  # waiting is pointless
_RANK: Final = {
    "Queued": 0,
    "NotStarted": 0,
    "Starting": 1,
    "Provisioning": 2,
    "Preparing": 2,
    "Running": 3,
    "CancelRequested": 4,
    "Finalizing": 5,
    **dict.fromkeys(TERMINAL, 6),
}
CHILD_TYPE: Final = "azureml.childrun"
SWEEP_TYPE: Final = "hyperdrive"
INTERACTIVE_TYPE: Final = "azureml.interactiverun"  # from `start_logging`; its program ends it
#: Events that two readers may both store without undoing later changes.
_AGAIN: Final = frozenset({"metric", "child", "status"})
_TAKEN: Final = "events_taken"  # number of the last stored event of an interactive run


def now() -> datetime:
    return datetime.now(UTC)


def move(store: MetadataStore, run_id: str, status: str, **changes: Any) -> RunRecord:
    """Move a run to `status`, apply `changes` to its record, and return the resulting record.

    A run only moves forward: a step back, or out of a terminal status, changes nothing. So two processes that see the
    same end (the launcher, and one that found it dead) do not contradict each other.
    """

    def change(run: RunRecord) -> RunRecord:
        if run.status in TERMINAL or _RANK[status] < _RANK[run.status]:
            return run
        if status == "Running" and run.start_time is None:
            changes["start_time"] = now()
        if status in TERMINAL:
            changes.setdefault("end_time", now())
            changes["pid"] = None
        return replace(run, status=status, **changes)

    return store.update_run(run_id, change)


def add_details(store: MetadataStore, run_id: str, details: dict[str, Json]) -> RunRecord:
    return store.update_run(run_id, lambda run: replace(run, details={**run.details, **details}))


def take_in(store: MetadataStore, run: RunRecord, events: Sequence[tuple[int, Event]]) -> None:
    """Store events of a run's script. Events that are stored already are kept, so a reader may start over.

    The script writes this file, so nothing in it is trusted: invalid events are skipped, and events can only concern this
    run and its children.
    """
    for _, event in events:
        if event["type"] == "child":
            _add_child(store, run, event)
    store.add_metrics([m for number, event in events if (m := _metric(run, number, event)) is not None])
    for run_id, own in _by_run(run, events).items():
        if any(event["type"] in _CHANGES for event in own):
            _change(store, run_id, own)


def catch_up(store: MetadataStore, run: RunRecord, events_file: Path) -> None:
    """Store what the script has logged so far; a launcher does so twice a second."""
    if run.status in TERMINAL or not events_file.exists():
        return
    events = EventReader(str(events_file)).read()
    if run.type != INTERACTIVE_TYPE:
        take_in(store, run, [each for each in events if "run" in each[1] or each[1]["type"] in _AGAIN])
        return
    events = [each for each in events if each[0] > run.details.get(_TAKEN, -1)]  # there is no other reader
    take_in(store, run, events)
    if events:
        add_details(store, run.id, {_TAKEN: events[-1][0]})


def end_children(store: MetadataStore, run: RunRecord, status: str) -> None:
    """Children that their script did not end get the status of their parent."""
    for child in store.list_runs(parent=run.id):
        if child.status not in TERMINAL and child.type == CHILD_TYPE:
            end_children(store, child, status)
            move(store, child.id, status)


def metrics_of(store: MetadataStore, run_id: str) -> dict[str, Any]:
    """The metrics of a run, collapsed by Azure's rules."""
    return collapse((m.name, m.kind, m.value) for m in store.list_metrics(run_id))


def _metric(run: RunRecord, number: int, event: Event) -> MetricRecord | None:
    name, kind, run_id = event.get("name"), event.get("kind"), _run_id(run, event)
    if event["type"] != "metric" or not isinstance(name, str) or kind not in KINDS or run_id is None:
        return None
    step = event.get("step")
    value = event.get("value")
    if (kind in ("list",) and not isinstance(value, list)) or (
        kind in ("row", "table") and not isinstance(value, dict)
    ):
        return None
    return MetricRecord(
        run_id=run_id,
        sequence=number,
        time=_time(event.get("time")),
        name=name[:255],
        kind=str(kind),
        value=value,
        step=step if isinstance(step, int) and abs(step) < 2**63 else None,
        description=str(event.get("description") or ""),
    )


def _time(text: object) -> datetime:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return now()
    return found if found.tzinfo else now()


def _run_id(run: RunRecord, event: Event) -> str | None:
    """The run that an event concerns, or None when that is neither this run nor a child of it."""
    child = event.get("run")
    if child is None:
        return run.id
    return child if isinstance(child, str) and _is_child_id(run.id, child) else None


def _is_child_id(parent: str, child: str) -> bool:
    return child.startswith(parent + "_") and re.fullmatch(r"(_[0-9a-f]{8})+", child[len(parent) :]) is not None


def _add_child(store: MetadataStore, run: RunRecord, event: Event) -> None:
    child_id, parent = event.get("id"), event.get("parent")
    if not isinstance(child_id, str) or not _is_child_id(run.id, child_id):
        return
    if not isinstance(parent, str) or (parent != run.id and not _is_child_id(run.id, parent)):
        return
    try:
        store.get_run(child_id)
    except RunNotFound:
        begun = _time(event.get("time"))
        name = event.get("name")
        store.add_run(
            RunRecord(
                id=child_id,
                experiment=run.experiment,
                number=0,
                status="Running",
                created_time=begun,
                start_time=begun,
                parent=parent,
                type=CHILD_TYPE,
                target=run.target,
                display_name=str(name) if name else None,
            )
        )


def _by_run(run: RunRecord, events: Iterable[tuple[int, Event]]) -> dict[str, list[Event]]:
    result: dict[str, list[Event]] = {}
    for _, event in events:
        run_id = _run_id(run, event)
        if run_id is not None:
            result.setdefault(run_id, []).append(event)
    return result


def _change(store: MetadataStore, run_id: str, events: list[Event]) -> None:
    def change(run: RunRecord) -> RunRecord:
        for event in events:
            step = _CHANGES.get(event["type"])
            run = step(run, event) if step else run
        return run

    try:
        store.update_run(run_id, change)
    except RunNotFound:
        return  # a child without a valid event of its start
    for event in events:
        status = event.get("status")
        if event["type"] == "status" and event.get("run") and status in TERMINAL:
            error = event.get("error")
            move(store, run_id, str(status), error=str(error) if error else None)


def _tags(run: RunRecord, event: Event) -> RunRecord:
    removed = event.get("remove") or ()
    tags = {key: value for key, value in {**run.tags, **_mapping(event.get("set"))}.items() if key not in removed}
    return replace(run, tags=tags)


def _properties(run: RunRecord, event: Event) -> RunRecord:
    return replace(run, properties={**_mapping(event.get("set")), **run.properties})  # existing properties are kept


def _describe(run: RunRecord, event: Event) -> RunRecord:
    known = {key: str(event[key]) for key in ("display_name", "description") if event.get(key)}
    return replace(run, **known)  # type: ignore[arg-type]  # two text fields


def _unchanged(run: RunRecord, event: Event) -> RunRecord:  # noqa: ARG001
    """A status is applied by `move`, after the other changes."""
    return run


def _mapping(value: object) -> dict[str, str]:
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}


_CHANGES: Final[dict[str, Callable[[RunRecord, Event], RunRecord]]] = {
    "tags": _tags,
    "properties": _properties,
    "describe": _describe,
    "status": _unchanged,
}
