"""`azureml.telemetry`: nothing is sent anywhere."""

import logging


def set_diagnostics_collection(send_diagnostics=True, verbosity=None, reason=""):
    """Accepted: there is nothing to switch on or off."""


def get_telemetry_log_handler(*args, **kwargs):
    return logging.NullHandler()
