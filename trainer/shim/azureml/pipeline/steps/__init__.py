"""`azureml.pipeline.steps`."""

from azureml._fitserve.unsupported import unsupported

_INSTEAD = "submit one ScriptRunConfig after the other and wait for each"

PythonScriptStep = unsupported("PythonScriptStep", _INSTEAD)
EstimatorStep = unsupported("EstimatorStep", _INSTEAD)
HyperDriveStep = unsupported("HyperDriveStep", _INSTEAD)
AutoMLStep = unsupported("AutoMLStep", _INSTEAD)
DataTransferStep = unsupported("DataTransferStep", _INSTEAD)
ParallelRunConfig = unsupported("ParallelRunConfig", _INSTEAD)
ParallelRunStep = unsupported("ParallelRunStep", _INSTEAD)
