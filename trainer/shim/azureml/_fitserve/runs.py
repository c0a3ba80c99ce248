"""The run that a script talks to."""

import os
import re
import time

from azureml._fitserve import values, wire
from azureml._fitserve.sinks import download, find_sink, save_plot
from azureml.exceptions import RunEnvironmentException, UserErrorException

_current = {}  # the context run of this process by its pid, so that it is the same one at every call


class ContextExperiment(object):
    """The experiment of the run: its name, and what fitserve is asked for when something else is wanted."""

    def __init__(self, name, folder):
        self.name = name
        self._folder = folder  # of the run; None outside a job

    @property
    def workspace(self):
        from azureml.core.workspace import Workspace

        if self._folder is None:
            raise RunEnvironmentException(
                "this script does not run inside a job, so its run has no workspace: submit it, or use "
                "Workspace.from_config()"
            )
        return Workspace._of_run(self._folder)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        from azureml.core.experiment import Experiment

        return getattr(Experiment(self.workspace, self.name), name)

    def __repr__(self):
        return "Experiment(Name: {})".format(self.name)


class Run(object):
    """A run as its own script sees it. `Run.get_context()` gives it.

    `Run(experiment, run_id)`, `Run.get` and `Run.list` give runs as others see them: `remote_run.RemoteRun`.
    """

    def __new__(cls, *args, **kwargs):
        if cls is Run:
            from azureml._fitserve.remote_run import RemoteRun

            cls = RemoteRun
        return object.__new__(cls)

    @staticmethod
    def get(workspace, run_id, **kwargs):
        """The run with that id, of whichever experiment."""
        from azureml._fitserve import remote_run

        return remote_run.get(workspace, run_id)

    @staticmethod
    def list(
        experiment, type=None, tags=None, properties=None, status=None, include_children=False, _rehydrate_runs=True
    ):
        """The runs of an experiment, newest first."""
        from azureml._fitserve import remote_run

        return remote_run.list_runs(experiment, type, tags, properties, status, include_children)

    def __init__(self, sink):
        self._sink = sink
        facts = sink.facts
        self.experiment = ContextExperiment(facts.get("experiment"), getattr(sink, "folder", None))
        self.number = facts.get("number")
        self.type = facts.get("type", "azureml.scriptrun")
        self._status = "Running"

    @classmethod
    def get_context(cls, allow_offline=True, used_for_context_manager=False, **kwargs):
        """The run that this script belongs to; outside a job one that prints what is logged."""
        run = _current.get(os.getpid())
        if run is None or (not allow_offline and not run._sink.online):
            sink = find_sink(allow_offline)
            run = SubmittedRun(sink) if sink.online else OfflineRun(sink)
            _current[os.getpid()] = run
        return run

    @property
    def id(self):
        return self._sink.run_id

    @property
    def parent(self):
        """Azure gives a run; what is known of it here is its id."""
        return self._sink.facts.get("parent")

    @property
    def status(self):
        return self._status

    def get_status(self):
        return self._status

    @property
    def display_name(self):
        name = self._sink.facts.get("display_name")
        for event in self._sink.events():
            if event["type"] == "describe" and "display_name" in event:
                name = event["display_name"]
        return name or self.id

    @display_name.setter
    def display_name(self, name):
        self._sink.write({"type": "describe", "display_name": str(name)})

    name = display_name

    @property
    def description(self):
        text = self._sink.facts.get("description")
        for event in self._sink.events():
            if event["type"] == "describe" and "description" in event:
                text = event["description"]
        return text

    @description.setter
    def description(self, text):
        self._sink.write({"type": "describe", "description": str(text)})

    # logging

    def log(self, name, value, description="", step=None):
        self._metric(name, "scalar", values.one_scalar(name, value), description, step)

    def log_list(self, name, value, description="", **kwargs):
        self._metric(name, "list", values.many(name, value), description)

    def log_row(self, name, description=None, **kwargs):
        self._metric(name, "row", {key: values.scalar(value, name) for key, value in kwargs.items()}, description)

    def log_table(self, name, value, description="", **kwargs):
        self._metric(name, "table", values.columns(name, value), description)

    def log_image(self, name, path=None, plot=None, description="", **kwargs):
        """Keep an image, given as the path of a file or as a matplotlib plot."""
        if (path is None) == (plot is None):
            raise UserErrorException("run.log_image needs exactly one of path and plot for image {!r}".format(name))
        source = save_plot(plot) if path is None else path
        ending = os.path.splitext(source)[1] or ".png"
        file_name = "{}_{}{}".format(re.sub(r"[^A-Za-z0-9._ -]", "_", str(name)), int(time.time() * 1000), ending)
        try:
            with open(source, "rb") as stream:
                self._sink.keep_stream(file_name, stream)
        finally:
            if path is None:
                os.unlink(source)
        where = "aml://artifactId/ExperimentRun/dcid.{}/{}".format(self.id, file_name)
        self._metric(name, "image", where, description)

    def log_confusion_matrix(self, name, value, description="", **kwargs):
        self._structured(name, "confusion_matrix", value, description)

    def log_accuracy_table(self, name, value, description="", **kwargs):
        self._structured(name, "accuracy_table", value, description)

    def log_residuals(self, name, value, description="", **kwargs):
        self._structured(name, "residuals", value, description)

    def log_predictions(self, name, value, description="", **kwargs):
        self._structured(name, "predictions", value, description)

    def get_metrics(self, name=None, recursive=False, run_type=None, populate=False):
        """What this run has logged so far, {name: value}."""
        logged = wire.collapse((e["name"], e["kind"], e["value"]) for e in self._sink.events() if e["type"] == "metric")
        return logged if name is None else {key: value for key, value in logged.items() if key == name}

    # tags and properties

    def tag(self, key, value=None):
        self.set_tags({key: value})

    def set_tags(self, tags):
        self._sink.write({"type": "tags", "set": _texts(tags)})

    def remove_tags(self, tags):
        self._sink.write({"type": "tags", "remove": [tags] if isinstance(tags, str) else [str(tag) for tag in tags]})

    def get_tags(self):
        tags = dict(self._sink.facts.get("tags") or {})
        for event in self._sink.events():
            if event["type"] == "tags":
                tags.update(event.get("set", {}))
                for key in event.get("remove", ()):
                    tags.pop(key, None)
        return tags

    @property
    def tags(self):
        return self.get_tags()

    def add_properties(self, properties):
        """Add facts that never change.

        Raises:
            UserErrorException: one of them has another value already.
        """
        known = self.get_properties()
        for key, value in _texts(properties).items():
            if known.get(key, value) != value:
                raise UserErrorException(
                    "the property {!r} is {!r} already, and properties cannot be changed".format(key, known[key])
                )
        self._sink.write({"type": "properties", "set": _texts(properties)})

    def get_properties(self):
        properties = dict(self._sink.facts.get("properties") or {})
        for event in self._sink.events():
            if event["type"] == "properties":
                for key, value in event["set"].items():
                    properties.setdefault(key, value)
        return properties

    @property
    def properties(self):
        return self.get_properties()

    # files

    def upload_file(self, name, path_or_stream, datastore_name=None):
        """Keep a file with the run, as `name`, at once."""
        name = str(name).replace(os.sep, "/")
        if not wire.is_plain_name(name):
            raise UserErrorException("{!r} is not a name for a run's file: give a relative path".format(name))
        if hasattr(path_or_stream, "read"):
            self._sink.keep_stream(name, path_or_stream)
            return
        if not os.path.isfile(path_or_stream):
            raise UserErrorException("there is no file {} to upload as {}".format(path_or_stream, name))
        with open(path_or_stream, "rb") as stream:
            self._sink.keep_stream(name, stream)

    def upload_files(self, names, paths, return_artifacts=False, timeout_seconds=None, datastore_name=None):
        if len(names) != len(paths):
            raise UserErrorException(
                "run.upload_files needs as many names as paths, but got {} and {}".format(len(names), len(paths))
            )
        for name, path in zip(names, paths):
            self.upload_file(name, path)

    def upload_folder(self, name, path, datastore_name=None):
        if not os.path.isdir(path):
            raise UserErrorException("there is no folder {} to upload as {}".format(path, name))
        for top, _, files in os.walk(path):
            for file_name in files:
                full = os.path.join(top, file_name)
                self.upload_file("{}/{}".format(name, os.path.relpath(full, path).replace(os.sep, "/")), full)

    def get_file_names(self):
        return self._sink.names()

    def download_file(self, name, output_file_path=None, **kwargs):
        """Copy a file of the run to `output_file_path`, by default to its base name in the current folder."""
        source = self._sink.find(name)
        if source is None:
            raise UserErrorException(
                "File with path {} was not found, available files include: {}".format(
                    name, ", ".join(self._sink.names())
                )
            )
        target = output_file_path or os.path.basename(name)
        if os.path.isdir(target):
            target = os.path.join(target, os.path.basename(name))
        download(source, target)

    # life

    def start(self):
        pass

    def flush(self, timeout_seconds=300):
        """Nothing waits here: every call has written its line when it returns."""

    def complete(self, _set_status=True):
        """The status of a submitted run is decided by how its script ends."""

    def fail(self, error_details=None, error_code=None, _set_status=True):
        """As `complete`; the details are kept as the tag ``error_details``."""
        if error_details is not None:
            self.tag("error_details", error_details)

    def cancel(self):
        """As `complete`."""

    def child_run(self, name=None, run_id=None, outputs=None):
        """A run below this one, with metrics, tags and files of its own."""
        return ChildRun(self._sink.child(name))

    def get_details(self):
        return {
            "runId": self.id,
            "status": self._status,
            "target": self._sink.facts.get("target", "local"),
            "properties": self.get_properties(),
            "runDefinition": self._sink.facts.get("definition", {}),
        }

    def register_model(self, model_name, model_path=None, **kwargs):
        """Register a file or folder of this run, what it has in ./outputs so far among them, as a model version."""
        return self._register(model_name, model_path, True, kwargs)

    def _register(self, model_name, model_path, inside, given):
        from azureml._fitserve.client import call
        from azureml._fitserve.texts import registration
        from azureml.core.model import Model

        workspace = self.experiment.workspace
        model = registration(
            model_name,
            given.get("tags"),
            given.get("properties"),
            given.get("description"),
            given.get("model_framework"),
            given.get("model_framework_version"),
            given.get("sample_input_dataset"),
            given.get("sample_output_dataset"),
            given.get("resource_configuration"),
        )
        model["model_path"] = None if model_path is None else str(model_path)
        facts = call("run.register_model", workspace=workspace._facts, run=self.id, inside=inside, model=model)
        return Model._of(workspace, facts)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            self.fail(error_details=repr(error))
        else:
            self.complete()
        return False

    def __repr__(self):
        return "Run(Experiment: {}, Id: {}, Type: {}, Status: {})".format(
            self.experiment.name, self.id, self.type, self._status
        )

    def _metric(self, name, kind, value, description="", step=None):
        event = {"type": "metric", "name": str(name), "kind": kind, "value": value}
        if step is not None:
            event["step"] = int(step)
        if description:
            event["description"] = str(description)
        event["time"] = wire.now()
        self._sink.write(event)

    def _structured(self, name, kind, value, description):
        self._metric(name, kind, values.structured(name, value, kind), description)


class SubmittedRun(Run):
    """Inside a job."""


class OfflineRun(Run):
    """Outside a job."""

    def __init__(self, sink):
        super(OfflineRun, self).__init__(sink)
        self.type = "Offline"


class ChildRun(Run):
    """Begun by its parent's script, and ended by it."""

    def complete(self, _set_status=True):
        self._end("Completed")

    def fail(self, error_details=None, error_code=None, _set_status=True):
        self._end("Failed", str(error_details) if error_details is not None else None)

    def cancel(self):
        self._end("Canceled")

    def _end(self, status, error=None):
        if self._status == "Running":
            self._status = status
            self._sink.write({"type": "status", "status": status, "error": error})


def _texts(items):
    """Keys and values as Azure keeps them: text, or None."""
    return {str(key): None if value is None else str(value) for key, value in items.items()}
