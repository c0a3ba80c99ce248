"""`azureml.train.hyperdrive.sampling`."""

from azureml.train.hyperdrive import BayesianParameterSampling, GridParameterSampling, RandomParameterSampling

__all__ = ["BayesianParameterSampling", "GridParameterSampling", "RandomParameterSampling"]
