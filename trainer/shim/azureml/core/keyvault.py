"""`azureml.core.keyvault`."""

from azureml._fitserve.unsupported import unsupported

_INSTEAD = "give secrets to a script by environment variables"

Keyvault = unsupported("Keyvault", _INSTEAD)
