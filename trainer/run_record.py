"""Views of a run's record: ids, facts for its script, definition, details."""

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from registry.locate import Identity
from registry.records import Json, RunRecord
from trainer.folder import RunFolder


def new_run_id(experiment: str, parent: str | None = None) -> str:
    """Azure's form: experiment, seconds since 1970, eight hexadecimal digits. A child's id starts with its parent's."""
    return (
        f"{experiment}_{int(time.time())}_{secrets.token_hex(4)}"
        if parent is None
        else f"{parent}_{secrets.token_hex(4)}"
    )


def label_of(run: RunRecord) -> str:
    """Name of the script for messages."""
    command = run.details.get("command")
    return run.script or (str(command[0]) if command else "the script")


def facts_of(run: RunRecord, workspace: Identity) -> dict[str, Json]:
    """Content of ``run.json``, read by the shim's `FolderSink` and by `LaunchPlan`."""
    return {
        "workspace": asdict(workspace),
        "run_id": run.id,
        "experiment": run.experiment,
        "number": run.number,
        "type": run.type,
        "target": run.target,
        "parent": run.parent,
        "display_name": run.display_name,
        "tags": dict(run.tags),
        "properties": dict(run.properties),
        "definition": definition_of(run),
    }


def definition_of(run: RunRecord) -> dict[str, Json]:
    """``runDefinition``: what was submitted."""
    environment = {"name": run.details.get("environment_name"), "digest": run.environment}
    if run.details.get("interpreter_path"):
        environment["interpreterPath"] = run.details["interpreter_path"]
    return {
        "script": run.script,
        "command": run.details.get("command"),
        "arguments": list(run.arguments),
        "target": run.target,
        "environment": environment,
        "maxRunDurationSeconds": run.details.get("max_run_duration_seconds"),
        "resourceConfiguration": run.details.get("resources"),
        "sourceDirectory": run.details.get("source_directory"),
    }


def details_of(run: RunRecord, folder: RunFolder) -> dict[str, Json]:
    """Azure's keys and, where set, fitserve's own; see `trainer.sdk.Run.get_details`."""
    details: dict[str, Json] = {
        "runId": run.id,
        "target": run.target,
        "status": run.status,
        "startTimeUtc": _iso(run.start_time),
        "endTimeUtc": _iso(run.end_time),
        "properties": dict(run.properties),
        "inputDatasets": [],
        "outputDatasets": [],
        "runDefinition": definition_of(run),
        "logFiles": {name: folder.files.joinpath(name).as_uri() for name in log_names(folder.names())},
        "submittedBy": run.details.get("submitted_by"),
    }
    if run.error is not None:
        details["error"] = {"error": {"code": "UserError", "message": run.error}}
    for key in ("usage", "left_behind", "interpreter", "warnings"):
        if run.details.get(key):
            details[key] = run.details[key]
    return {key: value for key, value in details.items() if value is not None}


def log_names(names: Iterable[str]) -> list[str]:
    """The names that are logs."""
    return [name for name in names if name.split("/")[0] in ("user_logs", "azureml-logs")]


def meets(have: Mapping[str, str], asked: Any) -> bool:
    """Whether tags or properties match `asked`: a key, a {key: value}, or a list of these, all of which must match."""
    if asked is None:
        return True
    if isinstance(asked, str):
        return asked in have
    if isinstance(asked, Mapping):
        return all(have.get(str(key)) == str(value) for key, value in asked.items())
    return all(meets(have, one) for one in asked)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def script_in(snapshot: Path, run: RunRecord) -> Path | None:
    """The script that ran, in the run's snapshot. For a command: the first Python file in it."""
    words = [run.script] if run.script else [str(word) for word in run.details.get("command") or ()]
    found = (snapshot / word for word in words if word.endswith((".py", ".ipynb")) and not Path(word).is_absolute())
    return next((path for path in found if path.is_file()), None)
