"""`azureml.telemetry`: nothing is sent."""

import logging


def set_diagnostics_collection(send_diagnostics=True, verbosity=None, reason=""):
    """Accepted without effect."""


def get_telemetry_log_handler(*args, **kwargs):
    return logging.NullHandler()
