"""`azureml.data.datapath`."""

from azureml._fitserve.unsupported import unsupported

_INSTEAD = "name the file's path in the datastore's folder"

DataPath = unsupported("DataPath", _INSTEAD)
DataPathComputeBinding = unsupported("DataPathComputeBinding", _INSTEAD)
