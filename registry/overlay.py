"""An interpreter that has what fitserve's own Python has, and some packages more: made in seconds, and as small as those packages.

It is a virtual environment whose path ends with our own site-packages. The packages are resolved against our own releases, and only
what is not there is installed; where that has no solution, a full environment is built instead.
"""

import functools
import hashlib
import importlib.metadata
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from registry.installers import UvInstaller, Wanted, find_uv
from registry.pythons import own_python
from registry.requirements import normalized, package_name
from registry.tool_process import Progress

#: The key of an environment's spec: the requirements that are installed on top.
OVERLAY: Final = "overlay"
_LINK: Final = "zz_fitserve_own.pth"  # read after all others: what is installed on top comes first


def own_releases() -> dict[str, str]:
    """What our own Python has, by normalized name."""
    return {normalized(dist.name): dist.version for dist in importlib.metadata.distributions() if dist.name}


@functools.cache
def fingerprint() -> str:
    """Changes when our own Python or a package of it does."""
    told = repr((sys.version, sys.prefix, sorted(own_releases().items())))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def make(folder: Path, requirements: Sequence[str], options: Sequence[str], progress: Progress) -> list[str] | None:
    """Build it in `folder`; gives the releases that it has in all, ours and those on top. None where there is no uv.

    Raises:
        InstallFailed: the requirements do not fit our own releases, or could not be installed.
    """
    uv = find_uv()
    if uv is None:
        return None
    tool, own = UvInstaller(uv), own_releases()
    tool.create(own_python(), folder, progress)
    constraints = [f"{name}=={version}" for name, version in own.items() if name != "fitserve"]
    resolved = tool.resolve(Path(sys.executable), Wanted(requirements, options, constraints), folder)
    more = [pin for pin in resolved if own.get(package_name(pin)) != pin.partition("==")[2]]
    python = folder / "bin" / "python"
    if more:
        progress(f"installing {', '.join(more)} on top of fitserve's own packages")
        tool.install(python, Wanted(more, [*options, "--no-deps"]), folder, progress)
    site = next((folder / "lib").glob("python3.*")) / "site-packages"
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / _LINK).write_text("".join(f"{path}\n" for path in sorted(paths)), encoding="utf-8")
    releases = {**own, **{package_name(pin): pin.partition("==")[2] for pin in more}}
    return sorted(f"{name}=={version}" for name, version in releases.items() if name != "fitserve")
