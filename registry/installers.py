"""Making a virtual environment and installing into it: by uv where there is one, else by venv and pip.

Both are started as processes whose output is passed on line by line; nothing of theirs is imported.
"""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from registry.pip_settings import PipSettings
from registry.pythons import Python, Version
from registry.tool_process import InstallFailed, Progress, last_line, one_line, run_tool

InstallerName = Literal["uv", "pip"]

# The last pip of Pythons whose bundled one has the old resolver, which takes releases that need a newer Python.
_NEEDED_PIP: Final[dict[Version, str]] = {(3, 6): "pip==21.3.1"}
_NOT_FROZEN: Final = frozenset({"pip", "setuptools", "wheel", "distribute"})  # by pip freeze
_UV_OPTIONS: Final = {"--pre": "--prerelease=allow", "--trusted-host": "--allow-insecure-host", "--prefer-binary": None}


@dataclass(frozen=True)
class Wanted:
    """What goes into an interpreter. `constraints` bound versions without asking for the package."""

    packages: Sequence[str] = ()
    options: Sequence[str] = ()
    constraints: Sequence[str] = field(default=())


def find_uv() -> Path | None:
    """uv beside our own Python, else on PATH."""
    beside = os.path.dirname(sys.executable)
    found = shutil.which("uv", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    return Path(found) if found else None


class UvInstaller:
    """uv: resolves and installs in seconds, its cache is shared by all environments (files are hard links of it)."""

    name: InstallerName = "uv"

    def __init__(self, uv: Path) -> None:
        self._uv = str(uv)
        self._settings = PipSettings.of_this_machine()

    def create(self, python: Python, folder: Path, progress: Progress) -> None:
        self._run(["venv", "--no-project", "--python", str(python.path), str(folder)], folder.parent, lambda _: None)
        del progress

    def install(self, python: Path, wanted: Wanted, folder: Path, progress: Progress) -> None:
        options: list[str] = []
        for option in wanted.options:
            name, _, value = option.partition(" ")
            flag = _UV_OPTIONS.get(name, name)
            options += [*([flag] if flag else []), *([value] if value and flag else [])]
        command = ["pip", "install", "--python", str(python), *self._settings.uv_flags(), *options]
        self._run([*command, *_files(wanted, folder)], folder, progress)

    def resolve(self, python: Path, wanted: Wanted, folder: Path) -> list[str]:
        """The releases that `wanted` comes to for that Python, as ``name==version``; nothing is installed.

        Raises:
            InstallFailed: there is no solution.
        """
        command = ["pip", "compile", "--python", str(python), "--no-header", "--no-annotate", "--quiet"]
        files = _files(wanted, folder)
        printed = self._run(
            [*command, *self._settings.uv_flags(), *(file for file in files if file != "-r")], folder, lambda _: None
        )
        return [line.strip() for line in printed if "==" in line and not line.startswith(" ")]

    def freeze(self, python: Path) -> list[str]:
        printed = self._run(["pip", "freeze", "--python", str(python)], python.parent, lambda _: None)
        return [line for line in printed if not line.startswith("Using Python ")]  # said on standard error

    def _run(self, arguments: Sequence[str], folder: Path, progress: Progress) -> list[str]:
        variables = {
            **self._settings.uv_variables(),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "UV_LINK_MODE": os.environ.get("UV_LINK_MODE", "hardlink"),
        }
        return run_tool([self._uv, *arguments], folder, variables, progress, uv_problem)


class PipInstaller:
    """The standard library's venv and the pip that comes with it."""

    name: InstallerName = "pip"

    def create(self, python: Python, folder: Path, progress: Progress) -> None:
        run_tool([str(python.path), "-m", "venv", str(folder)], folder.parent, {}, lambda _: None, pip_problem)
        needed = _NEEDED_PIP.get(python.minor)
        if needed:
            self._pip(folder / "bin" / "python", ["install", "--quiet", needed], folder, progress)

    def install(self, python: Path, wanted: Wanted, folder: Path, progress: Progress) -> None:
        options = [part for option in wanted.options for part in option.split(" ", 1)]
        self._pip(python, ["install", "--progress-bar", "off", *options, *_files(wanted, folder)], folder, progress)

    def freeze(self, python: Path) -> list[str]:
        return self._pip(python, ["freeze"], python.parent, lambda _: None)

    def releases(self, python: Path) -> list[str]:
        """As `freeze`, but all as ``name==version``, also what was not installed by pip."""
        printed = self._pip(python, ["list", "--format=freeze"], python.parent, lambda _: None)
        pins = [line for line in printed if "==" in line and " " not in line]
        return [pin for pin in pins if pin.partition("==")[0] not in _NOT_FROZEN]

    def _pip(self, python: Path, arguments: Sequence[str], folder: Path, progress: Progress) -> list[str]:
        variables = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PYTHONIOENCODING": "utf-8"}
        return run_tool([str(python), "-m", "pip", *arguments], folder, variables, progress, pip_problem)


Installer = UvInstaller | PipInstaller


def choose_installer(name: InstallerName | None = None) -> Installer:
    """uv where there is one, unless `name` says otherwise.

    Raises:
        InstallFailed: uv is asked for and is not there.
    """
    uv = find_uv() if name != "pip" else None
    if uv is not None:
        return UvInstaller(uv)
    if name == "uv":
        raise InstallFailed("uv is neither beside this Python nor on PATH")
    return PipInstaller()


def _files(wanted: Wanted, folder: Path) -> list[str]:
    """Files instead of arguments: requirements may hold credentials, and arguments are seen by everybody."""
    arguments: list[str] = []
    for flag, lines in (("-r", wanted.packages), ("-c", wanted.constraints)):
        if lines:
            path = folder / ("requirements.txt" if flag == "-r" else "constraints.txt")
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            arguments += [flag, str(path)]
    return arguments


_UV_CONFLICT: Final = re.compile(r"Because (\S+) depends on (\S+) and you require ([^\s,]+), we can conclude")
_PIP_REQUESTED: Final = re.compile(r"\s+The user requested (?:\(constraint\) )?(.+)")
_PIP_DEPENDS: Final = re.compile(r"\s+(\S+ \S+) depends on (.+)")
_MOST_NEEDS: Final = 3  # that a sentence about a conflict names


def _conflict(asked: Sequence[str], needs: Sequence[tuple[str, str]]) -> str:
    """Which requirements exclude each other: those of a person, and those of packages."""
    parts = [f"you asked for {' and '.join(dict.fromkeys(asked))}"] if asked else []
    return "; ".join([*parts, *(f"{package} needs {needed}" for package, needed in needs[:_MOST_NEEDS])])


def uv_problem(lines: Sequence[str]) -> str:
    """uv says what failed, then the chain of causes, each wrapped over several lines, then what a build printed."""
    text = "\n".join(lines)
    said, _, printed = re.sub(r"\n\s*hint: .*", "", text, flags=re.DOTALL).partition("[stderr]")
    start = re.search(r"(?:error:|×) ", said)
    what, *causes = re.split(r"\n[\s├╰─▶│]*(?:cause: |─▶ )", said[start.end() :] if start else said)
    if "build" in what:
        return one_line(f"{what}: {last_line(printed) or causes[-1]}" if causes else what)
    conflict = _UV_CONFLICT.match(one_line(causes[-1], len(said))) if causes else None
    if conflict is not None:
        package, needed, asked = conflict.groups()
        return one_line(_conflict([asked], [(re.sub("[=>]=", " ", package, count=1), needed)]))
    return one_line(causes[-1] if causes else what)


def pip_problem(lines: Sequence[str]) -> str:
    """pip's last error names the package, except where a build failed: then the last package that it took up is it."""
    errors = [re.sub(r"^\s*(ERROR|error):\s*", "", line) for line in lines if re.match(r"\s*(ERROR|error):", line)]
    if "subprocess-exited-with-error" in errors:
        taken = [
            found.group(1)
            for line in lines
            if (found := re.match(r"\s*(?:Collecting|Building wheels? for) (\S+)", line))
        ]
        printed = "\n".join(lines).partition("[end of output]")[0]
        return one_line(f"Failed to build {taken[-1] if taken else 'a package'}: {last_line(printed)}")
    if any(error.startswith("ResolutionImpossible") for error in errors):
        asked = [found.group(1) for line in lines if (found := _PIP_REQUESTED.fullmatch(line))]
        needs = [(found.group(1), found.group(2)) for line in lines if (found := _PIP_DEPENDS.fullmatch(line))]
        return one_line(_conflict(asked, needs) or errors[0])
    told = errors or [line for line in lines if line.strip()]
    return one_line(told[-1]) if told else ""
