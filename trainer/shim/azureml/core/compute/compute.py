"""`azureml.core.compute.compute`."""

from azureml.core.compute import ComputeTarget

__all__ = ["ComputeTarget"]
