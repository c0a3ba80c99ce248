"""`azureml.core.container_registry`."""

from azureml._fitserve.unsupported import unsupported

_INSTEAD = "fitserve runs processes, not containers"

ContainerRegistry = unsupported("ContainerRegistry", _INSTEAD)
