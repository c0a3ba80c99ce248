"""`azureml.train.automl`."""

from azureml._fitserve.unsupported import unsupported

_INSTEAD = "write the training script and let azureml.train.hyperdrive choose its arguments"

AutoMLConfig = unsupported("AutoMLConfig", _INSTEAD)
