"""`azureml.core.compute_target`."""

from azureml.exceptions import ComputeTargetException

__all__ = ["ComputeTargetException"]
