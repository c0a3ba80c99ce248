"""From an environment's spec to a Python that is ready to be started, built once and found in milliseconds afterwards.

A virtual environment knows its own path, so it cannot be built elsewhere and moved. Therefore each build has a folder of
its own, `<digest>-<random>`, and only when it is complete does the name `<digest>` become a symbolic link to it, in one
rename. A build that was killed leaves a folder that no name points to; the next one removes it. One build at a time and
digest, over all processes, is what the lock file is for.
"""

import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from registry import conda_tool, overlay, python_downloads
from registry.conda_tool import CondaTool, find_conda
from registry.errors import DiskFull, EnvironmentBuildError
from registry.installers import Installer, InstallerName, PipInstaller, Wanted, choose_installer
from registry.overlay import OVERLAY
from registry.pythons import (
    Choice,
    NoPython,
    PythonRange,
    choose_python,
    find_pythons,
    own_python,
    pythons_at_hand,
    wheels_for,
)
from registry.records import Json
from registry.requirements import has_version, package_name, pinned_version
from registry.tool_process import InstallFailed, Progress

__all__ = [
    "Frozen",
    "Interpreter",
    "check_python",
    "find_pythons",
    "interpreter_for",
    "interpreter_key",
    "numpy_bound",
    "own_interpreter",
    "ready_interpreter",
]

_READY: Final = "ready.json"
_KEY_LENGTH: Final = 32
# The last numpy with `np.str` and `np.float`, which scripts for old Pythons use; its wheels end with Python 3.11.
_OLD_NUMPY: Final = "numpy<1.24"
_LAST_PYTHON_OF_OLD_NUMPY: Final = (3, 11)
# scikit-learn before this, and the numpy that it was made for.
_NUMPY_FOR: Final = (((1, 1), _OLD_NUMPY), ((1, 4, 2), "numpy<2"))


@dataclass(frozen=True)
class Interpreter:
    """A Python that is ready. `frozen` are the installed releases, as pip freezes them, and those that conda installed as
    ``name=version=build`` too; `warnings` say what differs from what was asked for. `digest` is `interpreter_key` of its
    spec, or "own"; `made_by` names the installer."""

    python: Path
    digest: str
    frozen: tuple[str, ...]
    version: str
    warnings: tuple[str, ...] = ()
    made_by: str = ""


@dataclass(frozen=True)
class Frozen:
    """What an environment was resolved to: the version of its Python, and its releases as `Interpreter.frozen` has them."""

    python: str
    releases: tuple[str, ...]

    def version_of(self, package: str) -> str | None:
        pins = [r for r in self.releases if "==" in r and package_name(r) == package]
        return pinned_version(pins[0]) if pins else None

    def spec(self, of: Mapping[str, Json]) -> dict[str, Json]:
        """`of`, with nothing left to be resolved. What was installed from a folder cannot be had again and is left out."""
        releases = sorted(r for r in self.releases if "==" in r or (" @ " in r and " @ file:" not in r))
        conda = sorted(r for r in self.releases if conda_tool.is_conda_release(r))
        rest = {key: value for key, value in of.items() if key != "conda"}
        return {**rest, "python": self.python, "pip": releases, **({"conda": conda} if conda else {})}


def numpy_bound(scikit_learn: str) -> str | None:
    """The requirement for numpy beside an old scikit-learn; its own metadata has no upper bound."""
    version = tuple(int(n) for n in re.findall(r"\d+", scikit_learn)[:3])
    return next((numpy for before, numpy in _NUMPY_FOR if version < before), None)


def interpreter_key(spec: Mapping[str, Json]) -> str:
    """Names the interpreter of a spec: specs that differ only in variables or in what is not installed share it."""
    built = {key: spec.get(key) or None for key in ("python", "pip", "options")}
    built |= {OVERLAY: spec[OVERLAY]} if spec.get(OVERLAY) else {}
    built |= {key: spec[key] for key in ("conda", "channels") if spec.get("conda") and spec.get(key)}
    return hashlib.sha256(json.dumps(built, sort_keys=True).encode()).hexdigest()[:_KEY_LENGTH]


def own_interpreter() -> Interpreter:
    """The Python that fitserve itself runs on."""
    frozen = {f"{dist.name}=={dist.version}" for dist in importlib.metadata.distributions() if dist.name}
    return Interpreter(Path(sys.executable), "own", tuple(sorted(frozen, key=str.lower)), str(own_python()))


