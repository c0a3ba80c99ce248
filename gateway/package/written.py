"""The list of files that a package was written with, so that writing it anew deletes nothing that somebody else put there."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NAME: Final = ".fitserve-files.json"


def record(folder: Path) -> bytes:
    """The content of `NAME` for the package in `folder`: SHA-256 by path, the same bytes for the same files."""
    return (json.dumps({name: _sha256(folder / name) for name in _names(folder)}, indent=1) + "\n").encode()


def foreign(folder: Path, ours: frozenset[str]) -> list[str]:
    """Paths in `folder` that were added, or changed, since a package was written there; all, where none was.

    Args:
        ours: paths that whoever uses the package is expected to write, such as a key.
    """
    try:
        written = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        written = {}
    known = written if isinstance(written, dict) else {}
    return [
        name
        for name in _names(folder)
        if name not in ours and ((folder / name).is_symlink() or known.get(name) != _sha256(folder / name))
    ]


def _names(folder: Path) -> Iterator[str]:
    """Files, links and empty folders."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir() or not any(path.iterdir()):
            name = path.relative_to(folder).as_posix()
            if name != NAME:
                yield name


def _sha256(path: Path) -> str:
    """Empty for what is not a file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
