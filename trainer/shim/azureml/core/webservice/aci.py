"""`azureml.core.webservice.aci`."""

from azureml.core.webservice import AciWebservice

__all__ = ["AciWebservice"]
