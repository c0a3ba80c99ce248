"""Copies of a run's files for whoever asks."""

import shutil
from pathlib import Path


def copy_to(source: Path, target: str | Path | None, name: str) -> Path:
    """Copy a file to `target` (a path, or a folder that exists), by default as `name` into the current folder."""
    path = Path(target) if target is not None else Path(name)
    if path.is_dir():
        path = path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    return path
