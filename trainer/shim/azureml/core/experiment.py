"""`azureml.core.experiment`: importable inside a run, refused when it is used."""

from azureml.core import Experiment

__all__ = ["Experiment"]
