"""What the shim can ask fitserve for, name → function: workspaces, environments, runs, models. Services are the gateway's.

Each function gets the open workspaces, then JSON values by name, and gives a JSON value.
"""

from typing import Final

from trainer.operations import environments, models, runs, sweeps, workspaces
from trainer.rpc import Operation

OPERATIONS: Final[dict[str, Operation]] = {
    **workspaces.OPERATIONS,
    **environments.OPERATIONS,
    **runs.OPERATIONS,
    **sweeps.OPERATIONS,
    **models.OPERATIONS,
}
