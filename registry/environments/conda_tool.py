"""Environments made by conda, mamba or micromamba, where one of them is there.

They can do what a virtual environment cannot: bring the very Python that is asked for, and packages that are not on PyPI.
"""

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.environments.conda import CONDA_ONLY, conda_requirement, parse_conda
from registry.environments.requirements import normalized, package_name, parse_lines
from registry.environments.tool_process import Progress, one_line, run_tool
from registry.errors import InvalidArgument

SETTING: Final = "FITSERVE_CONDA"  # "never", or the path of the program
_NAMES: Final = ("mamba", "micromamba", "conda")  # the quickest first
_ERROR: Final = re.compile(r"\s*(?:\w+(?:Error|NotFound|Exception)\b|(?:error|critical|ERROR)\s+\S)")
_EXPLAINED: Final = 6  # lines of an error that are worth reading


@dataclass(frozen=True)
class CondaTool:
    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def create(self, folder: Path, entries: Sequence[str], channels: Sequence[str], progress: Progress) -> None:
        """Make `folder` an environment with these packages, named as conda names them; Python is one of them.

        Raises:
            InstallFailed: with what the tool said.
        """
        command = [str(self.path), "create", "--yes", "--prefix", str(folder)]
        if channels:
            command += ["--override-channels", *(word for channel in channels for word in ("--channel", channel))]
        run_tool([*command, *entries], folder.parent, {"CONDA_REPORT_ERRORS": "false"}, progress, _problem)


def find_conda() -> CondaTool | None:
    """Of those on PATH the quickest, or the one that `FITSERVE_CONDA` names."""
    said = os.environ.get(SETTING, "")
    if said.lower() in ("never", "0", "no"):
        return None
    found = [path for name in ((said,) if said else _NAMES) if (path := shutil.which(name))]
    if not found and not said and os.environ.get("CONDA_EXE"):  # in a shell that only knows a function of that name
        found = [path for path in (shutil.which(os.environ["CONDA_EXE"]),) if path]
    return CondaTool(Path(found[0])) if found else None


@dataclass(frozen=True)
class CondaRelease:
    """One package of an environment, as its `conda-meta` has it."""

    name: str
    version: str
    build: str

    def __str__(self) -> str:
        return f"{self.name}={self.version}={self.build}"


def releases_of(folder: Path) -> list[CondaRelease]:
    """What conda has installed in an environment, by name."""
    found = []
    for path in folder.glob("conda-meta/*.json"):
        data = json.loads(path.read_bytes())
        found.append(CondaRelease(str(data["name"]), str(data["version"]), str(data["build"])))
    return sorted(found, key=lambda release: release.name)


def is_conda_release(release: str) -> bool:
    """Whether a frozen release is conda's, ``name=version=build``, and not pip's."""
    return "==" not in release and " @ " not in release and release.count("=") == 2


def left_to_pip(requirements: Sequence[str], entries: Sequence[str]) -> list[str]:
    """Those of `requirements` that no conda entry brings."""
    brought = parse_lines(parse_conda({"dependencies": list(entries)}, "conda").packages, "conda").packages
    names = {package_name(requirement) for requirement in brought}
    return [requirement for requirement in requirements if package_name(requirement) not in names]


def on_pypi(name: str) -> bool:
    """Whether a package of that name, which conda has installed, can be had from PyPI as well."""
    return normalized(name) not in {normalized(each) for each in CONDA_ONLY}


def entry_of_python(asked: str | None) -> str:
    """How conda is asked for it: ``3.6.2`` is exactly that one, ``3.6`` any patch of it."""
    if not asked:
        return "python"
    try:
        conda_requirement(f"python {asked}", "python")
    except InvalidArgument:
        return "python"
    return f"python={asked}" if asked[0].isdigit() else f"python{asked}"


def _problem(lines: Sequence[str]) -> str:
    """From the first line that reports an error on."""
    starts = [number for number, line in enumerate(lines) if _ERROR.match(line)]
    told = lines[starts[0] : starts[0] + _EXPLAINED] if starts else [line for line in lines if line.strip()][-1:]
    return one_line("\n".join(told))
