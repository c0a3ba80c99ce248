"""Runs for programs outside them. (A run's own script uses `runs.SubmittedRun`.)"""

import os
import shutil
import tempfile

from azureml._fitserve.client import call
from azureml._fitserve.kinds import kind, make
from azureml._fitserve.runs import Run
from azureml._fitserve.sinks import FolderSink
from azureml._fitserve.texts import as_path, as_texts

INTERACTIVE_TYPE = "azureml.interactiverun"


class RemoteSink(object):
    """Sends events and files to fitserve, from outside the run."""

    def __init__(self, run):
        self._run = run

    def write(self, event):
        self._run._call("record", event=event)

    def keep_stream(self, name, stream):
        """Store the content of an open file as the run's file `name`."""
        path = getattr(stream, "name", None)
        if isinstance(path, str) and os.path.isfile(path) and stream.tell() == 0:
            self._run._call("upload", name=name, path=as_path(path))
            return
        handle, path = tempfile.mkstemp(prefix="fitserve-upload-")
        try:
            with os.fdopen(handle, "wb") as copy:
                shutil.copyfileobj(stream, copy)
            self._run._call("upload", name=name, path=path)
        finally:
            os.unlink(path)


def _asked(op):
    """A method that calls fitserve."""
    return lambda self: self._call(op)


@kind("run")
class RemoteRun(Run):
    """A run of the store. Nothing is cached; every method calls fitserve."""

    _inside = False

    def __init__(self, experiment, run_id, outputs=None, **kwargs):
        self._take(experiment, call("run.get", workspace=experiment.workspace._facts, run=run_id))

    @classmethod
    def _of(cls, workspace, facts):
        run = object.__new__(HyperDriveRun if facts["type"] == "hyperdrive" else cls)
        run._take(make("experiment", workspace, facts["experiment"]), facts)
        return run

    def _take(self, experiment, facts):
        self.experiment = experiment
        self._facts = facts
        self._sink = RemoteSink(self)
        self.number, self.type = facts["number"], facts["type"]

    def _call(self, op, **args):
        return call("run." + op, workspace=self.experiment.workspace._facts, run=self.id, **args)

    @property
    def id(self):
        return self._facts["id"]

    @property
    def workspace(self):
        return self.experiment.workspace

    @property
    def parent(self):
        parent = self._facts["parent"]
        return None if parent is None else RemoteRun(self.experiment, parent)

    @property
    def status(self):
        return self.get_status()

    get_status = _asked("get_status")

    @property
    def display_name(self):
        return self._call("describe")["display_name"]

    @display_name.setter
    def display_name(self, name):
        self._call("describe", display_name=str(name))

    name = display_name

    @property
    def description(self):
        return self._call("describe")["description"]

    @description.setter
    def description(self, text):
        self._call("describe", description=None if text is None else str(text))

    # status

    def wait_for_completion(self, show_output=False, wait_post_processing=False, raise_on_error=True):
        """Wait until the run has ended and return its details; with `show_output`, print the log as it grows."""
        return self._call("wait_for_completion", show_output=bool(show_output), raise_on_error=bool(raise_on_error))

    cancel = _asked("cancel")

    get_details = _asked("get_details")

    get_details_with_logs = _asked("get_details_with_logs")

    get_portal_url = _asked("get_portal_url")

    def get_metrics(self, name=None, recursive=False, run_type=None, populate=False):
        return self._call("get_metrics", name=name, recursive=bool(recursive), run_type=run_type)

    def get_children(self, recursive=False, tags=None, properties=None, type=None, status=None, _rehydrate_runs=True):
        """Child runs, newest first."""
        found = self._call(
            "children", recursive=bool(recursive), tags=tags, properties=properties, type=type, status=status
        )
        return iter([RemoteRun._of(self.workspace, facts) for facts in found])

    def get_environment(self):
        description = self._call("environment")
        return None if description is None else make("environment", description)

    # tags and properties

    def set_tags(self, tags):
        self._call("set_tags", tags=as_texts(tags))

    def remove_tags(self, tags):
        self._call("remove_tags", tags=tags if isinstance(tags, str) else list(tags))

    get_tags = _asked("get_tags")

    def add_properties(self, properties):
        self._call("add_properties", properties=as_texts(properties))

    get_properties = _asked("get_properties")

    # files

    get_file_names = _asked("get_file_names")

    def download_file(self, name, output_file_path=None, **kwargs):
        """Copy a file of the run to `output_file_path`, by default to its base name in the current folder."""
        self._call("download_file", name=name, path=as_path(output_file_path or os.path.basename(name)))

    def get_all_logs(self, destination=None):
        """Copy the logs to a folder; returns their paths."""
        return self._call("get_all_logs", destination=as_path(destination or "logs"))

    def restore_snapshot(self, snapshot_id=None, path=None):
        """Write the source as it was submitted to a ZIP file in the folder `path`; returns its path."""
        return self._call("restore_snapshot", snapshot_id=snapshot_id, path=as_path(path or "."))

    # completion and child runs

    def child_run(self, name=None, run_id=None, outputs=None):
        """Start a child run that this program logs to and ends."""
        facts = self._call("child", name=name, program=os.getpid())
        return InteractiveRun(self.experiment, facts, outputs)

    def complete(self, _set_status=True):
        """No effect: the status of a submitted run depends on how its script ends."""
        self._end("Completed")

    def fail(self, error_details=None, error_code=None, _set_status=True):
        """As `complete`."""
        self._end("Failed", None if error_details is None else str(error_details))

    def _end(self, status, error=None):
        if self.type == INTERACTIVE_TYPE:
            self._call("end_logging", status=status, error=error)

    def _seen(self):
        return self

    def __repr__(self):
        return "Run(Experiment: {}, Id: {}, Type: {}, Status: {})".format(
            self.experiment.name, self.id, self.type, self.get_status()
        )


