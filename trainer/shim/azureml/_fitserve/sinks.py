"""Where a run writes: to the run's folder inside a job, to standard output outside."""

import json
import os
import shutil
import tempfile
import uuid

from azureml._fitserve import wire
from azureml.exceptions import RunEnvironmentException, UserErrorException

_CALLS = {"scalar": "scalar", "list": "list", "row": "row", "table": "table", "image": "image"}


class FolderSink:
    """Inside a job: events and files in the run's folder. A child run's events go to its parent's file."""

    online = True

    def __init__(self, folder, run_id=None, parent=None, name=None):
        self.folder = folder
        self._writer = parent._writer if parent else wire.EventWriter(folder)
        self._child = run_id if parent else None
        self._root = parent._root if parent else folder
        if parent:
            self.facts = {
                "run_id": run_id,
                "experiment": parent.facts.get("experiment"),
                "parent": parent.run_id,
                "display_name": name,
                "type": "azureml.childrun",
            }
        else:
            self.facts = _read_facts(folder)
        self.run_id = self.facts["run_id"]

    def write(self, event):
        if self._child:
            event["run"] = self._child
        self._writer.write(event)

    def events(self):
        """All events of this run so far, from all processes."""
        for _, event in wire.EventReader(os.path.join(self._root, wire.EVENTS_NAME)).read():
            if event.get("run") == self._child:
                yield event

    def child(self, name):
        child_id = "{}_{}".format(self.run_id, uuid.uuid4().hex[:8])
        folder = os.path.join(os.path.dirname(os.path.abspath(self._root)), child_id)
        os.makedirs(os.path.join(folder, wire.FILES_NAME), mode=0o700)
        sink = FolderSink(folder, child_id, self, name)
        sink._writer.write({"type": "child", "id": child_id, "name": name, "parent": self.run_id})
        return sink

    def keep_stream(self, name, stream):
        """Store the content of an open file as the run's file `name`."""
        target = os.path.join(self.folder, wire.FILES_NAME, *name.split("/"))
        try:
            wire.write_file(stream, target)
        except FileExistsError:
            raise UserErrorException(
                "Resource Conflict: ArtifactId ExperimentRun/dcid.{}/{} already exists.".format(self.run_id, name)
            ) from None

    def names(self):
        return wire.list_files(self.folder)

    def find(self, name):
        return wire.find_file(self.folder, name)


class PrintSink:
    """Outside a job: metrics are printed, and remembered for `get_metrics`; files are not copied."""

    online = False

    def __init__(self):
        self.run_id = "OfflineRun_{}".format(uuid.uuid4())
        self.facts = {"run_id": self.run_id, "experiment": None}
        self._events = []

    def write(self, event):
        self._events.append(event)
        if event["type"] == "metric":
            kind = _CALLS.get(event["kind"], event["kind"].replace("_", " "))
            print("Attempted to log {} metric {}:\n{}".format(kind, event["name"], event["value"]))

    def events(self):
        return iter(self._events)

    def child(self, name):
        return PrintSink()

    def keep_stream(self, name, stream):
        print("Attempted to upload file {}".format(name))

    def names(self):
        return []

    def find(self, name):
        return None


def find_sink(allow_offline):
    """The sink for this process.

    Raises:
        RunEnvironmentException: the process is not inside a job, and `allow_offline` is False.
    """
    folder = os.environ.get(wire.RUN_DIR_VARIABLE)
    if folder and os.environ.get("AZUREML_RUN_ID") and os.path.isdir(folder):
        return FolderSink(folder)
    if not allow_offline:
        raise RunEnvironmentException(
            "Could not load a submitted run: this process was not started by one. If it is meant to run on its own, "
            "use Run.get_context(allow_offline=True)"
        )
    return PrintSink()


def save_plot(plot):
    """Save a matplotlib figure, or pyplot's current one, to a temporary PNG; returns its path."""
    handle, path = tempfile.mkstemp(suffix=".png")
    os.close(handle)
    plot.savefig(path, format="png")
    return path


def download(source, target):
    folder = os.path.dirname(os.path.abspath(target))
    os.makedirs(folder, exist_ok=True)
    shutil.copyfile(source, target)


def _read_facts(folder):
    with open(os.path.join(folder, wire.RUN_NAME), encoding="utf-8") as file:
        return json.load(file)
