"""`azureml.core.script_run`: what `Experiment.submit` gives for a script."""

from azureml._fitserve.remote_run import RemoteRun as ScriptRun

__all__ = ["ScriptRun"]
