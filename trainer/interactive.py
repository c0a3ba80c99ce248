"""Interactive runs: begun and ended by a program that logs to them itself. Nothing is launched, nobody supervises them.
And what others than its script log to a run.

Such a run that its program never ends stays Running, as it does in Azure.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing

from registry.names import EXPERIMENT_NAME, check_name
from registry.records import RunRecord
from registry.stores import disk
from registry.workspace import Workspace
from trainer.ending import finish
from trainer.errors import NotInteractive
from trainer.experiment import Experiment, facts_of, new_run_id
from trainer.folder import RunFolder
from trainer.history import INTERACTIVE_TYPE, TERMINAL, now, take_in
from trainer.outcome import Outcome
from trainer.run import Run
from trainer.shim.azureml._fitserve.wire import Event, EventReader, EventWriter


def begin(
    workspace: Workspace, experiment: str, display_name: str | None = None, tags: Mapping[str, object] | None = None
) -> Run:
    """A run that is Running, with a folder that takes its events and files.

    Raises:
        InvalidName, DiskFull, WorkspaceReadOnly
    """
    check_name("experiment", experiment, EXPERIMENT_NAME)
    run_id = new_run_id(experiment)
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
        display_name=display_name,
        tags={str(key): str(value) for key, value in (tags or {}).items()},
        properties={"azureml.runsource": "interactive"},
    )
    with disk.writing(folder.root):
        folder.create()
        record = workspace.metadata.add_run(record)
        folder.write_facts(facts_of(record, workspace.name))
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
        finish(run.workspace, record, Outcome(status, error))


def record_events(run: Run, events: Sequence[Event]) -> None:
    """Log to a run from outside of it: beside its script, or when that has ended."""
    record = run.workspace.metadata.get_run(run.id)
    folder = RunFolder(run.workspace.runs_dir / run.id)
    writer = EventWriter(str(folder.root))
    with closing(writer):
        for event in events:
            writer.write(event)
    take_in(run.workspace.metadata, record, EventReader(str(folder.events)).read())
