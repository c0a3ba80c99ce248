"""`azureml.core.workspace`: a fitserve workspace, for clients and for scripts inside runs."""

import os

from azureml._fitserve.client import call
from azureml._fitserve.kinds import class_of, kind
from azureml._fitserve.texts import as_path, given
from azureml._fitserve.unsupported import Answering, refuse
from azureml._fitserve.wire import RUN_DIR_VARIABLE


@kind("workspace")
class Workspace(Answering):
    """A workspace. The ids are labels; `get_details()["root"]` is its folder."""

    DEFAULT_CPU_CLUSTER_NAME = "cpu-cluster"
    DEFAULT_GPU_CLUSTER_NAME = "gpu-cluster"

    def __init__(self, subscription_id, resource_group, workspace_name, auth=None, **kwargs):
        self._facts = Workspace.get(workspace_name, auth, subscription_id, resource_group)._facts

    @classmethod
    def _of(cls, facts):
        workspace = cls.__new__(cls)
        workspace._facts = facts
        return workspace

    @classmethod
    def _of_run(cls, folder):
        return cls._of(call("workspace.of_run", folder=folder))

    @classmethod
    def from_config(cls, path=None, auth=None, _logger=None, _file_name=None):
        return cls._of(
            call(
                "workspace.from_config",
                path=as_path(path),
                folder=os.getcwd(),
                file_name=_file_name,
                run_folder=os.environ.get(RUN_DIR_VARIABLE),
            )
        )

    @classmethod
    def get(cls, name, auth=None, subscription_id=None, resource_group=None, location=None, cloud=None, id=None):
        ids = given(subscription_id=subscription_id, resource_group=resource_group, location=location)
        run_folder = os.environ.get(RUN_DIR_VARIABLE)
        return cls._of(call("workspace.get", name=name, folder=os.getcwd(), run_folder=run_folder, **ids))

    @classmethod
    def create(
        cls,
        name,
        auth=None,
        subscription_id=None,
        resource_group=None,
        location=None,
        create_resource_group=True,
        sku="basic",
        exist_ok=False,
        show_output=True,
        **kwargs,
    ):
        """Create one in ./.fitserve, or at FITSERVE_WORKSPACE. Arguments that only the cloud needs are ignored."""
        ids = given(subscription_id=subscription_id, resource_group=resource_group, location=location)
        return cls._of(
            call(
                "workspace.create",
                name=name,
                folder=os.getcwd(),
                exist_ok=bool(exist_ok),
                show_output=bool(show_output),
                **ids,
            )
        )

    @staticmethod
    def list(subscription_id=None, auth=None, resource_group=None):
        return refuse("Workspace.list", "a workspace is a folder; from_config or get opens one")

    def delete(self, *args, **kwargs):
        return refuse("Workspace.delete", "remove its folder, which get_details()['root'] names")

    def write_config(self, path=None, file_name=None):
        """Write .azureml/config.json, which `from_config` finds."""
        call("workspace.write_config", workspace=self._facts, path=as_path(path or "."), file_name=file_name)

    def get_details(self):
        return call("workspace.details", workspace=self._facts)

    @property
    def name(self):
        return self._facts["name"]

    @property
    def subscription_id(self):
        return self._facts["subscription_id"]

    @property
    def resource_group(self):
        return self._facts["resource_group"]

    @property
    def location(self):
        return self._facts["location"]

    @property
    def sku(self):
        return "basic"

    @property
    def tags(self):
        return self.get_details()["tags"]

    @property
    def models(self):
        return {model.name: model for model in class_of("model").list(self, latest=True)}

    @property
    def environments(self):
        return class_of("environment").list(self)

    @property
    def experiments(self):
        return {experiment.name: experiment for experiment in class_of("experiment").list(self)}

    @property
    def webservices(self):
        return {service.name: service for service in class_of("service").list(self)}

    @property
    def compute_targets(self):
        """Name → compute target. Every name means this machine, even if it was never created."""
        return class_of("compute targets")(self)

    @property
    def datasets(self):
        return class_of("dataset").get_all(self)

    @property
    def datastores(self):
        store = self.get_default_datastore()
        return {store.name: store}

    @property
    def images(self):
        return {}

    def get_default_datastore(self):
        return class_of("datastore")(self)

    def set_default_datastore(self, name):
        return refuse("Workspace.set_default_datastore", "there is one datastore, a folder of the workspace")

    def get_default_keyvault(self):
        return refuse("Workspace.get_default_keyvault", "give secrets to a script by environment variables")

    def get_default_compute_target(self, type="CPU"):
        return class_of("compute target")._of(self, "local")

    def get_mlflow_tracking_uri(self, with_auth=False):
        return refuse("Workspace.get_mlflow_tracking_uri", "metrics are logged by run.log")

    def get_run(self, run_id):
        return class_of("run").get(self, run_id)

    def __repr__(self):
        return "Workspace.create(name={!r}, subscription_id={!r}, resource_group={!r})".format(
            self.name, self.subscription_id, self.resource_group
        )
