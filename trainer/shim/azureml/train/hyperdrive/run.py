"""`azureml.train.hyperdrive.run`."""

from azureml.train.hyperdrive import HyperDriveRun, PrimaryMetricGoal

__all__ = ["HyperDriveRun", "PrimaryMetricGoal"]
