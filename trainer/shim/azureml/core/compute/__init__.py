"""`azureml.core.compute`. Every compute target is this machine; creating one stores its name."""

from azureml._fitserve.client import call
from azureml._fitserve.kinds import kind
from azureml._fitserve.unsupported import Answering, refuse, unsupported
from azureml.exceptions import ComputeTargetException

_HERE = "runs are executed on this machine"


@kind("compute target")
class ComputeTarget(Answering):
    """A name for this machine.

    Raises:
        ComputeTargetException: no target of that name was created.
    """

    type = "AmlCompute"

    def __new__(cls, workspace=None, name=None, **kwargs):
        if workspace is None:  # by copy or pickle
            return object.__new__(cls)
        known = call("named.list", workspace=workspace._facts, kind="compute_target")
        if name not in known and name != "local":
            raise ComputeTargetException(
                "ComputeTargetNotFound: Compute Target with name {} not found in provided workspace".format(name)
            )
        return cls._of(workspace, name, known.get(name))

    @classmethod
    def _of(cls, workspace, name, facts=None):
        facts = facts or {}
        target = object.__new__(AksCompute if facts.get("type") == AksCompute.type else AmlCompute)
        target.workspace, target.name, target._facts = workspace, name, facts
        return target

    def __init__(self, workspace, name, **kwargs):
        pass

    @staticmethod
    def create(workspace, name, provisioning_configuration):
        """Store the name. Nothing is provisioned."""
        facts = provisioning_configuration._described()
        call("named.put", workspace=workspace._facts, kind="compute_target", name=name, value=facts)
        return ComputeTarget._of(workspace, name, facts)

    @staticmethod
    def attach(workspace, name, attach_configuration):
        return refuse("ComputeTarget.attach", _HERE)

    @staticmethod
    def list(workspace):
        known = call("named.list", workspace=workspace._facts, kind="compute_target")
        return [ComputeTarget._of(workspace, name, facts) for name, facts in known.items()]

    provisioning_state = "Succeeded"
    location = "local"

    @property
    def tags(self):
        return dict(self._facts.get("tags") or {})

    @property
    def vm_size(self):
        return self._facts.get("vm_size", "")

    def wait_for_completion(
        self, show_output=False, min_node_count=None, timeout_in_minutes=25, is_delete_operation=False
    ):
        if show_output:
            print("Succeeded\n{} is this machine; there was nothing to wait for".format(self.name))

    def get_status(self):
        return AmlComputeStatus(self)

    def delete(self):
        call("named.delete", workspace=self.workspace._facts, kind="compute_target", name=self.name)

    def update(self, *args, **kwargs):
        """No effect: there are no nodes to add."""

    def refresh_state(self):
        """No effect: nothing is cached."""

    def serialize(self):
        return dict(self._facts, name=self.name, type=self.type, provisioningState=self.provisioning_state)

    def __repr__(self):
        return "{}(workspace={!r}, name={})".format(type(self).__name__, self.workspace, self.name)


class AmlCompute(ComputeTarget):
    """A training cluster by name; runs are executed on this machine."""

    _compute_type = "AmlCompute"

    @staticmethod
    def provisioning_configuration(
        vm_size="",
        vm_priority="dedicated",
        min_nodes=0,
        max_nodes=None,
        idle_seconds_before_scaledown=1800,
        tags=None,
        description=None,
        **kwargs,
    ):
        return ProvisioningConfiguration(vm_size, vm_priority, min_nodes, max_nodes, tags, description)

    @staticmethod
    def supported_vmsizes(workspace, location=None):
        return refuse("AmlCompute.supported_vmsizes", _HERE)


class AksCompute(ComputeTarget):
    """A cluster for services by name; services are deployed on this machine."""

    type = _compute_type = "AKS"

    class ClusterPurpose(object):
        FAST_PROD = "FastProd"
        DEV_TEST = "DevTest"

    @staticmethod
    def provisioning_configuration(agent_count=None, vm_size=None, *args, **kwargs):
        """Accepts Azure's arguments; no cluster is created."""
        made = ProvisioningConfiguration(
            vm_size or "", "dedicated", 0, agent_count, kwargs.get("tags"), kwargs.get("description")
        )
        made.type = AksCompute.type
        return made

    @staticmethod
    def attach_configuration(*args, **kwargs):
        return refuse(
            "AksCompute.attach_configuration", "services are deployed on this machine; create a target instead"
        )


class ProvisioningConfiguration(Answering):
    """Stored with the name, without effect."""

    type = "AmlCompute"

    def __init__(self, vm_size, vm_priority, min_nodes, max_nodes, tags, description):
        self.vm_size, self.vm_priority = vm_size, vm_priority
        self.min_nodes, self.max_nodes = min_nodes, max_nodes
        self.tags, self.description = tags, description

    def _described(self):
        return {"type": self.type, "vm_size": self.vm_size, "tags": self.tags, "description": self.description}


class AmlComputeStatus(Answering):
    def __init__(self, target):
        self._target = target
        self.allocation_state = "Steady"
        self.provisioning_state = "Succeeded"
        self.current_node_count = self.target_node_count = 1
        self.vm_size = target.vm_size
        self.errors = None

    def serialize(self):
        return {
            "allocationState": self.allocation_state,
            "provisioningState": self.provisioning_state,
            "currentNodeCount": 1,
            "targetNodeCount": 1,
            "vmSize": self.vm_size,
            "errors": None,
        }


@kind("compute targets")
class ComputeTargets(dict):
    """`Workspace.compute_targets`. Unknown names also mean this machine."""

    def __init__(self, workspace):
        super(ComputeTargets, self).__init__({target.name: target for target in ComputeTarget.list(workspace)})
        self["local"] = ComputeTarget._of(workspace, "local")
        self._workspace = workspace

    def __missing__(self, name):
        print("Compute target {} is this machine.".format(name))
        return ComputeTarget._of(self._workspace, name)


BatchCompute = unsupported("BatchCompute", _HERE)
ComputeInstance = unsupported("ComputeInstance", _HERE)
DataFactoryCompute = unsupported("DataFactoryCompute", _HERE)
DatabricksCompute = unsupported("DatabricksCompute", _HERE)
DsvmCompute = unsupported("DsvmCompute", _HERE)
HDInsightCompute = unsupported("HDInsightCompute", _HERE)
RemoteCompute = unsupported("RemoteCompute", _HERE)
SynapseCompute = unsupported("SynapseCompute", _HERE)