def interpreter_for(
    spec: Mapping[str, Json] | None,
    root: Path,
    *,
    progress: Progress | None = None,
    strict: bool = False,
    name: str | None = None,
    installer: InstallerName | None = None,
    frozen: Frozen | None = None,
) -> Interpreter:
    """The interpreter of `spec` below `root`, built now if it is not there yet.

    Args:
        spec: of `registry.environment.Environment.spec`; None, or one that asks for nothing, gives our own Python.
        progress: gets a line now and then while it is built; what it raises ends the build.
        strict: refuse where the Python asked for is not at hand, instead of taking the nearest newer one.
        name: of the environment, for the error.
        installer: "uv" or "pip"; None takes uv where there is one.
        frozen: the releases that it must hold, as they were resolved at another time.

    Raises:
        EnvironmentBuildError: no Python fits, or a package cannot be resolved, downloaded or built; it is named.
        DiskFull: no space is left for it.
    """
    if not spec or not (spec.get("python") or spec.get("pip")):
        return own_interpreter()
    ready = ready_interpreter(spec, root, strict=strict, name=name, frozen=frozen)
    if ready is not None:
        return ready
    spec = spec if frozen is None else frozen.spec(spec)
    key = interpreter_key(spec)
    build = _Build(root, key, dict(spec), progress or (lambda _: None), strict, name or key[:12], installer)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(root / f"{key}.lock", build.progress):
            return build.ready() or build.make()
    except OSError as error:
        raise _build_error(build.name, error, root) from error


def check_python(spec: Mapping[str, Json], name: str) -> None:
    """Refuse an environment whose Python is not at hand, before anything is stored.

    Raises:
        EnvironmentBuildError: with what is there.
    """
    if spec.get("python") and find_conda() is None:  # conda may have any; whether it does shows when it builds
        _Build(Path(), "", dict(spec), lambda _: None, True, name, None).choose()


def ready_interpreter(
    spec: Mapping[str, Json],
    root: Path,
    *,
    strict: bool = False,
    name: str | None = None,
    frozen: Frozen | None = None,
) -> Interpreter | None:
    """As `interpreter_for`, if it was built already: found in well under a millisecond."""
    for wanted in (spec,) if frozen is None else (spec, frozen.spec(spec)):
        key = interpreter_key(wanted)
        found = _Build(root, key, dict(wanted), lambda _: None, strict, name or key[:12], None).ready()
        if found is not None and (wanted is not spec or frozen is None or set(found.frozen) == set(frozen.releases)):
            return found
    return None


