"""`azureml.data`: the classes of datasets."""

import azureml._fitserve.modules  # noqa: F401  makes its modules importable
from azureml._fitserve.unsupported import unsupported
from azureml.core.dataset import FileDataset, TabularDataset

OutputFileDatasetConfig = unsupported("OutputFileDatasetConfig", "write to ./outputs, which belongs to the run")

__all__ = ["FileDataset", "OutputFileDatasetConfig", "TabularDataset"]
