"""The folder in which a scoring script finds its model, as `AZUREML_MODEL_DIR` has it in Azure's containers."""

import os
from pathlib import Path


def offer(artifact: Path, place: Path) -> None:
    """Make `artifact`, a file or a folder, available at `place`, if it is not there already.

    Folders are real and their files are links, since `os.walk` and `Path.rglob` do not follow links to folders.
    """
    if not artifact.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        _link(artifact, place)
        return
    for folder, _, names in os.walk(artifact):
        here = place / Path(folder).relative_to(artifact)
        here.mkdir(parents=True, exist_ok=True)
        for name in names:
            _link(Path(folder) / name, here / name)


def _link(target: Path, place: Path) -> None:
    if not place.is_symlink():
        place.symlink_to(target)
