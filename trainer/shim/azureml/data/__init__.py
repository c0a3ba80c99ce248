"""`azureml.data`: the classes of datasets."""

from azureml.core.dataset import FileDataset, TabularDataset

__all__ = ["FileDataset", "TabularDataset"]
