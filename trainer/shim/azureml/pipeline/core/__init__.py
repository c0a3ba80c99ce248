"""`azureml.pipeline.core`."""

from azureml._fitserve.unsupported import unsupported

_INSTEAD = "submit one ScriptRunConfig after the other and wait for each"

Pipeline = unsupported("Pipeline", _INSTEAD)
PipelineData = unsupported("PipelineData", _INSTEAD)
PipelineParameter = unsupported("PipelineParameter", _INSTEAD)
PipelineRun = unsupported("PipelineRun", _INSTEAD)
PublishedPipeline = unsupported("PublishedPipeline", _INSTEAD)
Schedule = unsupported("Schedule", _INSTEAD)
StepSequence = unsupported("StepSequence", _INSTEAD)
