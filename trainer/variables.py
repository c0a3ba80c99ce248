"""Environment variables of a run's script."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trainer.launch_plan import LaunchPlan
from trainer.shim.azureml._fitserve.wire import RUN_DIR_VARIABLE

USER_PYTHONPATH: Final = "FITSERVE_USER_PYTHONPATH"  # passes the user's own value through the launcher

# Command of the RPC server that the shim uses. -P: a folder called `registry` in the working folder must not hide ours.
RPC_COMMAND: Final = (sys.executable, "-P", "-m", "gateway.cli", "rpc")
RUN_OF_RPC: Final = "FITSERVE_RUN_OF_RPC"  # folder of the run whose script is the client, for its `fitserve rpc`

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
    """The launcher's variables without secrets and without those of its own Python, plus those of the run.

    All ``FITSERVE_*`` are removed, since they include the gateway's key and the address of a database. Azure's names are
    set except AZUREML_RUN_TOKEN and AZUREML_SERVICE_ENDPOINT: without these, a *real* azureml installed in the script's
    interpreter runs offline instead of calling a service that does not exist.

    Args:
        folder: of the run.
        threads: size of thread pools of numeric libraries; without limits the user's own values win.
        more: variables of the run's Environment, which win.
    """
    result = {key: value for key, value in environ.items() if not key.startswith("FITSERVE_") and key not in _OURS}
    user_path = environ.get(USER_PYTHONPATH)
    if user_path and str(python) == sys.executable:  # it belongs to this interpreter only
        result["PYTHONPATH"] = user_path
    for name in _POOLS:
        if plan.limits is not None or name not in result:
            result[name] = str(threads)
    if os.sep in str(python):
        result["PATH"] = os.pathsep.join([str(python.parent), result.get("PATH", os.defpath)])
    result.update(
        {
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8:backslashreplace",  # print must not fail because of a service's locale
            "MPLBACKEND": "Agg",  # there is no display, and a notebook's backend must not be inherited
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
