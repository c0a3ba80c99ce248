"""`azureml._restclient`: not for people, but programs reach into it for one number."""
