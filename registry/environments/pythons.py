"""The Pythons of this machine, and which of them an environment gets.

Looked for in: our own, `python3.N` on PATH, pyenv's versions, and those that uv manages. Nothing is downloaded.
"""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.errors import InvalidArgument, shown

Version = tuple[int, ...]

_LEAST: Final = (3, 6)  # what the scoring child and the azureml shim run in
_PART: Final = re.compile(r"(===|==|~=|!=|<=|>=|<|>|=)?\s*(\d+(?:\.\d+){0,2})(\.\*|\*)?")
_PROBE: Final = "import sys, platform; print(platform.python_implementation(), *sys.version_info[:3])"
# The Pythons that each scikit-learn has wheels for: first and last minor version of Python 3.
_WHEELS: Final[dict[Version, tuple[int, int]]] = {
    (0, 19): (6, 6),
    (0, 20): (6, 7),
    (0, 21): (6, 7),
    (0, 22): (6, 8),
    (0, 23): (6, 8),
    (0, 24): (6, 9),
    (1, 0): (7, 10),
    (1, 1): (8, 11),
    (1, 2): (8, 11),
    (1, 3): (8, 12),
    (1, 4): (9, 12),
    (1, 5): (9, 13),
    (1, 6): (9, 13),
    (1, 7): (10, 13),
    (1, 8): (11, 14),
    (1, 9): (11, 14),
}


@dataclass(frozen=True)
class Python:
    """A Python 3 that was started once and said its version."""

    version: Version  # three numbers
    path: Path

    @property
    def minor(self) -> Version:
        return self.version[:2]

    def __str__(self) -> str:
        return ".".join(map(str, self.version))


@dataclass(frozen=True)
class PythonRange:
    """Which versions are asked for: ``3.6.2``, ``3.8.*`` or ``>=3.8,<3.11``."""

    text: str
    parts: tuple[tuple[str, Version], ...]

    @classmethod
    def parse(cls, text: str, source: str = "python") -> "PythonRange":
        """
        Raises:
            InvalidArgument: it is no version and no range; `source` is named.
        """
        parts: list[tuple[str, Version]] = []
        for part in text.split(","):
            found = _PART.fullmatch(part.strip())
            if not found:
                raise InvalidArgument(source, f"python {shown(text)} is not a version such as '3.8' or '>=3.8,<3.11'")
            sign, numbers, _ = found.groups()
            parts.append(("=" if sign in (None, "==", "===") else sign, tuple(map(int, numbers.split(".")))))
        if any(version[0] != 3 for sign, version in parts if sign in ("=", "~=", ">=", ">")):
            raise InvalidArgument(source, f"python {shown(text)}: only Python 3 is supported, from 3.6 on")
        return cls(text, tuple(parts))

    @property
    def exact(self) -> Version | None:
        """The version where one is named with its minor number, as ``3.6`` and ``3.6.2`` do."""
        versions = [version for sign, version in self.parts if sign == "=" and len(version) > 1]
        return versions[0] if versions else None

    @property
    def least(self) -> Version:
        """What a replacement must not be older than."""
        return max([version for sign, version in self.parts if sign in ("=", "~=", ">=", ">")], default=_LEAST)[:2]

    def likely(self, own: Version) -> Version:
        """Our `own` version where it may be taken, else the one that is named, or the oldest."""
        return own if self.contains(own) else self.exact or self.least

    def contains(self, version: Version) -> bool:
        """A version with a patch number that is not installed is met by any other patch of the same minor."""
        return all(_meets(sign, version, wanted) for sign, wanted in self.parts)


@dataclass(frozen=True)
class Choice:
    """`warning` is set where what was asked for is not installed and a newer one stands in for it."""

    python: Python
    warning: str | None = None


class NoPython(Exception):
    """None fits; the text says what is asked for and what is there."""


def find_pythons() -> list[tuple[str, Path]]:
    """Version and path of each installed Python from 3.6 on, oldest first, each once."""
    return [(str(python), python.path) for python in installed_pythons()]


def installed_pythons() -> list[Python]:
    """As `find_pythons`. A candidate that does not start is left out."""
    candidates = list(dict.fromkeys(path for path in _candidates() if os.access(path, os.X_OK)))
    with ThreadPoolExecutor(4) as pool:
        probed = list(pool.map(_probe, candidates))
    found: dict[Version, Python] = {}
    for path, version in zip(candidates, probed, strict=True):
        if version is not None and version >= _LEAST:
            found.setdefault(version, Python(version, path))
    return sorted(found.values(), key=lambda python: python.version)


