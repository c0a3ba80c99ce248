"""`azureml.core.webservice.webservice`."""

from azureml.core.webservice import Webservice

__all__ = ["Webservice"]
