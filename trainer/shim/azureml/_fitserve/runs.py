"""The run as its own script uses it."""

import os

from azureml._fitserve import wire
from azureml._fitserve.client import call
from azureml._fitserve.kinds import class_of, make
from azureml._fitserve.recorder import Recorder
from azureml._fitserve.sinks import find_sink
from azureml._fitserve.texts import as_texts, given, registration
from azureml._fitserve.unsupported import Answering, refuse
from azureml.exceptions import RunEnvironmentException, UserErrorException

_current = {}  # context run by pid, so that a process always gets the same object


class ContextExperiment(object):
    """The experiment of a run: its name; everything else is asked from fitserve."""

    def __init__(self, name, folder):
        self.name = name
        self._folder = folder  # of the run; None outside a job

    @property
    def workspace(self):
        if self._folder is None:
            raise RunEnvironmentException(
                "this script does not run inside a job, so its run has no workspace: submit it, or use "
                "Workspace.from_config()"
            )
        return class_of("workspace")._of_run(self._folder)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(make("experiment", self.workspace, self.name), name)

    def __repr__(self):
        return "Experiment(Name: {})".format(self.name)


class Run(Recorder, Answering):
    """A run as its own script uses it, from `Run.get_context()`.

    `Run(experiment, run_id)`, `Run.get` and `Run.list` return a `remote_run.RemoteRun` instead.
    """

    def __new__(cls, *args, **kwargs):
        return object.__new__(class_of("run") if cls is Run else cls)

    @staticmethod
    def get(workspace, run_id, **kwargs):
        """The run with this id, whatever its experiment."""
        return make("run", workspace, call("run.get", workspace=workspace._facts, run=run_id))

    @staticmethod
    def list(
        experiment, type=None, tags=None, properties=None, status=None, include_children=False, _rehydrate_runs=True
    ):
        """The runs of an experiment, newest first."""
        found = call(
            "experiment.runs",
            workspace=experiment.workspace._facts,
            experiment=experiment.name,
            include_children=bool(include_children),
            **given(type=type, tags=tags, properties=properties, status=status),
        )
        return [make("run", experiment.workspace, facts) for facts in found]

    def __init__(self, sink):
        self._sink = sink
        facts = sink.facts
        self.experiment = ContextExperiment(facts.get("experiment"), getattr(sink, "folder", None))
        self.number = facts.get("number")
        self.type = facts.get("type", "azureml.scriptrun")
        self._status = "Running"

    _inside = True  # this program ends it, so it must not wait for that
    input_datasets = output_datasets = property(lambda self: _NoDatasets())

    @classmethod
    def get_context(cls, allow_offline=True, used_for_context_manager=False, **kwargs):
        """The run of this script; outside a job, one that prints what is logged."""
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
        parent = self._sink.facts.get("parent")
        return None if parent is None else Run.get(self.experiment.workspace, parent)

    @property
    def status(self):
        return self._status

    def get_status(self):
        return self._status

    @property
    def display_name(self):
        return self._text("display_name") or self.id

    @display_name.setter
    def display_name(self, name):
        self._sink.write({"type": "describe", "display_name": str(name)})

    name = display_name

    @property
    def description(self):
        return self._text("description")

    @description.setter
    def description(self, text):
        self._sink.write({"type": "describe", "description": str(text)})

    def _text(self, key):
        said = [event[key] for event in self._sink.events() if event["type"] == "describe" and key in event]
        return said[-1] if said else self._sink.facts.get(key)

    def get_metrics(self, name=None, recursive=False, run_type=None, populate=False):
        """Metrics logged so far, {name: value}; with `recursive`, {run id: metrics} of this run and its descendants."""
        if recursive:
            return self._seen().get_metrics(name, recursive, run_type)
        logged = wire.collapse((e["name"], e["kind"], e["value"]) for e in self._sink.events() if e["type"] == "metric")
        return logged if name is None else {key: value for key, value in logged.items() if key == name}

    # tags and properties

    def tag(self, key, value=None):
        self.set_tags({key: value})

    def set_tags(self, tags):
        self._sink.write({"type": "tags", "set": as_texts(tags)})

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
        """Add properties, which cannot be changed later.

        Raises:
            UserErrorException: one of them has another value already.
        """
        known = self.get_properties()
        for key, value in as_texts(properties).items():
            if known.get(key, value) != value:
                raise UserErrorException(
                    "the property {!r} is already {!r}, and properties cannot be changed".format(key, known[key])
                )
        self._sink.write({"type": "properties", "set": as_texts(properties)})

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

    # completion and child runs

    def start(self):
        pass

    def flush(self, timeout_seconds=300):
        """No effect: every call writes its event before it returns."""

    def complete(self, _set_status=True):
        """No effect: the status of a submitted run depends on how its script ends."""

    def fail(self, error_details=None, error_code=None, _set_status=True):
        """As `complete`; the details are stored in the tag ``error_details``."""
        if error_details is not None:
            self.tag("error_details", error_details)

    def cancel(self):
        """As `complete`."""

    def child_run(self, name=None, run_id=None, outputs=None):
        """Start a child run with its own metrics, tags and files."""
        return ChildRun(self._sink.child(name), self)

    def get_secret(self, name):
        return refuse("run.get_secret", "give secrets to a script by environment variables")

    def get_secrets(self, secrets):
        return self.get_secret(secrets)

    def create_children(self, count=None, tag_key=None, tag_values=None):
        """Start `count` child runs, or one for each of `tag_values`, which becomes its tag `tag_key`."""
        if (count is None) == (tag_values is None) or (tag_key is None) != (tag_values is None):
            raise UserErrorException("create_children needs either count, or tag_key and tag_values")
        children = [self.child_run() for _ in range(len(tag_values) if count is None else count)]
        for child, value in zip(children, tag_values or ()):
            child.tag(tag_key, value)
        return children

    # answered by fitserve

    def _seen(self):
        """This run as a `RemoteRun`, with everything logged so far."""
        run = Run(self.experiment, self.id)
        run._call("catch_up")
        return run

    def get_children(self, recursive=False, tags=None, properties=None, type=None, status=None, _rehydrate_runs=True):
        """Child runs, newest first."""
        return self._seen().get_children(recursive, tags, properties, type, status)

    def submit_child(self, config, tags=None, **kwargs):
        """As `Experiment.submit`, for a child of this run. It has limits of its own, and goes on when this run ends."""
        return make("experiment", self.experiment.workspace, self.experiment.name).submit(config, tags, _parent=self.id)

    def wait_for_completion(self, show_output=False, wait_post_processing=False, raise_on_error=True):
        return refuse("run.wait_for_completion inside of the run", "the run ends when its script has ended")

    def get_portal_url(self):
        return self._seen().get_portal_url()

    def get_environment(self):
        return self._seen().get_environment()

    def get_details_with_logs(self):
        return self._seen().get_details_with_logs()

    def get_all_logs(self, destination=None):
        return self._seen().get_all_logs(destination)

    def get_snapshot_id(self):
        return self.get_properties().get("ContentSnapshotId")

    def restore_snapshot(self, snapshot_id=None, path=None):
        """Write the source as it was submitted to a ZIP file in the folder `path`; returns its path."""
        return self._seen().restore_snapshot(snapshot_id, path)

    def take_snapshot(self, file_or_folder_path):
        return refuse("run.take_snapshot", "a submitted run has its snapshot; upload_folder keeps other files")

    def download_files(
        self,
        prefix=None,
        output_directory=None,
        output_paths=None,
        batch_size=100,
        append_prefix=True,
        timeout_seconds=None,
    ):
        """Copy the files below `prefix` into `output_directory`, or to `output_paths` one by one."""
        start = prefix.rstrip("/") + "/" if prefix else ""
        names = [name for name in self.get_file_names() if name.startswith(start) or name == prefix]
        if output_paths is not None and len(names) != len(output_paths):
            raise UserErrorException(
                "{} files are below {}, but output_paths has {}".format(len(names), prefix, len(output_paths))
            )
        for place, name in enumerate(names):
            kept = name if append_prefix else name[len(start) :]
            path = os.path.join(str(output_directory or "."), *kept.split("/"))
            self.download_file(name, path if output_paths is None else output_paths[place])

    def get_details(self):
        """Details from fitserve or, if it cannot be reached, those known to the script."""
        if self._sink.online:
            try:
                return self._seen().get_details()
            except RunEnvironmentException:
                pass
        return {
            "runId": self.id,
            "status": self._status,
            "target": self._sink.facts.get("target", "local"),
            "properties": self.get_properties(),
            "runDefinition": self._sink.facts.get("definition", {}),
        }

    def register_model(
        self,
        model_name,
        model_path=None,
        tags=None,
        properties=None,
        model_framework=None,
        model_framework_version=None,
        description=None,
        datasets=None,
        sample_input_dataset=None,
        sample_output_dataset=None,
        resource_configuration=None,
        **kwargs,
    ):
        """Register a file or folder of the run, by default `model_name`, as a model version.

        Inside the run, files in ./outputs and in the working folder count as they are; outside, its end is awaited first.
        """
        model = registration(locals())
        model["model_path"] = None if model_path is None else str(model_path)
        workspace = self.experiment.workspace
        facts = call("run.register_model", workspace=workspace._facts, run=self.id, inside=self._inside, model=model)
        return make("model", workspace, facts)

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


class SubmittedRun(Run):
    """Inside a job."""


class OfflineRun(Run):
    """Outside a job."""

    def __init__(self, sink):
        super(OfflineRun, self).__init__(sink)
        self.type = "Offline"


class ChildRun(Run):
    """A child run that its parent's script starts and ends."""

    def __init__(self, sink, parent):
        super(ChildRun, self).__init__(sink)
        self.experiment, self._parent = parent.experiment, parent

    @property
    def parent(self):
        return self._parent

    def wait_for_completion(self, show_output=False, wait_post_processing=False, raise_on_error=True):
        """It ends when this script says so, thus there is nothing to wait for."""
        return self.get_details()

    def _seen(self):
        self._parent._seen()  # a child's events are in its parent's file
        return Run.get(self.experiment.workspace, self.id)

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


class _NoDatasets(dict):
    """Datasets are passed as arguments; asking for one here raises an error that says so."""

    def __missing__(self, name):
        return refuse(
            "run.input_datasets[{!r}]".format(name),
            "a dataset passed as an argument becomes the path of its file; read that",
        )
