"""`azureml.core.run`: the run that a script talks to."""
# ruff: noqa: ARG001  Azure's signatures

from azureml._fitserve.runs import OfflineRun as _OfflineRun
from azureml._fitserve.runs import Run
from azureml._fitserve.runs import SubmittedRun as _SubmittedRun


def get_run(experiment, run_id, rehydrate=True, clean_up=True):
    """The context run when it is the one that is asked for."""
    run = Run.get_context()
    if run.id != run_id:
        from azureml._fitserve.unsupported import refuse

        refuse("azureml.core.run.get_run of another run")
    return run


__all__ = ["Run", "_OfflineRun", "_SubmittedRun", "get_run"]
