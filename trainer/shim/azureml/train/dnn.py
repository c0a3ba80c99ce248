"""`azureml.train.dnn`: what came before ScriptRunConfig."""

from azureml._fitserve.unsupported import unsupported

_INSTEAD = "give source_directory, script, arguments and environment to a ScriptRunConfig"

Chainer = unsupported("Chainer", _INSTEAD)
PyTorch = unsupported("PyTorch", _INSTEAD)
TensorFlow = unsupported("TensorFlow", _INSTEAD)
