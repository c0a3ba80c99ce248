"""`azureml.core.experiment`."""

import os

from azureml._fitserve.client import call
from azureml._fitserve.kinds import class_of, kind, make
from azureml._fitserve.texts import as_texts
from azureml._fitserve.unsupported import Answering, refuse
from azureml.exceptions import UserErrorException


@kind("experiment")
class Experiment(Answering):
    """A named group of runs."""

    def __init__(self, workspace, name, _skip_name_validation=False, **kwargs):
        self.workspace = workspace
        self.name = name
        self._id = call("experiment.check", workspace=workspace._facts, name=name)

    @classmethod
    def _of(cls, workspace, name):
        """An experiment with a name that is known to be valid."""
        made = cls.__new__(cls)
        made.workspace, made.name, made._id = workspace, name, None
        return made

    @property
    def id(self):
        if self._id is None:
            self._id = call("experiment.check", workspace=self.workspace._facts, name=self.name)
        return self._id

    @property
    def tags(self):
        return call("named.list", workspace=self.workspace._facts, kind="experiment").get(self.name, {})

    def tag(self, key, value=None):
        self.set_tags({key: value})

    def set_tags(self, tags):
        self._keep_tags(dict(self.tags, **as_texts(tags)))

    def remove_tags(self, tags):
        gone = [tags] if isinstance(tags, str) else list(tags)
        self._keep_tags({key: value for key, value in self.tags.items() if key not in gone})

    def _keep_tags(self, tags):
        call("named.put", workspace=self.workspace._facts, kind="experiment", name=self.name, value=tags)

    @property
    def archived_time(self):
        return None

    def submit(self, config, tags=None, **kwargs):
        """Start the run that `config` describes, and return it at once."""
        own, parent = getattr(config, "_submit", None), kwargs.get("_parent")
        if own is not None:
            return own(self, tags, parent)
        if not hasattr(config, "_described"):
            raise UserErrorException("submit takes a ScriptRunConfig, not {}".format(type(config).__name__))
        facts = call(
            "experiment.submit",
            workspace=self.workspace._facts,
            experiment=self.name,
            config=config._described(),
            tags=as_texts(tags),
            parent=parent,
        )
        return make("run", self.workspace, facts)

    def start_logging(self, *args, **kwargs):
        """Start a run that this program logs to itself, and ends by `complete` or `fail`. No snapshot is taken."""
        facts = call(
            "experiment.start_logging",
            workspace=self.workspace._facts,
            experiment=self.name,
            name=kwargs.get("display_name"),
            program=os.getpid(),
        )
        return make("interactive run", self, facts, kwargs.get("outputs"))

    def get_runs(self, type=None, tags=None, properties=None, include_children=False):
        """The runs, newest first."""
        return iter(class_of("run").list(self, type, tags, properties, include_children=include_children))

    @staticmethod
    def list(workspace, experiment_name=None, view_type="ActiveOnly", tags=None):
        """Experiments that have runs, by name; all `tags` must match."""
        names = call("experiment.list", workspace=workspace._facts)
        found = [Experiment._of(workspace, name) for name in names if experiment_name in (None, name)]
        if tags is None:
            return found
        asked = {tags: None} if isinstance(tags, str) else dict(tags)
        return [
            each
            for each in found
            if all(key in each.tags and value in (None, each.tags[key]) for key, value in asked.items())
        ]

    @staticmethod
    def delete(workspace, experiment_id):
        return refuse("Experiment.delete", "runs are kept; `fitserve runs` lists them")

    def archive(self):
        return refuse("Experiment.archive", "runs are kept; `fitserve runs` lists them")

    reactivate = archive

    def get_portal_url(self):
        return self.workspace.get_details()["root"]

    def refresh(self):
        """No effect: nothing is cached."""

    def __repr__(self):
        return "Experiment(Name: {}, Workspace: {})".format(self.name, self.workspace.name)
