"""`azureml.core.model`: importable inside a run, refused when it is used."""

from azureml.core import Model

__all__ = ["Model"]
