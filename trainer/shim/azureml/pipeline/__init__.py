"""`azureml.pipeline`: its modules can be imported."""
