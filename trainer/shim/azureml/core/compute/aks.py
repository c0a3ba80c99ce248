"""`azureml.core.compute.aks`."""

from azureml._fitserve.unsupported import unsupported

_INSTEAD = "services run on this machine; leave deployment_target out"

AksCompute = unsupported("AksCompute", _INSTEAD)
