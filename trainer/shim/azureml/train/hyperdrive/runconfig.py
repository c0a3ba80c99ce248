"""`azureml.train.hyperdrive.runconfig`."""

from azureml.train.hyperdrive import HyperDriveConfig

__all__ = ["HyperDriveConfig"]
