"""The SDK's exceptions, by their names."""


class AzureMLException(Exception):
    def __init__(self, exception_message="", inner_exception=None, **kwargs):
        super().__init__(exception_message)
        self.message = exception_message
        self.inner_exception = inner_exception


class UserErrorException(AzureMLException):
    pass


class RunEnvironmentException(AzureMLException):
    pass


class ProjectSystemException(AzureMLException):
    pass


class SnapshotException(AzureMLException):
    pass


class RunConfigurationException(AzureMLException):
    pass


class WorkspaceException(AzureMLException):
    pass


class AuthenticationException(AzureMLException):
    pass


class ExperimentExecutionException(AzureMLException):
    pass


class ActivityFailedException(AzureMLException):
    pass


class ActivityCanceledException(AzureMLException):
    pass


class TrainingException(AzureMLException):
    pass


class ComputeTargetException(AzureMLException):
    pass


class WebserviceException(AzureMLException):
    pass


class ModelNotFoundException(WebserviceException):
    pass


class ModelPathNotFoundException(WebserviceException):
    pass
