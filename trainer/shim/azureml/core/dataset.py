"""`azureml.core.dataset`: importable inside a run, refused when it is used."""

from azureml.core import Dataset

__all__ = ["Dataset"]
