"""A run seen from outside of it. (Its own script sees it as `runs.SubmittedRun`.)"""

import os
import shutil
import tempfile

from azureml._fitserve.client import call
from azureml._fitserve.runs import Run
from azureml._fitserve.sinks import FolderSink
from azureml._fitserve.texts import as_path, as_texts, given

INTERACTIVE_TYPE = "azureml.interactiverun"


class RemoteSink(object):
    """Sends what is logged from outside of a run to fitserve."""

    def __init__(self, run):
        self._run = run

    def write(self, event):
        self._run._call("record", event=event)

    def keep_stream(self, name, stream):
        """Make the bytes of an open file the run's file `name`."""
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


class RemoteRun(Run):
    """Nothing is cached: every question is asked of fitserve."""

    _inside = False

    def __init__(self, experiment, run_id, outputs=None, **kwargs):
        self._take(experiment, call("run.get", workspace=experiment.workspace._facts, run=run_id))

    @classmethod
    def _of(cls, experiment, facts):
        if cls is RemoteRun and facts["type"] == "hyperdrive":
            from azureml._fitserve.hyperdrive import HyperDriveRun as cls
        run = cls.__new__(cls)
        run._take(experiment, facts)
        return run

    @classmethod
    def _found(cls, workspace, facts):
        from azureml.core.experiment import Experiment

        return cls._of(Experiment(workspace, facts["experiment"]), facts)

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

    def get_status(self):
        return self._call("get_status")

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

    # how it goes

    def wait_for_completion(self, show_output=False, wait_post_processing=False, raise_on_error=True):
        """Wait for its end, with `show_output` print its log as it grows; gives the details."""
        return self._call("wait_for_completion", show_output=bool(show_output), raise_on_error=bool(raise_on_error))

    def cancel(self):
        self._call("cancel")

    def get_details(self):
        return self._call("get_details")

    def get_details_with_logs(self):
        return self._call("get_details_with_logs")

    def get_portal_url(self):
        return self._call("get_portal_url")

    def get_metrics(self, name=None, recursive=False, run_type=None, populate=False):
        return self._call("get_metrics", name=name, recursive=bool(recursive), run_type=run_type)

    def get_children(self, recursive=False, tags=None, properties=None, type=None, status=None, _rehydrate_runs=True):
        """Child runs, newest first."""
        found = self._call(
            "children", recursive=bool(recursive), tags=tags, properties=properties, type=type, status=status
        )
        return iter([RemoteRun._of(self.experiment, facts) for facts in found])

    def get_environment(self):
        from azureml.core.environment import Environment

        description = self._call("environment")
        return None if description is None else Environment._of(description)

    # tags and properties

    def set_tags(self, tags):
        self._call("set_tags", tags=as_texts(tags))

    def remove_tags(self, tags):
        self._call("remove_tags", tags=tags if isinstance(tags, str) else list(tags))

    def get_tags(self):
        return self._call("get_tags")

    def add_properties(self, properties):
        self._call("add_properties", properties=as_texts(properties))

    def get_properties(self):
        return self._call("get_properties")

    # files

    def get_file_names(self):
        return self._call("get_file_names")

    def download_file(self, name, output_file_path=None, **kwargs):
        """Copy a file of the run to `output_file_path`, by default to its base name in the current folder."""
        self._call("download_file", name=name, path=as_path(output_file_path or os.path.basename(name)))

    def get_all_logs(self, destination=None):
        """Copy the logs into a folder; gives their paths."""
        return self._call("get_all_logs", destination=as_path(destination or "logs"))

    def restore_snapshot(self, snapshot_id=None, path=None):
        """The source as it was submitted, as a ZIP file in the folder `path`; gives the path of that file."""
        return self._call("restore_snapshot", snapshot_id=snapshot_id, path=as_path(path or "."))

    # its end, where a program decides that, and what is below it

    def child_run(self, name=None, run_id=None, outputs=None):
        """A run below this one, for this program to log to and to end."""
        facts = self._call("child", name=name, program=os.getpid())
        return InteractiveRun(self.experiment, facts, outputs)

    def complete(self, _set_status=True):
        """The status of a submitted run is decided by how its script ends."""
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


class InteractiveRun(Run):
    """A run of `Experiment.start_logging`: this program writes to its folder, as a script does, and ends it."""

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
        """It ends when this program says so, thus there is nothing to wait for."""
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


def get(workspace, run_id):
    """For `Run.get`."""
    return RemoteRun._found(workspace, call("run.get", workspace=workspace._facts, run=run_id))


def list_runs(experiment, type, tags, properties, status, include_children):
    """For `Run.list`."""
    found = call(
        "experiment.runs",
        workspace=experiment.workspace._facts,
        experiment=experiment.name,
        include_children=bool(include_children),
        **given(type=type, tags=tags, properties=properties, status=status),
    )
    return [RemoteRun._of(experiment, facts) for facts in found]
