"""Events of a run: JSON lines in ``events.jsonl`` of the run's folder; writer, reader, and how they add up to metrics.

An event is one line, written by one ``os.write`` to a file opened with O_APPEND, so that several processes may log.
The line number is the event's number. Every event has ``type`` and ``time``; events of a child run have ``run``:

======================  ============================================================================
``metric``              ``name``, ``kind`` (one of `KINDS`), ``value``, ``step``, ``description``
``tags``                ``set`` {key: text}, ``remove`` [key]
``properties``          ``set`` {key: text}
``describe``            ``display_name`` and/or ``description``
``child``               ``id``, ``name``: a child run has started
``status``              ``status``, ``error``: of child runs only; the launcher sets a submitted run's status
======================  ============================================================================

fitserve imports this file too, so it is typed. Python 3.6, standard library.
"""

import json
import os
from datetime import datetime, timezone
from typing import Any, Dict, Iterable, List, Optional, Tuple

Event = Dict[str, Any]

EVENTS_NAME = "events.jsonl"
RUN_NAME = "run.json"
FILES_NAME = "files"
SNAPSHOT_NAME = "snapshot"
MANIFEST_NAME = "snapshot.json"
COLLECTED = ("outputs", "logs")  # folders in the working directory whose files belong to the run
RUN_DIR_VARIABLE = "FITSERVE_RUN_DIR"

KINDS = ("scalar", "list", "row", "table", "image", "confusion_matrix", "accuracy_table", "residuals", "predictions")
_TABULAR = ("row", "table")
_CHUNK = 1 << 20
_PART = ".fitserve-part"  # suffix of incomplete files


def now() -> str:
    """The current time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat()


class EventWriter:
    """Used by the script. Safe to use from several threads and processes."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, EVENTS_NAME)
        self._descriptor = -1

    def write(self, event: Event) -> None:
        """Append one event.

        Raises:
            OSError: the disk is full or the folder is gone.
        """
        event.setdefault("time", now())
        line = json.dumps(event, separators=(",", ":")).encode("ascii") + b"\n"
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        while line:  # writes are partial only on a nearly full disk
            line = line[os.write(self._descriptor, line) :]

    def close(self) -> None:
        """Close the file. In a script, process exit does it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class EventReader:
    """Used by fitserve: reads complete new lines, with their numbers. Lines that are not events are skipped."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = 0
        self._number = 0

    def read(self) -> List[Tuple[int, Event]]:
        events = []
        try:
            file = open(self._path, "rb")
        except OSError:
            return []
        with file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._offset += len(line)
                event = _parse(line)
                if event is not None:
                    events.append((self._number, event))
                self._number += 1
        return events


def _parse(line: bytes) -> Optional[Event]:
    try:
        event = json.loads(line.decode("utf-8"))
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("type"), str) else None


def collapse(metrics: Iterable[Tuple[str, str, Any]]) -> Dict[str, Any]:
    """The result of `get_metrics` for (name, kind, value) in the order of logging.

    A scalar logged once is a value, logged repeatedly a list; lists are concatenated; rows and tables form one table:
    ``{column: value}`` for one row, ``{column: [values]}`` for more, with None where a row lacks the column. If a name was
    logged with different kinds, the last kind wins.
    """
    logged = {}  # type: Dict[str, List[Tuple[str, Any]]]
    for name, kind, value in metrics:
        logged.setdefault(name, []).append((kind, value))
    return {name: _collapse_one(calls) for name, calls in logged.items()}


def _collapse_one(calls: List[Tuple[str, Any]]) -> Any:
    last = calls[-1][0]
    if last in _TABULAR:
        return _table([(kind, value) for kind, value in calls if kind in _TABULAR])
    if last == "list" or (last == "scalar" and any(kind == "list" for kind, _ in calls)):
        flat = []  # type: List[Any]
        for kind, value in calls:
            if kind in ("list", "scalar"):
                flat.extend(value if kind == "list" else [value])
        return flat
    values = [value for kind, value in calls if kind == last]
    return values[0] if len(values) == 1 else values


