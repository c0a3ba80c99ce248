"""Where systemd owns our control group, it can be asked for one that we may divide: a scope with ``Delegate=yes``."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.limits import cgroup
from registry.limits.cgroup2 import CONTROLLERS, words

_ASKED: Final = "FITSERVE_SCOPE"


@dataclass(frozen=True)
class Delegation:
    """Whether a delegated scope can be had.

    Attributes:
        command: what to put before our own command line to be run in one; empty when it cannot be had.
        environment: what to add to the environment, so that nobody asks twice.
        reason: why not, in words; empty when it can be had.
    """

    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    reason: str = ""


def delegation(root: Path = Path("/")) -> Delegation:
    """Look whether re-executing under ``systemd-run --scope -p Delegate=yes`` is possible.

    Meant for `serve` when `cgroup2` is not available; the process keeps its pid, folder, and terminal.

    Args:
        root: where the file system begins; for tests.
    """
    if os.environ.get(_ASKED):
        return Delegation(reason="this process was already started in a scope of its own")
    if not (root / "run/systemd/system").is_dir():
        return Delegation(reason="systemd does not run here")
    if _is_unit():
        return Delegation(reason="this process is what a unit of systemd starts; that unit needs Delegate=yes")
    if shutil.which("systemd-run") is None:
        return Delegation(reason="systemd-run is not installed")
    found = cgroup.here("")
    if found is None:
        return Delegation(reason="no hierarchy of version 2 is mounted")
    user = [] if os.geteuid() == 0 else ["--user"]
    if user:
        runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or root / f"run/user/{os.geteuid()}")
        if not (runtime / "systemd").is_dir():
            return Delegation(reason="no systemd --user runs for this user (loginctl enable-linger starts one)")
        manager = found[0].point / f"user.slice/user-{os.geteuid()}.slice/user@{os.geteuid()}.service"
        missing = CONTROLLERS - words(manager / "cgroup.controllers")
        if missing:
            return Delegation(
                reason=f"systemd does not hand the {' and '.join(sorted(missing))} controller to users; "
                "Delegate=cpu memory pids in a drop-in of user@.service does"
            )
    command = ("systemd-run", *user, "--scope", "--quiet", "--collect", "-p", "Delegate=yes")
    return Delegation((*command, f"--unit=fitserve-{os.getpid()}.scope", "--"), ((_ASKED, "1"),))


def _is_unit() -> bool:
    """A unit's own process must stay in its group: systemd stops the unit by it."""
    try:
        return Path(f"/proc/{os.getppid()}/comm").read_text() == "systemd\n"
    except OSError:
        return False


def enter_scope(root: Path = Path("/")) -> str:
    """Start this very process anew inside a scope that is ours to divide.

    Returns only when that is not possible, and then gives the reason. What the process has open is lost, so this
    comes before everything else.
    """
    found = delegation(root)
    if found.command:
        *command, unit, end = found.command
        # A replaced process cannot come back, so another one tries first: policy may forbid what exists.
        trial = [*command, unit.replace(".scope", "-trial.scope"), end, sys.executable, "-I", "-S", "-c", "pass"]
        try:
            tried = subprocess.run(
                trial, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            return f"systemd-run did not work: {e}"
        if tried.returncode:
            return f"systemd-run did not work: {tried.stderr.strip() or tried.returncode}"
        again = [*found.command, sys.executable, *sys.orig_argv[1:]]
        os.execvpe(again[0], again, {**os.environ, **dict(found.environment)})  # noqa: S606 - no shell is meant
    return found.reason
