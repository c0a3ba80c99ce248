"""Completion of a run: by its launcher, or by any process that finds the launcher killed."""

import contextlib
import os
import signal
from dataclasses import replace

from registry.records import RunRecord
from registry.workspace import Workspace
from trainer.compute.base import find_target
from trainer.folder import RunFolder
from trainer.history import CHILD_TYPE, INTERACTIVE_TYPE, TERMINAL, add_details, end_children, move, take_in
from trainer.log import last_lines
from trainer.mlflow_store import take_metrics
from trainer.outcome import Outcome, with_last_lines
from trainer.process_id import ProcessId, has_variable, session_members
from trainer.run_record import label_of
from trainer.shim.azureml._fitserve.wire import EventReader


def finish(workspace: Workspace, run: RunRecord, outcome: Outcome, reader: EventReader | None = None) -> RunRecord:
    """Store what was logged, collect the files and set the terminal status, once the script has ended for whatever reason."""
    store, folder = workspace.metadata, RunFolder(workspace.runs_dir / run.id)
    with contextlib.suppress(OSError):  # the disk is full; events of the script itself are still read
        take_metrics(folder, run.created_time)
    take_in(store, run, (reader or EventReader(str(folder.events))).read())
    try:
        left = folder.collect()
    except OSError as error:
        left = [f"outputs ({error.strerror})"]
        if outcome.status == "Completed":
            outcome = Outcome("Failed", f"its files could not be collected: {error}", outcome.exit_code)
    if left:
        add_details(store, run.id, {"left_behind": left})
    end_children(store, run, outcome.status)
    return move(store, run.id, outcome.status, error=outcome.error, exit_code=outcome.exit_code)


def settle(workspace: Workspace, run: RunRecord) -> RunRecord:
    """Return the record. A run that has not ended and whose launcher is gone is ended as Failed, with the reason.

    What the script logged and wrote is kept; processes that it left running are killed.
    """
    if run.status in TERMINAL or run.type == CHILD_TYPE:
        return run
    if run.type == INTERACTIVE_TYPE:
        return _responding(run)
    reason = find_target(run.target).lost(workspace, run)
    if reason is None:
        return run
    now = workspace.metadata.get_run(run.id)  # it may have ended properly in the meantime
    if now.status in TERMINAL:
        return now
    _end_orphans(now)
    log = RunFolder(workspace.runs_dir / run.id).log
    status = "Canceled" if now.status == "CancelRequested" else "Failed"
    sentence = f"{label_of(now)} did not finish: {reason}"
    return finish(
        workspace, now, Outcome(status, None if status == "Canceled" else with_last_lines(sentence, last_lines(log)))
    )


def _responding(run: RunRecord) -> RunRecord:
    """A run that a program logs to. When that program is gone, another one may still end the run, so its record is kept."""
    program = ProcessId.from_json(run.details.get("program"))
    gone = program is not None and program.here and not program.alive
    return replace(run, status="NotResponding") if gone else run


def _end_orphans(run: RunRecord) -> None:
    """The script dies with its launcher; processes that it started are found by their session and by the run's id."""
    session = run.details.get("script_pid")
    for pid in session_members(int(session)) if session else ():
        if has_variable(pid, "AZUREML_RUN_ID", run.id):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
