"""Operations that the shim can call, name → function: workspaces, environments, runs, models. The gateway adds services.

Each function takes the open workspaces, then JSON values by name, and returns a JSON value.
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
