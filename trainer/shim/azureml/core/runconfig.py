"""`azureml.core.runconfig`: settings of a run. Script, arguments, environment, target, duration and command have an effect."""

from azureml._fitserve.unsupported import Answering, unsupported
from azureml.core.environment import Environment

DEFAULT_CPU_IMAGE = "fitserve"
DEFAULT_GPU_IMAGE = "fitserve"
_DEFAULT_DURATION_S = 30 * 24 * 3600


class DockerConfiguration(Answering):
    """Stored without effect: fitserve runs processes, not containers."""

    def __init__(self, use_docker=False, shared_volumes=True, arguments=None, shm_size="2g"):
        self.use_docker, self.shared_volumes = use_docker, shared_volumes
        self.arguments, self.shm_size = list(arguments or []), shm_size


class RunConfiguration(Answering):
    def __init__(
        self,
        script=None,
        arguments=None,
        framework=None,
        communicator=None,
        conda_dependencies=None,
        command=None,
        **kwargs,
    ):
        self.script = script
        self.arguments = list(arguments or [])
        self.command = command
        self.framework = framework or "Python"
        self.communicator = communicator or "None"
        self.node_count = 1
        self.max_run_duration_seconds = _DEFAULT_DURATION_S
        self.target = "local"
        self.docker = DockerConfiguration()
        self.environment_variables = {}
        self.strict_python = False  # fitserve's addition: reject a newer Python than requested
        self._environment = None
        if conda_dependencies is not None:
            self.environment.python.conda_dependencies = conda_dependencies

    @property
    def environment(self):
        """Created at first use, so that old code can fill it in: run_config.environment.python.conda_dependencies = …"""
        if self._environment is None:
            self._environment = Environment("run-config")
        return self._environment

    @environment.setter
    def environment(self, environment):
        self._environment = environment


MpiConfiguration = unsupported("MpiConfiguration", "runs here are single processes")
PyTorchConfiguration = unsupported("PyTorchConfiguration", "runs here are single processes")
TensorflowConfiguration = unsupported("TensorflowConfiguration", "runs here are single processes")
