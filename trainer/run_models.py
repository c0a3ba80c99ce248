"""The models among what a run has made: which file of it is meant, and which there are."""

from pathlib import Path

from registry.errors import ModelPathNotFound
from trainer.folder import RunFolder


def find_model(folder: RunFolder, asked: str) -> Path:
    """The file or folder of a run that `asked` names.

    Raises:
        ModelPathNotFound: with the names that there are.
    """
    name = asked.rstrip("/").removeprefix("./")
    names = folder.names()
    found = folder.find(name)
    if found is not None:
        return found
    if name and any(other.startswith(name + "/") for other in names):
        kept = folder.files / name
        return kept if kept.is_dir() else folder.snapshot / name
    raise ModelPathNotFound(name, names)
