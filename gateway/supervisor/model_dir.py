"""The folder in which a scoring script finds its model, as `AZUREML_MODEL_DIR` has it in Azure's containers."""

import os
from pathlib import Path


def offer(artifact: Path, place: Path) -> None:
    """Let `artifact`, a file or a folder, be found at `place`; nothing when it is there already.

    Folders are real ones, whose files are links: what walks through them (`os.walk`, `Path.rglob`) does not follow links to folders.
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
