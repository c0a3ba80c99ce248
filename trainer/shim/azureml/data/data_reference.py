"""`azureml.data.data_reference`."""

from azureml._fitserve.unsupported import unsupported

DataReference = unsupported("DataReference", "name the file's path in the datastore's folder")
