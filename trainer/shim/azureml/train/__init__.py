"""`azureml.train`: only `hyperdrive` is supported."""

from pkgutil import extend_path

import azureml._fitserve.modules  # noqa: F401  makes its modules importable

__path__ = extend_path(__path__, __name__)
