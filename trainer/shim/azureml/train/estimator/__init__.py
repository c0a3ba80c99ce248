"""`azureml.train.estimator`: what came before ScriptRunConfig."""

from azureml._fitserve.unsupported import unsupported

_INSTEAD = "give source_directory, script, arguments and environment to a ScriptRunConfig"

Estimator = unsupported("Estimator", _INSTEAD)
