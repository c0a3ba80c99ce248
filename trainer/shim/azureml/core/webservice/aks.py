"""`azureml.core.webservice.aks`."""

from azureml.core.webservice import AksWebservice

__all__ = ["AksWebservice"]
