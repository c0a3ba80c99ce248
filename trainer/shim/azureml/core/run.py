"""`azureml.core.run`: the run of a script, and runs for other programs."""

from azureml._fitserve.runs import OfflineRun as _OfflineRun
from azureml._fitserve.runs import Run
from azureml._fitserve.runs import SubmittedRun as _SubmittedRun


def get_run(experiment, run_id, rehydrate=True, clean_up=True):
    """The run with this id; inside that run, the context run."""
    run = Run.get_context()
    return run if run.id == run_id else Run(experiment, run_id)


__all__ = ["Run", "_OfflineRun", "_SubmittedRun", "get_run"]
