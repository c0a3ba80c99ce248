"""`azureml._restclient.snapshots_client`: the number that programs change to submit larger folders."""

SNAPSHOT_MAX_SIZE_BYTES = 300 * 1024 * 1024
