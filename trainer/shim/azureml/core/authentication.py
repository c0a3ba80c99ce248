"""`azureml.core.authentication`: accepted and ignored, since a local workspace belongs to its owner."""

from azureml._fitserve.unsupported import Answering


class AbstractAuthentication(Answering):
    def __init__(self, *args, **kwargs):
        pass

    def get_authentication_header(self):
        return {}


class InteractiveLoginAuthentication(AbstractAuthentication):
    pass


class ServicePrincipalAuthentication(AbstractAuthentication):
    pass


class AzureCliAuthentication(AbstractAuthentication):
    pass


class MsiAuthentication(AbstractAuthentication):
    pass


class TokenAuthentication(AbstractAuthentication):
    pass
