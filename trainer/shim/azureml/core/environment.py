"""`azureml.core.environment`."""

import json
import os

from azureml._fitserve.client import call
from azureml._fitserve.kinds import kind
from azureml._fitserve.texts import as_path
from azureml._fitserve.unsupported import Answering, refuse
from azureml.core.conda_dependencies import CondaDependencies
from azureml.exceptions import UserErrorException

_FILE = "azureml_environment.json"
_CONTAINERS = "fitserve runs processes, not containers; use from_conda_specification or from_pip_requirements"


class PythonSection(Answering):
    def __init__(self, **kwargs):
        self.user_managed_dependencies = False
        self.interpreter_path = "python"
        self.conda_dependencies_file = None
        self.base_conda_environment = None
        self.conda_dependencies = CondaDependencies()
        self.strict_python = False  # fitserve's addition: reject a newer Python than requested


class DockerSection(Answering):
    """Stored without effect: fitserve runs processes, not containers."""

    def __init__(self, **kwargs):
        self.enabled = False
        self.base_image = None
        self.base_dockerfile = None
        self.base_image_registry = None
        self.build_context = None
        self.platform = None
        self.shared_volumes = True
        self.gpu_support = False
        self.arguments = []
        self.shm_size = "2g"


@kind("environment")
class Environment(Answering):
    """A named description of a Python and its packages."""

    def __init__(self, name, **kwargs):
        self.name = name
        self.version = None
        self.python = PythonSection()
        self.docker = DockerSection()
        self.spark = None
        self.r = None
        self.environment_variables = {}
        self.inferencing_stack_version = None

    @classmethod
    def _of(cls, description):
        made = cls(description["name"])
        made.version = description["version"]
        made.python.conda_dependencies._take(description)
        made.python.user_managed_dependencies = description["user_managed"]
        made.python.interpreter_path = description.get("interpreter_path") or "python"
        made.environment_variables = dict(description["variables"])
        return made

    def _described(self):
        path = str(self.python.interpreter_path or "python")
        packages = self.python.conda_dependencies or CondaDependencies()
        if self.python.conda_dependencies_file is not None:
            packages = CondaDependencies(self.python.conda_dependencies_file)
        return {
            "name": self.name,
            "version": self.version,
            "python": packages.python_version,
            "conda": packages.conda_packages,
            "pip": packages.pip_packages,
            "pip_options": packages.pip_options,
            "channels": packages.conda_channels,
            "variables": {str(key): str(value) for key, value in (self.environment_variables or {}).items()},
            "user_managed": bool(self.python.user_managed_dependencies),
            "interpreter_path": as_path(path) if os.sep in path else path,  # fitserve's current folder differs
        }

    def _stored(self, workspace):
        """Store it in the workspace; returns its digest."""
        return call("environment.store", workspace=workspace._facts, environment=self._described())

    @staticmethod
    def get(workspace, name, version=None, label=None):
        """A curated environment of Azure's, or one registered in the workspace."""
        return Environment._of(
            call("environment.get", workspace=workspace._facts, name=name, version=version, label=label)
        )

    @staticmethod
    def list(workspace):
        found = call("environment.list", workspace=workspace._facts)
        return {name: Environment._of(description) for name, description in found.items()}

    def register(self, workspace):
        registered = call("environment.register", workspace=workspace._facts, environment=self._described())
        self.version = registered["version"]
        return self

    @staticmethod
    def from_conda_specification(name, file_path):
        return Environment._of(call("environment.from_conda", name=name, path=as_path(file_path)))

    @staticmethod
    def from_pip_requirements(name, file_path, pip_version=None):
        return Environment._of(call("environment.from_pip", name=name, path=as_path(file_path)))

    @staticmethod
    def from_existing_conda_environment(name, conda_environment_name):
        return refuse("Environment.from_existing_conda_environment", "export it: conda env export > environment.yml")

    @staticmethod
    def from_docker_image(name, image, container_registry=None, conda_specification=None, pip_requirements=None):
        """Only the packages are used, not the image."""
        if conda_specification is not None:
            return Environment.from_conda_specification(name, conda_specification)
        if pip_requirements is not None:
            return Environment.from_pip_requirements(name, pip_requirements)
        return refuse("Environment.from_docker_image without packages", _CONTAINERS)

    @staticmethod
    def from_dockerfile(name, dockerfile, conda_specification=None, pip_requirements=None):
        if conda_specification is None and pip_requirements is None:
            return refuse("Environment.from_dockerfile without packages", _CONTAINERS)
        return Environment.from_docker_image(name, None, None, conda_specification, pip_requirements)

    @staticmethod
    def from_docker_build_context(name, docker_build_context):
        return refuse("Environment.from_docker_build_context", _CONTAINERS)

    @staticmethod
    def add_private_pip_wheel(workspace, file_path, exist_ok=False):
        return refuse("Environment.add_private_pip_wheel", "name the wheel's path in a requirements file")

    @staticmethod
    def label(workspace, name, version, labels):
        return refuse("Environment.label", "there is only the label latest; name the version")

    def clone(self, new_name):
        return Environment._of(dict(self._described(), name=new_name, version=None))

    def build(self, workspace, image_build_compute=None):
        """Build the interpreter now rather than at the start of a run."""
        return _Build(call("environment.build", workspace=workspace._facts, environment=self._described()))

    def build_local(self, workspace, platform=None, **kwargs):
        return self.build(workspace)

    def get_image_details(self, workspace):
        return refuse("Environment.get_image_details", _CONTAINERS)

    def save_to_directory(self, path, overwrite=False):
        path = str(path)
        file = os.path.join(path, _FILE)
        if os.path.exists(file) and not overwrite:
            raise UserErrorException("{} exists; pass overwrite=True to replace it".format(file))
        os.makedirs(path, exist_ok=True)
        with open(file, "w", encoding="utf-8") as stream:
            json.dump(self._described(), stream, indent=4)

    @staticmethod
    def load_from_directory(path):
        try:
            with open(os.path.join(str(path), _FILE), encoding="utf-8") as stream:
                description = json.load(stream)
        except OSError as error:
            raise UserErrorException("no environment was saved in {}: {}".format(path, error)) from error
        return Environment._of(description)

    def __repr__(self):
        return json.dumps(self._described(), indent=4)


class _Build(Answering):
    """The result of `Environment.build`, which has already finished."""

    status = "Succeeded"

    def __init__(self, facts):
        self.details = facts

    def wait_for_completion(self, show_output=True):
        return self
