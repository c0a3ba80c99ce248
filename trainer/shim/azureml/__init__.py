"""The `azureml` that a script finds when no other one is installed. Standard library only, Python 3.6 and later.

The path of this package is extended, so that a distribution which adds its own `azureml.something` keeps working.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