@dataclass
class _Build:
    root: Path
    key: str
    spec: dict[str, Json]
    progress: Progress
    strict: bool
    name: str
    installer: InstallerName | None
    _conda_problem: str | None = None
    _download_problem: str | None = None

    def ready(self) -> Interpreter | None:
        """The one that an earlier build completed, if its Python still starts and satisfies `strict`."""
        folder = self.root / self.key
        try:
            data: dict[str, Any] = json.loads((folder / _READY).read_bytes())
            python = folder.resolve(strict=True) / "bin" / "python"
            found = Interpreter(python, self.key, tuple(data["frozen"]), data["version"])
            found = replace(found, warnings=tuple(data["warnings"]), made_by=str(data["installer"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if data.get("own") not in (None, overlay.fingerprint()):  # our own packages are others than when it was built
            return None
        if not os.access(python, os.X_OK):  # the Python below it was removed
            return None
        if self.strict and data.get("replaced"):
            raise EnvironmentBuildError(self.name, f"{data['replaced']} (strict)")
        return found

    def make(self) -> Interpreter:
        """Called with the lock held."""
        self._remove_leftovers()
        folder = self.root / f"{self.key}-{secrets.token_hex(4)}"
        try:
            interpreter, choice = self._by_overlay(folder) or self._by_conda(folder) or self._by_venv(folder)
            self._publish(folder, interpreter, choice)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        told = f"Python {interpreter.version} with {len(interpreter.frozen)} packages"
        self.progress(f"environment {self.name} is ready: {told}")
        return replace(interpreter, python=folder.resolve() / "bin" / "python")

    def _by_overlay(self, folder: Path) -> tuple[Interpreter, None] | None:
        """On top of our own packages, where the spec allows it and they go together; else None."""
        requirements = self.spec.get(OVERLAY)
        if not requirements or self.installer is not None:
            return None
        try:
            frozen = overlay.make(folder, requirements, self.spec.get("options") or [], self.progress)
        except InstallFailed as failure:
            if failure.disk_full:
                raise DiskFull(str(self.root)) from None
            self.progress(
                f"{', '.join(requirements)} does not go with fitserve's own packages ({failure}); building all of it"
            )
            frozen = None
        if frozen is None:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        return Interpreter(folder / "bin" / "python", self.key, tuple(frozen), str(own_python()), made_by=OVERLAY), None

    def _by_conda(self, folder: Path) -> tuple[Interpreter, None] | None:
        """Where the environment is conda's, or only conda may have its Python; None where it does not work out."""
        tool = find_conda() if self.installer is None else None
        if tool is None or not (self.spec.get("conda") or self._lacks_python()):
            return None
        self.progress(f"building environment {self.name} ({tool.name})")
        try:
            return self._made_by(tool, folder), None
        except InstallFailed as failure:
            if failure.disk_full:
                raise DiskFull(str(self.root)) from None
            self._conda_problem = f"{tool.name} could not make the environment ({failure})"
            self.progress(f"warning: {self._conda_problem}")
            shutil.rmtree(folder, ignore_errors=True)
            return None

    def _made_by(self, tool: CondaTool, folder: Path) -> Interpreter:
        entries = self.spec.get("conda") or []
        asked = [conda_tool.entry_of_python(self.spec.get("python")), "pip", *entries]
        tool.create(folder, list(dict.fromkeys(asked)), self.spec.get("channels") or [], self.progress)
        python, pip = folder / "bin" / "python", PipInstaller()
        rest = conda_tool.left_to_pip(self.spec.get("pip") or [], entries)
        if rest:
            self.progress(f"installing {', '.join(rest)}")
            pip.install(python, Wanted(rest, self.spec.get("options") or []), folder, self.progress)
        conda = conda_tool.releases_of(folder)
        version = next((release.version for release in conda if release.name == "python"), "")
        releases = [r for r in pip.releases(python) if conda_tool.on_pypi(package_name(r))]
        frozen = [*releases, *(str(release) for release in conda if release.name != "python")]
        return Interpreter(python, self.key, tuple(frozen), version, made_by=tool.name)

    def _lacks_python(self) -> bool:
        """Whether the one that is asked for is neither at hand nor to be downloaded."""
        if not self.spec.get("python"):
            return False
        try:
            return self.choose().warning is not None
        except EnvironmentBuildError:
            return True

    def _by_venv(self, folder: Path) -> tuple[Interpreter, Choice]:
        choice = self.choose()
        constraints = self._constraints(choice)
        notes = [f"the environment leaves numpy open; {numpy} is taken for {why}" for numpy, why in constraints]
        warnings = [choice.warning, *notes] if choice.warning else []  # else nothing differs from what was asked for
        for note in warnings or notes:
            self.progress(f"{'warning' if warnings else 'note'}: {note}")
        if self._conda_problem is not None:
            warnings = [f"{self._conda_problem}; its packages were taken from PyPI", *warnings]
        frozen, tool = self._install(choice, folder, [constraint for constraint, _ in constraints])
        python, version = folder / "bin" / "python", str(choice.python)
        return Interpreter(python, self.key, tuple(frozen), version, tuple(warnings), tool), choice

    def choose(self) -> Choice:
        """A Python at hand; where none fits, uv is asked to download one, once for each build."""
        asked = PythonRange.parse(self.spec["python"]) if self.spec.get("python") else None
        pinned = self._scikit_learn()

        def at_hand(strict: bool) -> Choice:
            return choose_python(asked, pythons_at_hand(), scikit_learn=pinned, strict=strict)

        try:
            choice = at_hand(self.strict)
            if choice.warning is None or self._download_problem is not None:
                return choice
        except NoPython as none:
            if self._download_problem is not None:
                raise self._no_python(none) from None
        self._download(asked)
        try:
            return at_hand(self.strict)
        except NoPython as none:
            raise self._no_python(none) from None

    def _download(self, asked: PythonRange | None) -> None:
        """Let uv bring the Python that is asked for, else for old code one that has the numpy of its time."""
        requests = [python_downloads.request_for(asked, wheels_for(self._scikit_learn()))]
        if asked is not None and not self.strict and not self._has_old_numpy(asked):
            requests.append(f">=3.{asked.least[1]},<3.{_LAST_PYTHON_OF_OLD_NUMPY[1] + 1}")
        for request in filter(None, requests):
            self._download_problem = python_downloads.download(request, self.progress)
            if self._download_problem is None:
                return
            self.progress(f"Python {request}: {self._download_problem}")

    def _has_old_numpy(self, asked: PythonRange) -> bool:
        """Whether some Python at hand that may stand in has a numpy for old code, or the code is newer than that."""
        last = _LAST_PYTHON_OF_OLD_NUMPY
        return asked.least > last or any(asked.least <= python.minor <= last for python in pythons_at_hand())

    def _no_python(self, none: NoPython) -> EnvironmentBuildError:
        tried = [problem for problem in (self._download_problem, self._conda_problem) if problem]
        return EnvironmentBuildError(self.name, "; ".join([str(none), *tried]))

    def _scikit_learn(self) -> str | None:
        """The version that it pins."""
        pins = [r for r in self.spec.get("pip") or [] if package_name(r) == "scikit-learn"]
        return pinned_version(pins[0]) if pins else None

    def _constraints(self, choice: Choice) -> list[tuple[str, str]]:
        """Bounds for a numpy that the spec leaves open, each with its reason: the resolver would take the newest, with which
        old scripts and old scikit-learns do not work, though nothing in their metadata says so."""
        if any(package_name(r) == "numpy" and has_version(r) for r in self.spec.get("pip") or []):
            return []
        pinned = self._scikit_learn()
        if pinned is not None:
            numpy = numpy_bound(pinned)
            if numpy is not None:
                return [(numpy, f"scikit-learn {pinned}")]
        if not self.spec.get("python") or choice.warning is None:
            return []
        asked = PythonRange.parse(self.spec["python"])
        if max(asked.least, choice.python.minor) > _LAST_PYTHON_OF_OLD_NUMPY:
            if asked.least <= _LAST_PYTHON_OF_OLD_NUMPY:
                self.progress(
                    f"warning: no numpy before 1.24 runs on Python {choice.python}: np.str and np.float are not there"
                )
            return []
        return [(_OLD_NUMPY, f"code that was made for Python {asked.text}")]

    def _install(self, choice: Choice, folder: Path, constraints: list[str]) -> tuple[list[str], str]:
        wanted = Wanted(self.spec.get("pip") or [], self.spec.get("options") or [], constraints)
        python = folder / "bin" / "python"
        try:
            tool = self._create(choice, folder)
            if wanted.packages:
                self.progress(f"installing {', '.join(wanted.packages)}")
                tool.install(python, wanted, folder, self.progress)
            return tool.freeze(python), tool.name
        except InstallFailed as failure:
            if failure.disk_full:
                raise DiskFull(str(self.root)) from None
            raise EnvironmentBuildError(self.name, f"{failure} ({self._circumstances(choice)})") from None

    def _circumstances(self, choice: Choice) -> str:
        minors, pinned = wheels_for(self._scikit_learn()), self._scikit_learn()
        told = f"Python {choice.python}"
        if minors is None or minors[0] <= choice.python.version[1] <= minors[1]:
            return told
        return f"{told}; scikit-learn {pinned} has wheels for Python 3.{minors[0]} to 3.{minors[1]}"

    def _create(self, choice: Choice, folder: Path) -> Installer:
        tool = choose_installer(self.installer)
        self.progress(f"building environment {self.name} with Python {choice.python} ({tool.name})")
        try:
            tool.create(choice.python, folder, self.progress)
        except InstallFailed:
            if tool.name != "uv" or self.installer == "uv":
                raise
            self.progress("uv does not take this Python; venv and pip do")
            tool = PipInstaller()
            shutil.rmtree(folder, ignore_errors=True)
            tool.create(choice.python, folder, self.progress)
        return tool

    def _publish(self, folder: Path, interpreter: Interpreter, choice: Choice | None) -> None:
        """From the rename on, others find it; before, nobody does."""
        ready = {
            "version": interpreter.version,
            "frozen": interpreter.frozen,
            "warnings": interpreter.warnings,
            "replaced": choice.warning if choice is not None else None,
            "installer": interpreter.made_by,
            "own": overlay.fingerprint() if interpreter.made_by == OVERLAY else None,
            "spec": self.spec,
        }
        (folder / _READY).write_text(json.dumps(ready, indent=1), encoding="utf-8")
        link = self.root / f"{folder.name}.link"
        link.symlink_to(folder.name)
        link.replace(self.root / self.key)

    def _remove_leftovers(self) -> None:
        """Of builds that were killed, and of an interpreter whose Python is gone."""
        for path in self.root.glob(f"{self.key}-*"):
            if path.is_symlink():
                path.unlink(missing_ok=True)
            else:
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """An flock, which ends with the process that holds it, however that ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another process is building this environment; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _build_error(name: str, error: OSError, root: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(str(root))
    return EnvironmentBuildError(name, f"{error.strerror or error}: {error.filename or root}")
