"""`azureml.core.datastore`: importable inside a run, refused when it is used."""

from azureml.core import Datastore

__all__ = ["Datastore"]
