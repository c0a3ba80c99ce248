"""Which revision of the registry is in force at the gateway of a workspace: written by its supervisor when every HTTP process answers by
it, read by whoever changed something and returns only when that holds. A file, so that no HTTP request is needed for it.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import Final

from gateway.rundir.state import running_gateway
from registry.workspace import Workspace

FILE: Final = "gateway.applied"
TIMEOUT_S: Final = 2.0
_LOOK_S: Final = 0.002


def write(root: Path, revision: int) -> None:
    """Called in the supervisor."""
    with contextlib.suppress(OSError):  # a full disk: callers wait for their time-out
        descriptor = os.open(root / FILE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, b"%020d" % revision, 0)  # always of one length: nobody reads half of it
        finally:
            os.close(descriptor)


def read(root: Path) -> int:
    """-1 where no gateway has written one yet."""
    try:
        return int((root / FILE).read_bytes())
    except (OSError, ValueError):
        return -1


def wait_until_in_force(workspace: Workspace, timeout_s: float = TIMEOUT_S) -> bool:
    """Wait until the gateway that runs in this folder answers by what is registered now; True at once where none runs.

    False: it did not within `timeout_s`, which is said nowhere else: it will be so when the gateway is not too busy to look.
    """
    if running_gateway(workspace.root) is None:
        return True
    wanted, deadline = workspace.revision(), time.monotonic() + timeout_s
    while read(workspace.root) < wanted:
        if time.monotonic() > deadline:
            return running_gateway(workspace.root) is None
        time.sleep(_LOOK_S)
    return True
