"""The folder in which a scoring script finds its models, laid out as Azure's containers have it: `<name>/<version>/<entry>`."""

from pathlib import Path

from registry.errors import InvalidArgument, LocalPathNotFound


def latest(models: Path) -> int:
    """Raises:
    LocalPathNotFound: no version is there.
    """
    versions = [int(entry.name) for entry in models.iterdir() if entry.name.isdigit()]
    if not versions:
        raise LocalPathNotFound("model version", str(models / "1"), (entry.name for entry in models.iterdir()))
    return max(versions)


def only_entry(folder: Path) -> Path:
    """Raises:
    LocalPathNotFound, InvalidArgument: that version is not there, or is not one thing.
    """
    if not folder.is_dir():
        there = (entry.name for entry in folder.parent.iterdir())
        raise LocalPathNotFound("model version", str(folder), there)
    entries = list(folder.iterdir())
    if len(entries) != 1:
        raise InvalidArgument("model", f"{folder} should hold one file or folder and holds {len(entries)}")
    return entries[0]
