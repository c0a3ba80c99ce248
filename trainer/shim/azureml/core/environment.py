"""`azureml.core.environment`: importable inside a run, refused when it is used."""

from azureml.core import Environment

__all__ = ["Environment"]
