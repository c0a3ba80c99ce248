"""`azureml.core.compute.amlcompute`."""

from azureml.core.compute import AmlCompute

__all__ = ["AmlCompute"]