@kind("interactive run")
class InteractiveRun(Run):
    """A run of `Experiment.start_logging`. This program writes to its folder, as a script does, and ends it."""

    @classmethod
    def _of(cls, experiment, facts, outputs=None):
        return cls(experiment, facts, outputs)

    def __init__(self, experiment, facts, outputs=None):
        super(InteractiveRun, self).__init__(FolderSink(facts["folder"]))
        self.experiment = experiment
        self._outputs = outputs

    @property
    def workspace(self):
        return self.experiment.workspace

    def complete(self, _set_status=True):
        self._end("Completed")

    def fail(self, error_details=None, error_code=None, _set_status=True):
        self._end("Failed", None if error_details is None else str(error_details))

    def cancel(self):
        self._end("Canceled")

    def wait_for_completion(self, show_output=False, wait_post_processing=False, raise_on_error=True):
        """Returns at once, since this program itself ends the run."""
        return self.get_details()

    @property
    def parent(self):
        parent = self._sink.facts.get("parent")
        return None if parent is None else RemoteRun(self.experiment, parent)

    def _end(self, status, error=None):
        if self._status != "Running":
            return
        if self._outputs is not None and os.path.isdir(self._outputs):
            self.upload_folder("outputs", self._outputs)
        self._status = status
        workspace = self.experiment.workspace
        call("run.end_logging", workspace=workspace._facts, run=self.id, status=status, error=error)


class HyperDriveRun(RemoteRun):
    """A sweep, whose children are the runs of its script."""

    def __init__(self, experiment, run_id, hyperdrive_config=None, **kwargs):
        RemoteRun.__init__(self, experiment, run_id)

    def _ask(self, op, **args):
        return call("sweep." + op, workspace=self.experiment.workspace._facts, run=self.id, **args)

    def get_best_run_by_primary_metric(self, include_failed=True, include_canceled=True, include_resume_from_runs=True):
        """The best run; None if no run logged the primary metric."""
        facts = self._ask(
            "best",
            include_failed=bool(include_failed),
            include_canceled=bool(include_canceled),
            include_resume_from_runs=bool(include_resume_from_runs),
        )
        return None if facts is None else RemoteRun._of(self.workspace, facts)

    def get_children_sorted_by_primary_metric(self, top=0, reverse=False, discard_no_metric=False):
        return self._ask("sorted", top=int(top), reverse=bool(reverse), discard_no_metric=bool(discard_no_metric))

    def get_hyperparameters(self):
        """{child id: sampled parameters as JSON}."""
        return self._ask("hyperparameters")

    def get_metrics(self, name=None, recursive=False, run_type=None, populate=False):
        """{child id: metrics}."""
        return self._ask("metrics", name=name)


ScriptRun = RemoteRun  # the name of the class that `Experiment.submit` returns in Azure's SDK
