"""Where limits are held by control groups that systemd owns, a gateway begins by asking for one of its own."""

import os
from pathlib import Path

import click

from gateway.settings import Settings


def enter_own_scope(settings: Settings, root: Path = Path("/")) -> None:
    """Start this very command anew inside a scope with ``Delegate=yes``, if that is what keeps the kernel from holding limits.

    Where it does not come to that, nothing has happened; what was tried in vain is said. First of all, since what the process
    has open is lost.

    Args:
        root: where the file system begins; for tests.
    """
    from registry.limits.scope import delegation, enter_scope

    if not settings.systemd_scope or (os.environ.get("FITSERVE_LIMITS") or "cgroup2") != "cgroup2":
        return
    if not delegation(root).command:  # no systemd, or it gives none: `fitserve doctor` says why
        return
    from registry.limits import make_backend

    backend = make_backend("cgroup2", "fitserve-probe")
    reason = backend.available()
    backend.close()
    if reason is None:
        return
    click.echo(f"control groups: {reason}; asking systemd for a group of this gateway's own", err=True)
    click.echo(f"note: systemd gave none, so limits are held another way: {enter_scope(root)}", err=True)
