"""`azureml.core.webservice.local`."""

from azureml.core.webservice import LocalWebservice

__all__ = ["LocalWebservice"]
