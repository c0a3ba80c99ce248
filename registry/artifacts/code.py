"""Which files travel with a model because its classes or functions live in them."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from registry.errors import InvalidArgument, LocalPathNotFound

FILE_LIMIT: Final = 2000
SIZE_LIMIT: Final = 300 * 2**20  # bytes; both are Azure's limits of a snapshot
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages", "outputs", "logs", "venv", "env"})


def code_files(folder: Path, modules: Iterable[str]) -> list[str]:
    """Relative names of the Python files of `folder`, and of the data inside its packages, if one of the top-level
    `modules` lives there; else nothing. Modules import one another, so it is all of them or none.

    Raises:
        LocalPathNotFound: there is no such folder.
        InvalidArgument: the code is larger than a model's should be.
    """
    if not folder.is_dir():
        raise LocalPathNotFound("code folder", str(folder))
    here = [name for name in modules if name.isidentifier() and _is_module(folder, name)]
    if not here:
        return []
    found, size = [], 0
    for name in _walk(folder, here):
        found.append(name)
        size += (folder / name).stat().st_size
        if len(found) > FILE_LIMIT or size > SIZE_LIMIT:
            raise InvalidArgument(
                "code",
                f"{folder} holds more than {FILE_LIMIT} Python files or {SIZE_LIMIT // 2**20} MB of them; "
                f"name a folder with {', '.join(here)} and little else",
            )
    return sorted(found)


def _is_module(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").is_file() or any((folder / name).glob("**/*.py"))


def _walk(folder: Path, named: list[str]) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(child for child in folders if not is_skipped(Path(parent, child)))
        relative = PurePosixPath(Path(parent).relative_to(folder).as_posix())
        is_package = "__init__.py" in names or (relative.parts and relative.parts[0] in named)
        for name in names:
            path = Path(parent, name)
            if path.is_file() and (name.endswith(".py") or (is_package and not name.endswith((".pyc", ".pyo")))):
                yield (relative / name).as_posix()


def is_skipped(folder: Path, keep: Sequence[str] = ()) -> bool:
    """Whether no code of a person's is expected there; `keep` are names that are not skipped for what they are called."""
    return (
        folder.name.startswith(".")
        or (folder.name in _SKIPPED and folder.name not in keep)
        or folder.name.endswith((".egg-info", ".dist-info"))
        or (folder / "pyvenv.cfg").exists()
        or folder.is_symlink()
    )
