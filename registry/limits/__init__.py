"""Limits that hold: groups of processes inside one CPU and memory limit, by whatever this machine allows."""

import os
import sys
from collections.abc import Callable
from typing import Final

from registry.errors import InvalidArgument, LimitsUnavailable
from registry.limits.base import Backend, Enforcement, Group, Usage
from registry.limits.machine import available_memory_bytes, machine_cores, machine_memory_bytes
from registry.limits.none import Unlimited

__all__ = [
    "BACKENDS",
    "Backend",
    "Enforcement",
    "Group",
    "Usage",
    "available_memory_bytes",
    "choose_backend",
    "machine_cores",
    "machine_memory_bytes",
    "make_backend",
    "survey",
]


def _cgroup2(prefix: str) -> Backend:
    from registry.limits.cgroup2 import Cgroup2  # late: only one back end is used

    return Cgroup2(prefix)


def _cgroup1(prefix: str) -> Backend:
    from registry.limits.cgroup1 import Cgroup1  # late: only one back end is used

    return Cgroup1(prefix)


def _watchdog(prefix: str) -> Backend:  # noqa: ARG001 - its processes are known by marks, not by names
    from registry.limits.watchdog import Watchdog  # late: only one back end is used

    return Watchdog()


BACKENDS: Final[dict[Enforcement, Callable[[str], Backend]]] = {
    "cgroup2": _cgroup2,
    "cgroup1": _cgroup1,
    "watchdog": _watchdog,
    "none": lambda _: Unlimited(),
}
"""Best first. Each makes a back end that names its groups with the given prefix."""


def make_backend(enforcement: str, prefix: str) -> Backend:
    """A back end by name, not tried yet.

    Raises:
        InvalidArgument: there is none of that name.
        LimitsUnavailable: it is for Linux and this is not.
    """
    for name, make in BACKENDS.items():
        if name == enforcement:
            if name != "none" and not sys.platform.startswith("linux"):
                raise LimitsUnavailable(name, "it needs Linux")
            return make(prefix)
    raise InvalidArgument("FITSERVE_LIMITS", f"{enforcement!r} is not one of {', '.join(BACKENDS)}")


def choose_backend(prefix: str = "fitserve", force: str | None = None) -> Backend:
    """The best back end that really works here; it has been tried with a process. Close it at the end.

    Args:
        prefix: begins the names of all groups; `clean_stale` looks at groups with the same prefix only.
        force: ``cgroup2``, ``cgroup1``, ``watchdog`` or ``none``; without it `FITSERVE_LIMITS`, without that the best.

    Raises:
        InvalidArgument: no back end is called so.
        LimitsUnavailable: the one that was asked for does not work here.
    """
    forced = force or os.environ.get("FITSERVE_LIMITS")
    if forced:
        backend = make_backend(forced, prefix)
        if reason := backend.available():
            raise LimitsUnavailable(forced, reason)
        return backend
    for enforcement in BACKENDS:
        try:
            backend = make_backend(enforcement, prefix)
        except LimitsUnavailable:
            continue
        if backend.available() is None:
            return backend
    raise AssertionError("none is always possible")


def survey() -> list[tuple[Enforcement, str | None]]:
    """For each back end, best first: None when it works here, else a sentence that says why not. Leaves no trace."""
    found: list[tuple[Enforcement, str | None]] = []
    for enforcement in BACKENDS:
        try:
            backend = make_backend(enforcement, "fitserve-probe")
        except LimitsUnavailable as e:
            found.append((enforcement, str(e)))
            continue
        found.append((enforcement, backend.available()))
        backend.close()
    return found
