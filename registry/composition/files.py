"""The files that a model may come in: which of them hold objects, and what those need. Nothing is executed here."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.version import InvalidVersion, Version

from registry.artifact import ArtifactFacts, read_artifact
from registry.errors import ArtifactError, InvalidArgument, LocalPathNotFound, MainModuleClass

MOST_FILES: Final = 60
_SUFFIXES: Final = frozenset({".pkl", ".pickle", ".joblib", ".sav", ".jl", ".model", ".bin", ".dump"})
_SIZE_OF_NAMES: Final = 1 << 20  # bytes of a JSON file that may be a list of names
_CONTAINERS: Final = frozenset({"dict", "tuple", "list", "OrderedDict"})


@dataclass(frozen=True)
class ModelFile:
    """`name` is unique among the files of one model. `facts` is None where no object is in it; `names` are a JSON file's."""

    name: str
    path: Path
    facts: ArtifactFacts | None = None
    names: tuple[str, ...] | None = None


def gather(paths: Sequence[Path]) -> list[ModelFile]:
    """`paths` and the files of those that are folders, each looked at.

    Raises:
        LocalPathNotFound: there is none at one of them.
        InvalidArgument: a folder has more files than a model's has.
        MainModuleClass · ArtifactError: a file that was named is not one that can be served.
    """
    named: dict[Path, bool] = {}
    for path in paths:
        if not path.exists():
            raise LocalPathNotFound("FILE", str(path))
        named.update(dict.fromkeys(_files_of(path), False) if path.is_dir() else {path: True})
    if len(named) > MOST_FILES:
        raise InvalidArgument(
            "FILE", f"{len(named)} files are more than a model comes in; name those that belong to it"
        )
    names = _unique(list(named))
    return [_looked_at(path, names[path], certain) for path, certain in named.items()]


def is_container(facts: ArtifactFacts) -> bool:
    """Whether a file holds several objects in a dict, tuple or list."""
    return facts.class_module in ("builtins", "collections") and facts.class_name in _CONTAINERS


def is_model_file(path: Path) -> bool:
    """Whether its name says that an object may be in it."""
    return path.suffix.lower() in _SUFFIXES


def merged(facts: Iterable[ArtifactFacts]) -> ArtifactFacts:
    """What an environment needs that is to read all of them: the newest scikit-learn, all packages."""
    every = list(facts)
    versions = {each.sklearn_version for each in every if each.sklearn_version}
    pythons = [each.min_python for each in every if each.min_python]
    numpys = [each.numpy_major for each in every if each.numpy_major]
    return ArtifactFacts(
        format="folder",
        sklearn_version=max(versions, key=_release, default=None),
        numpy_major=max(numpys, default=None),
        min_python=max(pythons, default=None),
        protocol=max((each.protocol for each in every if each.protocol is not None), default=None),
        modules=tuple(sorted({module for each in every for module in each.modules})),
        globals=tuple(sorted({name for each in every for name in each.globals})),
        complete=all(each.complete for each in every),
    )


def writers(files: Sequence[ModelFile]) -> dict[str, list[str]]:
    """Which scikit-learn wrote which files."""
    found: dict[str, list[str]] = {}
    for file in files:
        if file.facts is not None and file.facts.sklearn_version is not None:
            found.setdefault(file.facts.sklearn_version, []).append(file.name)
    return found


def _release(version: str) -> Version:
    try:
        return Version(version)
    except InvalidVersion:
        return Version("0")


def _files_of(folder: Path) -> list[Path]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in found if not any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)]


def _unique(paths: Sequence[Path]) -> dict[Path, str]:
    """The last part of each path; where two are called alike, with the folder that they lie in."""
    names = {path: path.name for path in paths}
    for path in paths:
        if sum(name == path.name for name in names.values()) > 1 or any(
            other != path and other.name == path.name for other in paths
        ):
            names[path] = f"{path.resolve().parent.name}-{path.name}"
    if len(set(names.values())) < len(names):
        raise InvalidArgument("FILE", "two of the files are the same")
    return names


def _looked_at(path: Path, name: str, certain: bool) -> ModelFile:
    suffix = path.suffix.lower()
    if suffix == ".json" and path.stat().st_size <= _SIZE_OF_NAMES:
        return ModelFile(name, path, names=_names_in(path))
    if not certain and suffix not in _SUFFIXES:
        return ModelFile(name, path)
    try:
        return ModelFile(name, path, read_artifact(path, name))
    except MainModuleClass:
        raise
    except ArtifactError as error:
        if "it holds " in str(error) or not certain:  # a number or a text: an accuracy, a threshold
            return ModelFile(name, path)
        raise


def _names_in(path: Path) -> tuple[str, ...] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError):
        return None
    if isinstance(values, list) and values and all(isinstance(value, str) for value in values):
        return tuple(values)
    return None
