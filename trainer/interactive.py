"""Interactive runs: begun and ended by a program that logs to them itself. Nothing is launched, nobody supervises them.

Such a run that its program never ends is not ended by anybody; when that program is gone it is shown as NotResponding.
"""

import os
import secrets
from collections.abc import Mapping

from registry.names import EXPERIMENT_NAME, check_name
from registry.records import RunRecord
from registry.registration import user_name
from registry.stores import disk
from registry.workspace import Workspace
from trainer.ending import finish
from trainer.errors import NotInteractive
from trainer.experiment import Experiment, facts_of, new_run_id
from trainer.folder import RunFolder
from trainer.history import INTERACTIVE_TYPE, TERMINAL, now
from trainer.mark import ProcessMark
from trainer.outcome import Outcome
from trainer.run import Run
from trainer.shim.azureml._fitserve.wire import EventReader


def begin(
    workspace: Workspace,
    experiment: str,
    display_name: str | None = None,
    tags: Mapping[str, object] | None = None,
    *,
    parent: str | None = None,
    program: int | None = None,
) -> Run:
    """A run that is Running, with a folder that takes its events and files.

    Args:
        parent: the run that it is a child of.
        program: pid of the program that logs to it, by default this one.

    Raises:
        InvalidName, DiskFull, WorkspaceReadOnly
    """
    check_name("experiment", experiment, EXPERIMENT_NAME)
    run_id = new_run_id(experiment) if parent is None else f"{parent}_{secrets.token_hex(4)}"
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
            "program": ProcessMark.of(os.getpid() if program is None else program).to_json(),
            "submitted_by": user_name(),
        },
    )
    with disk.writing(folder.root):
        folder.create()
        record = workspace.metadata.add_run(record)
        folder.write_facts(facts_of(record, workspace.identity))
    return Run(Experiment(workspace, experiment), run_id)


def end(run: Run, status: str, error: str | None = None) -> None:
    """Bring what was logged into the store, and the run to a terminal `status`. One that has ended stays as it is.

    Raises:
        NotInteractive: it ends with its script.
    """
    record = run.workspace.metadata.get_run(run.id)
    if record.type != INTERACTIVE_TYPE:
        raise NotInteractive(run.id)
    if record.status not in TERMINAL:
        run.catch_up()
        reader = EventReader(str(RunFolder(run.workspace.runs_dir / run.id).events))
        reader.read()  # all of it is in the store
        finish(run.workspace, record, Outcome(status, error), reader)
