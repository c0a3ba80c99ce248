"""The environment variables that a script sees."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trainer.launch_plan import LaunchPlan
from trainer.shim.azureml._fitserve.wire import RUN_DIR_VARIABLE

USER_PYTHONPATH: Final = "FITSERVE_USER_PYTHONPATH"  # carries the user's own value past the launcher's

# How the shim reaches fitserve, for what it cannot do by itself. -P: a folder called `registry` must not hide ours.
RPC_COMMAND: Final = (sys.executable, "-P", "-m", "gateway.cli", "rpc")
RUN_OF_RPC: Final = "FITSERVE_RUN_OF_RPC"  # the folder of the run whose script asks, for a `fitserve rpc` beside it

_POOLS: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)
_OURS: Final = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


def script_variables(
    plan: LaunchPlan,
    folder: Path,
    python: Path,
    *,
    threads: int,
    more: Mapping[str, str],
    environ: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The variables for a run's script: the launcher's own without secrets and without what belongs to its Python.

    All ``FITSERVE_*`` are left out: the key of the gateway and the address of a database are among them. Azure's names
    are set but for AZUREML_RUN_TOKEN and AZUREML_SERVICE_ENDPOINT; without these a *real* azureml that is installed in
    the script's interpreter knows itself to be offline, instead of calling a service that is not there.

    Args:
        folder: of the run.
        threads: for the thread pools of numeric libraries; the user's own value wins where there is no limit.
        more: of the run's Environment; they win.
    """
    result = {key: value for key, value in environ.items() if not key.startswith("FITSERVE_") and key not in _OURS}
    user_path = environ.get(USER_PYTHONPATH)
    if user_path and str(python) == sys.executable:  # for another interpreter it would be the wrong one
        result["PYTHONPATH"] = user_path
    for name in _POOLS:
        if plan.limits is not None or name not in result:
            result[name] = str(threads)
    if os.sep in str(python):
        result["PATH"] = os.pathsep.join([str(python.parent), result.get("PATH", os.defpath)])
    result.update(
        {
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8:backslashreplace",  # a print must not fail for the locale of a service
            "MPLBACKEND": "Agg",  # nobody sees a window, and a notebook's own backend is not the script's
            RUN_DIR_VARIABLE: str(folder),
            "AZUREML_RUN_ID": plan.run_id,
            "AZUREML_ARM_PROJECT_NAME": plan.experiment,
            "AZUREML_ARM_WORKSPACE_NAME": plan.workspace.name,
            "AZUREML_ARM_SUBSCRIPTION": plan.workspace.subscription_id,
            "AZUREML_ARM_RESOURCEGROUP": plan.workspace.resource_group,
            "AZUREML_EXPERIMENT_ID": plan.experiment,
            "AZUREML_WORKSPACE_ID": plan.workspace.name,
        }
    )
    result.update(more)
    return result