def _table(calls: List[Tuple[str, Any]]) -> Dict[str, Any]:
    rows = []  # type: List[Dict[str, Any]]
    for kind, value in calls:
        rows.extend([value] if kind == "row" else _rows(value))
    columns = []  # type: List[str]
    for row in rows:
        columns.extend(column for column in row if column not in columns)
    if len(rows) == 1:
        return dict(rows[0])
    return {column: [row.get(column) for row in rows] for column in columns}


def _rows(table: Dict[str, List[Any]]) -> List[Dict[str, Any]]:
    length = max([len(values) for values in table.values()] or [0])
    return [{name: values[i] if i < len(values) else None for name, values in table.items()} for i in range(length)]


def list_files(folder: str) -> List[str]:
    """Names of a run's files: stored ones and, while the script runs, those in ./outputs and ./logs.

    Files of the snapshot are not products of the run. Links to folders are not followed; a link to a file counts if it
    stays below the run's folder.
    """
    names = set(_below(os.path.join(folder, FILES_NAME), "", folder))
    brought = _brought(folder)
    for part in COLLECTED:
        below = _below(os.path.join(folder, SNAPSHOT_NAME, part), part + "/", folder)
        names.update(name for name in below if name not in brought)
    return sorted(names)


def find_file(folder: str, name: str) -> Optional[str]:
    """The path of a run's file, or None. `name` is one of `list_files`."""
    for base in (FILES_NAME, SNAPSHOT_NAME):
        if base == SNAPSHOT_NAME and (name.split("/", 1)[0] not in COLLECTED or name in _brought(folder)):
            continue
        path = os.path.join(folder, base, *name.split("/"))
        if is_plain_name(name) and os.path.isfile(path) and stays_below(path, folder):
            return path
    return None


def is_plain_name(name: str) -> bool:
    """Whether `name` is a relative path with ``/`` that cannot leave its folder."""
    parts = name.split("/")
    return bool(name) and "\0" not in name and "\\" not in name and not any(part in ("", ".", "..") for part in parts)


def stays_below(path: str, folder: str) -> bool:
    """Whether `path`, with links resolved, is inside `folder`."""
    root = os.path.realpath(folder)
    return os.path.realpath(path).startswith(root + os.sep)


def copy_file(source: str, target: str) -> None:
    """Copy the bytes of `source` to the new file `target`, atomically.

    Raises:
        FileExistsError: `target` already exists.
        OSError: the disk is full, or `source` cannot be read.
    """
    with open(source, "rb") as file:
        write_file(file, target)


def write_file(stream: Any, target: str) -> None:
    """As `copy_file`, from an open binary file."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    part = "{}.{}{}".format(target, os.getpid(), _PART)
    try:
        with open(part, "wb") as out:
            for piece in iter(lambda: stream.read(_CHUNK), b""):
                out.write(piece)
        _name(part, target)
    finally:
        if os.path.exists(part):
            os.unlink(part)


def _name(part: str, target: str) -> None:
    """Rename a complete file without replacing an existing one."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # the file system has no hard links
        if os.path.exists(target):
            raise FileExistsError(target) from None
        os.rename(part, target)


def _brought(folder: str) -> Dict[str, str]:
    """The files of the snapshot at submission, name → SHA-256."""
    try:
        with open(os.path.join(folder, MANIFEST_NAME), encoding="utf-8") as file:
            files = json.load(file)  # type: Dict[str, str]
    except OSError:
        return {}
    return files


def _below(top: str, prefix: str, folder: str) -> Iterable[str]:
    for path, _, files in os.walk(top):
        rel = os.path.relpath(path, top)
        start = prefix if rel == "." else prefix + rel.replace(os.sep, "/") + "/"
        for name in files:
            full = os.path.join(path, name)
            if name.endswith(_PART) or not os.path.isfile(full) or not stays_below(full, folder):
                continue
            yield start + name
