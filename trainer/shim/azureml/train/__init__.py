"""`azureml.train`: what is left of it is `hyperdrive`."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
