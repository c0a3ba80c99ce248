"""`azureml._restclient`: internal to Azure's SDK, but programs change one number in it."""