def own_python() -> Python:
    """The Python that fitserve runs on, outside of any virtual environment."""
    return Python(sys.version_info[:3], Path(getattr(sys, "_base_executable", sys.executable)))


def choose_python(
    asked: PythonRange | None,
    pythons: Sequence[Python],
    *,
    scikit_learn: Callable[[Version], str | None] = lambda _: None,
    strict: bool = False,
) -> Choice:
    """The one of `pythons` that an environment gets.

    Args:
        asked: None takes our own, or where the pinned scikit-learn has no wheels for it, the newest that it has some for.
        scikit_learn: gives the version that is pinned for a version of Python.
        strict: refuse instead of taking a newer minor version.

    Raises:
        NoPython: none fits.
    """
    if asked is None:
        return _choose_for(scikit_learn, pythons)
    fitting = [python for python in pythons if asked.contains(python.version)]
    if fitting:
        return Choice(_preferred(fitting, asked.exact))
    newer = [python for python in pythons if python.minor > asked.least]
    there = ", ".join(map(str, pythons)) or "none"
    if strict or not newer:
        why = "" if strict else " or newer"
        raise NoPython(f"it asks for Python {asked.text}; no such{why} Python is installed (found: {there})")
    nearest = newer[0].minor
    chosen = max((python for python in newer if python.minor == nearest), key=lambda python: python.version)
    return Choice(chosen, f"Python {asked.text} is not installed; {chosen}, the nearest newer one, is used instead")


def wheels_for(scikit_learn: str | None) -> tuple[int, int] | None:
    """First and last N of the Pythons 3.N that this scikit-learn has wheels for; None where that is not known."""
    return _WHEELS.get(tuple(int(n) for n in re.findall(r"\d+", scikit_learn)[:2])) if scikit_learn else None


def _choose_for(scikit_learn: Callable[[Version], str | None], pythons: Sequence[Python]) -> Choice:
    own = own_python()
    fitting = [python for python in (*pythons, own) if _has_wheels(scikit_learn(python.version), python)]
    if fitting:
        return Choice(own if own in fitting else fitting[-1])
    pinned = scikit_learn(own.version)
    minors = wheels_for(pinned)
    assert minors is not None
    return Choice(own, f"scikit-learn {pinned} has wheels for Python 3.{minors[0]} to 3.{minors[1]}; none is installed")


def _has_wheels(scikit_learn: str | None, python: Python) -> bool:
    minors = wheels_for(scikit_learn)
    return minors is None or minors[0] <= python.version[1] <= minors[1]


def _preferred(fitting: Sequence[Python], exact: Version | None) -> Python:
    same = [python for python in fitting if python.version == exact]
    if same:
        return same[0]
    if exact is None and (own := own_python()).version in [python.version for python in fitting]:
        return own
    return fitting[-1]


def _meets(sign: str, version: Version, wanted: Version) -> bool:
    if sign == "=":
        return version[:2] == wanted[:2] if len(wanted) > 1 else version[:1] == wanted
    if sign == "~=":
        return version >= wanted and version[: max(len(wanted) - 1, 1)] == wanted[: max(len(wanted) - 1, 1)]
    cut = version[: len(wanted)]
    return {
        ">=": cut >= wanted,
        ">": cut > wanted or (cut == wanted and len(wanted) < 2),
        "<=": cut <= wanted,
        "<": cut < wanted,
        "!=": cut != wanted,
    }[sign]


def _candidates() -> Iterable[Path]:
    """Pythons that probably are ones. pyenv's shims are left out: they start whatever its configuration says."""
    yield own_python().path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if folder and Path(folder) != pyenv / "shims":
            yield from (Path(folder, f"python3.{minor}") for minor in range(_LEAST[1], 30))
    yield from sorted(pyenv.glob("versions/3.*/bin/python"))
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    yield from sorted(managed.glob("cpython-3.*/bin/python3"))


def _probe(path: Path) -> Version | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return _version_of(path, state.st_mtime_ns, state.st_ino)


@functools.lru_cache(256)
def _version_of(path: Path, mtime: int, inode: int) -> Version | None:  # noqa: ARG001 they end a cached answer
    if path == own_python().path:
        return own_python().version
    try:
        asked = subprocess.run([path, "-I", "-S", "-c", _PROBE], capture_output=True, text=True, timeout=20, check=True)
        implementation, *numbers = asked.stdout.split()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return tuple(map(int, numbers)) if implementation == "CPython" else None
