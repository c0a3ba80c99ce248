"""How large this machine is, or the container we are in: what all limits together may promise."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from registry.limits import cgroup, proc

_UNLIMITED: Final = 1 << 60  # version 1 writes "none" as a number just below 2**63


def machine_memory_bytes() -> int:
    """Memory of the container when its groups bound it, else of the host."""
    return min([_host_memory(), *(limit for limit, _ in _memory_limits())])


def available_memory_bytes() -> int:
    """What could be allocated now: free memory and page cache, within every bound above us."""
    return max(0, min([_host_available(), *(limit - used for limit, used in _memory_limits())]))


def machine_cores() -> float:
    """Cores that this process may use: the CPUs it may run on, and the quotas of the groups above it."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([float(cpus), *_quotas()])


def _memory_limits() -> Iterator[tuple[int, int]]:
    """(limit, use without page cache) of each group from ours up to the highest that can be seen."""
    for folder in _upwards(""):
        if limit := cgroup.number(folder / "memory.max"):
            files = sum(cgroup.fields(folder / "memory.stat", b"inactive_file", b"active_file"))
            yield limit, cgroup.number(folder / "memory.current") - files
    for folder in _upwards("memory"):
        limit = cgroup.number(folder / "memory.limit_in_bytes")
        names = b"hierarchical_memory_limit", b"total_inactive_file", b"total_active_file"
        above, *cached = cgroup.fields(folder / "memory.stat", *names)
        limit = min(limit, above or limit)  # also of groups that cannot be seen
        if 0 < limit < _UNLIMITED:
            yield limit, cgroup.number(folder / "memory.usage_in_bytes") - sum(cached)


def _quotas() -> Iterator[float]:
    for folder in _upwards(""):
        quota, period = _pair(folder / "cpu.max")
        if quota:
            yield quota / period
    for folder in _upwards("cpu"):
        quota, period = cgroup.number(folder / "cpu.cfs_quota_us"), cgroup.number(folder / "cpu.cfs_period_us")
        if quota and period:  # "-1" is none
            yield quota / period


def _upwards(controller: str) -> Iterator[Path]:
    found = cgroup.here(controller) if sys.platform.startswith("linux") else None
    if found is not None:
        mount, folder = found
        yield folder
        yield from (above for above in folder.parents if above.is_relative_to(mount.point))


def _pair(path: Path) -> tuple[int, int]:
    try:
        quota, period = proc.read(str(path)).split()
    except (OSError, ValueError):
        return 0, 0
    return (int(quota), int(period)) if quota.isdigit() else (0, 0)


def _host_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * proc.PAGE


def _host_available() -> int:
    try:
        text = proc.read("/proc/meminfo")
    except OSError:
        return _host_memory()
    fields = dict(line.split(b":", 1) for line in text.splitlines())
    return int(fields[b"MemAvailable"].split()[0]) * 1024
