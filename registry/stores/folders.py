"""Folders as artifacts: which files they hold, and the manifest that stands for them."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from registry.errors import InvalidArgument, LocalPathNotFound

MANIFEST: Final = b'{"fitserve_folder":1,'  # how a manifest begins


@dataclass(frozen=True)
class Entry:
    """Stored content."""

    digest: str
    size: int  # bytes


def write_manifest(entries: Mapping[str, Entry]) -> bytes:
    """The same folder always gives the same bytes."""
    listed = {name: [entries[name].digest, entries[name].size] for name in sorted(entries)}
    return MANIFEST + b'"files":' + json.dumps(listed, separators=(",", ":")).encode() + b"}"


def read_manifest(data: bytes, digest: str) -> dict[str, Entry]:
    """Raises:
    InvalidArgument: the artifact is not a folder, or names a path outside of it.
    """
    if not data.startswith(MANIFEST):
        raise InvalidArgument("digest", f"{digest[:12]}… is a file, not a folder")
    listed = json.loads(data)["files"]
    for name in listed:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InvalidArgument("digest", f"folder {digest[:12]}… names a path outside of it")
    return {name: Entry(entry, size) for name, (entry, size) in listed.items()}


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """All files of a folder, as (relative name, path to read).

    Raises:
        LocalPathNotFound, InvalidArgument: it is not a folder, or holds what cannot be stored.
    """
    if not folder.is_dir():
        raise LocalPathNotFound("folder", str(folder))
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in names + links:
            relative = os.path.relpath(os.path.join(parent, name), folder)
            yield relative, inside(folder, relative)


def inside(folder: Path, relative: str) -> Path:
    """The real path of `relative` below `folder`.

    Raises:
        LocalPathNotFound: it does not exist.
        InvalidArgument: it leads out of the folder, or is itself a folder.
    """
    path = folder / relative
    real = path.resolve()
    if PurePosixPath(relative).is_absolute() or not real.is_relative_to(folder.resolve()):
        raise InvalidArgument("folder", f"{path} leads out of {folder}; put a copy of the file in its place")
    if not real.exists():
        raise LocalPathNotFound("file", str(path))
    if real.is_dir():
        raise InvalidArgument("folder", f"{path} is a folder or a link to one; name plain files")
    return real
