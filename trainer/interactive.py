"""Interactive runs: started and ended by a program that logs to them itself. There is no launcher and no supervision.

A run that its program never ends stays Running in the store; once that program is gone, it is shown as NotResponding.
"""

import os
from collections.abc import Mapping

from registry.names import EXPERIMENT_NAME, check_name
from registry.records import RunRecord
from registry.registration import user_name
from registry.stores import disk
from registry.workspace import Workspace
from trainer.completion import finish
from trainer.errors import NotInteractive
from trainer.folder import RunFolder
from trainer.history import INTERACTIVE_TYPE, TERMINAL, catch_up, now
from trainer.outcome import Outcome
from trainer.process_id import ProcessId
from trainer.run_record import facts_of, new_run_id
from trainer.shim.azureml._fitserve.wire import EventReader


def begin(
    workspace: Workspace,
    experiment: str,
    display_name: str | None = None,
    tags: Mapping[str, object] | None = None,
    *,
    parent: str | None = None,
    program: int | None = None,
) -> str:
    """Create a run in status Running, with a folder for its events and files; returns its id.

    Args:
        parent: id of its parent run.
        program: pid of the program that logs to it, by default this one.

    Raises:
        InvalidName, DiskFull, WorkspaceReadOnly
    """
    check_name("experiment", experiment, EXPERIMENT_NAME)
    run_id = new_run_id(experiment, parent)
    folder = RunFolder(workspace.runs_dir / run_id)
    begun = now()
    record = RunRecord(
        id=run_id,
        experiment=experiment,
        number=0,
        status="Running",
        created_time=begun,
        start_time=begun,
        type=INTERACTIVE_TYPE,
        parent=parent,
        display_name=display_name,
        tags={str(key): str(value) for key, value in (tags or {}).items()},
        properties={"azureml.runsource": "interactive"},
        details={
            "program": ProcessId.of(os.getpid() if program is None else program).to_json(),
            "submitted_by": user_name(),
        },
    )
    with disk.writing(folder.root):
        folder.create()
        record = workspace.metadata.add_run(record)
        folder.write_facts(facts_of(record, workspace.identity))
    return run_id


def end(workspace: Workspace, run_id: str, status: str, error: str | None = None) -> None:
    """Store what was logged and move the run to a terminal `status`. A run that has ended is left alone.

    Raises:
        NotInteractive: the run was submitted and ends with its script.
    """
    record = workspace.metadata.get_run(run_id)
    if record.type != INTERACTIVE_TYPE:
        raise NotInteractive(run_id)
    if record.status not in TERMINAL:
        events = RunFolder(workspace.runs_dir / run_id).events
        catch_up(workspace.metadata, record, events)
        reader = EventReader(str(events))
        reader.read()  # these events are stored already
        finish(workspace, record, Outcome(status, error), reader)
