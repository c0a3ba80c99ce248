"""`azureml.core.workspace`: importable inside a run, refused when it is used."""

from azureml.core import Workspace

__all__ = ["Workspace"]
