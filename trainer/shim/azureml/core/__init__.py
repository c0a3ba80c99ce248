"""The names that scripts import from `azureml.core`. Those that a run cannot answer say so at their first use."""

from azureml._fitserve.unsupported import unsupported
from azureml.core.run import Run

VERSION = "1.61.0"
__version__ = VERSION

ComputeTarget = unsupported("ComputeTarget")
Dataset = unsupported("Dataset")
Datastore = unsupported("Datastore")
Environment = unsupported("Environment")
Experiment = unsupported("Experiment")
Keyvault = unsupported("Keyvault")
Model = unsupported("Model")
RunConfiguration = unsupported("RunConfiguration")
ScriptRunConfig = unsupported("ScriptRunConfig")
Webservice = unsupported("Webservice")
Workspace = unsupported("Workspace")

__all__ = [
    "VERSION",
    "ComputeTarget",
    "Dataset",
    "Datastore",
    "Environment",
    "Experiment",
    "Keyvault",
    "Model",
    "Run",
    "RunConfiguration",
    "ScriptRunConfig",
    "Webservice",
    "Workspace",
]
