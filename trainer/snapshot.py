"""Snapshot: a copy of the source folder that obeys its ignore file and size limits, identified by its content.

Azure's rules: ``.amlignore`` if it exists, else ``.gitignore``, never both, in the top folder only; 300 MB and 2000 files.
Links are followed, since links to data are meant as data; anything that is neither a file nor a folder is skipped.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from registry.errors import InvalidArgument
from trainer.errors import SnapshotTooLarge, SnapshotTooManyFiles, SnapshotUnreadable

MAX_MB: Final = 300.0
MAX_FILES: Final = 2000

# Azure's defaults, except `docs`, which scripts may read.
_NEVER_NAMES: Final = frozenset(
    {".git", ".azureml", ".ipynb_checkpoints", "azureml-logs", "azureml-setup", "__pycache__", ".venv", ".fitserve"}
)
_NEVER_AT_TOP: Final = frozenset({"outputs"})  # otherwise outputs of an earlier run would count as this run's
_VENV_SIGNS: Final = ("pyvenv.cfg", "conda-meta")
_CHUNK: Final = 1 << 20

Ignore = Callable[[str], bool]


@dataclass(frozen=True)
class SnapshotLimits:
    """`files` None means no limit."""

    megabytes: float = MAX_MB
    files: int | None = MAX_FILES

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "SnapshotLimits":
        """
        Raises:
            InvalidArgument: a variable is not a number.
        """
        files: int | None = int(_number(environ, "FITSERVE_SNAPSHOT_MAX_FILES", MAX_FILES))
        if environ.get("AML_SNAPSHOT_NO_FILE_LIMIT", "").lower() not in ("", "0", "false"):
            files = None
        return cls(_number(environ, "FITSERVE_SNAPSHOT_MAX_MB", MAX_MB), files)


@dataclass(frozen=True)
class Snapshot:
    """`files`: relative path → SHA-256. `digest` is that of the sorted list of both."""

    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(sorted(self.files.items())).encode()).hexdigest()


def take_snapshot(
    source: Path, target: Path, *, leave_out: Path | None = None, limits: SnapshotLimits | None = None
) -> Snapshot:
    """Copy `source` to the new folder `target`, without the folder `leave_out` (the workspace).

    Raises:
        SnapshotTooLarge, SnapshotTooManyFiles: it exceeds `limits`; nothing was copied.
        SnapshotUnreadable: a file cannot be read.
        InvalidArgument: a variable that sets the limits is not a number.
    """
    limits = limits or SnapshotLimits.from_environment()
    names = sorted(_walk(source, read_ignore(source), leave_out))
    _check(source, names, limits)
    target.mkdir(mode=0o700)
    return Snapshot({name: _copy(source / name, target / name) for name in names})


def left_out(source: Path, most: int = 1_000) -> tuple[str, list[str]]:
    """The name of the ignore file and the files that stay out of a snapshot because of it, data files as often as not.

    What no snapshot takes along (environments, caches) is not listed. At most `most` names; nothing of a folder that is ignored whole
    but its own name.
    """
    file, ignored = ignore_file(source), read_ignore(source)
    found: list[str] = []
    if file is None:
        return "", found
    for folder, folders, files in os.walk(source):
        prefix = "" if Path(folder) == source else Path(folder).relative_to(source).as_posix() + "/"
        kept = [
            name
            for name in folders
            if _goes_along(folder, prefix, name, lambda _: False, None) and not name.startswith(".")
        ]
        found += [f"{prefix}{name}/" for name in kept if ignored(f"{prefix}{name}/")]
        found += [prefix + name for name in files if not name.startswith(".") and ignored(prefix + name)]
        folders[:] = [name for name in kept if not ignored(f"{prefix}{name}/")]
        if len(found) >= most:
            break
    return file.name, sorted(found)[:most]


def ignore_file(source: Path) -> Path | None:
    """``.amlignore`` if it exists, else ``.gitignore``."""
    return next((path for name in (".amlignore", ".gitignore") if (path := source / name).is_file()), None)


def read_ignore(source: Path) -> Ignore:
    """A predicate for relative paths from the source folder's ignore file; folders end with a slash."""
    for path in (ignore_file(source),):
        if path is not None:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            if any(line.strip() and not line.startswith("#") for line in lines):
                import pathspec  # late: start-up time; most folders have no ignore file

                return pathspec.GitIgnoreSpec.from_lines(lines).match_file
            break
    return lambda _: False


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    try:
        number = float(environ.get(name, default))
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise InvalidArgument(name, f"{environ[name]!r} is not a number such as {default:g}")
    return number


def _walk(source: Path, ignored: Ignore, leave_out: Path | None) -> Iterator[str]:
    """Relative names of the files to copy."""
    top = str(source)
    seen: set[str] = set()
    for folder, folders, files in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a cyclic link
            folders.clear()
            continue
        seen.add(real)
        prefix = "" if folder == top else os.path.relpath(folder, top).replace(os.sep, "/") + "/"
        folders[:] = [name for name in folders if _goes_along(folder, prefix, name, ignored, leave_out)]
        for name in files:
            if not ignored(prefix + name) and (Path(folder) / name).is_file():
                yield prefix + name


def _goes_along(folder: str, prefix: str, name: str, ignored: Ignore, leave_out: Path | None) -> bool:
    if name in _NEVER_NAMES or (not prefix and name in _NEVER_AT_TOP) or ignored(f"{prefix}{name}/"):
        return False
    path = Path(folder) / name
    if leave_out is not None and path.resolve() == leave_out.resolve():
        return False
    return not any((path / sign).exists() for sign in _VENV_SIGNS)


def _check(source: Path, names: list[str], limits: SnapshotLimits) -> None:
    if limits.files is not None and len(names) > limits.files:
        raise SnapshotTooManyFiles(str(source), limits.files, _top(dict.fromkeys(names, 1)))
    sizes = {name: (source / name).stat().st_size for name in names}
    if sum(sizes.values()) > limits.megabytes * 2**20:
        raise SnapshotTooLarge(str(source), limits.megabytes, _top(sizes))


def _top(weights: Mapping[str, int]) -> list[tuple[str, int]]:
    """The three largest entries of the top folder."""
    total: dict[str, int] = {}
    for name, weight in weights.items():
        entry = name.split("/", 1)[0] + ("/" if "/" in name else "")
        total[entry] = total.get(entry, 0) + weight
    return sorted(total.items(), key=lambda item: -item[1])[:3]


def _copy(source: Path, target: Path) -> str:
    """Copy one file with its mode; returns the SHA-256 of the copied bytes."""
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _open(source) as file, target.open("xb") as copy:
        while piece := file.read(_CHUNK):
            digest.update(piece)
            copy.write(piece)
        os.fchmod(copy.fileno(), 0o600 | (os.fstat(file.fileno()).st_mode & 0o111))
    return digest.hexdigest()


def _open(source: Path) -> BinaryIO:
    try:
        return source.open("rb")
    except OSError as error:
        raise SnapshotUnreadable(str(source), error.strerror or str(error)) from error
