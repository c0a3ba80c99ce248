"""The `azureml` package for scripts whose Python has none. Standard library only, Python 3.6 and later.

The package's path is extended, so that distributions that add their own `azureml.something` keep working.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
