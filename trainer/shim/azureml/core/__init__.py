"""The names that programs import from `azureml.core`. All classes are imported here, which `kinds` relies on."""

import azureml._fitserve.modules  # noqa: F401  makes its modules importable
from azureml._fitserve.remote_run import ScriptRun
from azureml._fitserve.unsupported import unsupported
from azureml.core.compute import ComputeTarget
from azureml.core.dataset import Dataset
from azureml.core.datastore import Datastore
from azureml.core.environment import Environment
from azureml.core.experiment import Experiment
from azureml.core.model import Model
from azureml.core.run import Run
from azureml.core.runconfig import RunConfiguration
from azureml.core.script_run_config import ScriptRunConfig
from azureml.core.webservice import Webservice
from azureml.core.workspace import Workspace

VERSION = "1.61.0"
__version__ = VERSION

ContainerRegistry = unsupported("ContainerRegistry", "fitserve runs processes, not containers")
Image = unsupported("Image", "fitserve runs processes, not containers")
Keyvault = unsupported("Keyvault", "give secrets to a script by environment variables")
LinkedService = unsupported("LinkedService", "fitserve has no cloud to link to")
Private = unsupported("Private", "fitserve has no cloud to reach privately")

__all__ = [
    "VERSION",
    "ComputeTarget",
    "ContainerRegistry",
    "Dataset",
    "Datastore",
    "Environment",
    "Experiment",
    "Image",
    "Keyvault",
    "LinkedService",
    "Model",
    "Private",
    "Run",
    "RunConfiguration",
    "ScriptRun",
    "ScriptRunConfig",
    "Webservice",
    "Workspace",
]
