"""`azureml.pipeline`: its modules can be imported."""

import azureml._fitserve.modules  # noqa: F401  makes its modules importable
