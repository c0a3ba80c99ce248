"""Models of a run: find the files that its script saved anywhere below the run's folder, and choose one.

Files are recognised by content, without executing anything. Unchanged files of the snapshot do not count.
"""

import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.artifact import read_artifact
from registry.byte_source import compressor_of
from registry.errors import MainModuleClass, ModelPathNotFound, NotAnArtifact
from trainer.errors import NoModelInRun, SeveralModelsInRun
from trainer.folder import RunFolder, file_digest
from trainer.mlflow_store import FOLDER as MLFLOW_FOLDER
from trainer.shim.azureml._fitserve.wire import COLLECTED, stays_below

SUFFIXES: Final = (".joblib", ".pkl", ".pickle", ".sav", ".jl", ".skops", ".model")
_SKIPPED: Final = frozenset({"__pycache__", ".git", ".ipynb_checkpoints", ".venv", "venv", "node_modules", ".trash"})
_LOGS: Final = ("user_logs/", "azureml-logs/")
_PLAIN: Final = ("builtins", "pandas", "numpy", "scipy", "collections", "datetime", "decimal")
_PREPARING: Final = ("preprocessing", "impute", "feature_extraction", "feature_selection", "compose")

# Kinds of files, best first.
_PREDICTOR, _TRANSFORMER, _OTHER = range(3)


@dataclass(frozen=True)
class FoundModel:
    """`name` is the name of the run's file, or the path relative to the script's working folder."""

    name: str
    path: Path
    rank: int
    time: float

    @property
    def is_called_model(self) -> bool:
        return Path(self.name).stem == "model"


def find_models(folder: RunFolder) -> list[FoundModel]:
    """All model files of a run: predictors before transformers, the newest first.

    Models beside the script are used only if ./outputs and the uploaded files hold none, and models in MLflow's store only
    if there is none beside the script either.
    """
    kept = _recognised((name, folder.find(name)) for name in folder.names() if not name.startswith(_LOGS))
    if any(model.rank < _OTHER for model in kept):
        return kept
    written = _recognised(_written(folder))
    beside = [model for model in written if not model.name.startswith(MLFLOW_FOLDER + "/")]
    for found in (beside, written):
        if any(model.rank < _OTHER for model in found):
            return found
    return kept or beside


def choose_model(run_id: str, folder: RunFolder) -> FoundModel:
    """The only model of a run; among several, the one whose file is called model.

    Raises:
        NoModelInRun, SeveralModelsInRun
    """
    found = find_models(folder)
    models = [model for model in found if model.rank < _OTHER] or found
    if not models:
        written = [name for name, _ in _written(folder)]
        raise NoModelInRun(run_id, [name for name in (*folder.names(), *written) if not name.startswith(_LOGS)])
    named = [model for model in models if model.is_called_model]
    if len(named) == 1:
        return named[0]
    if len({file_digest(model.path) for model in models}) > 1:
        raise SeveralModelsInRun(model.name for model in models)
    return models[0]


def find_model(folder: RunFolder, asked: str, *, beside_script: bool = True) -> Path:
    """The file or folder that `asked` names: among the run's files, else in the script's working folder.

    Raises:
        ModelPathNotFound: lists the existing names.
    """
    name = posixpath.normpath(asked.strip() or ".")
    names = folder.names()
    found = folder.find(name)
    if found is not None:
        return found
    if any(other.startswith(name + "/") for other in names):
        kept = folder.files / name
        return kept if kept.is_dir() else folder.snapshot / name
    path = folder.snapshot / name
    if beside_script and name != "." and stays_below(str(path), str(folder.root)):
        inside = any(_is_below(other, name) for other, _ in _written(folder)) if path.is_dir() else path.is_file()
        if inside and not _is_ours(folder, path):
            return path
    raise ModelPathNotFound(name, {*names, *(model.name for model in find_models(folder))})


def _recognised(files: Iterable[tuple[str, Path | None]]) -> list[FoundModel]:
    found = []
    for name, path in files:
        rank = None if path is None else _rank(path, name)
        if path is not None and rank is not None:
            found.append(FoundModel(name, path, rank, path.stat().st_mtime))
    return sorted(found, key=lambda model: (model.rank, -model.time, model.name))


def _rank(path: Path, name: str) -> int | None:
    """The kind of a file; None if it is not a model file."""
    is_named = path.suffix.lower() in SUFFIXES
    with path.open("rb") as file:
        start = file.read(64)
    if not is_named and not (start[:1] == b"\x80" and start[1:2] <= b"\x05") and compressor_of(start) is None:
        return None
    try:
        facts = read_artifact(path, name)
    except MainModuleClass:
        return _PREDICTOR
    except NotAnArtifact:
        return _OTHER if is_named else None
    module = facts.class_module or ""
    if not facts.complete:
        return _PREDICTOR
    if facts.class_name is None or module.split(".")[0] in _PLAIN:
        return _OTHER if is_named else None
    return _TRANSFORMER if module.startswith("sklearn.") and module.split(".")[1] in _PREPARING else _PREDICTOR


def _written(folder: RunFolder) -> Iterator[tuple[str, Path]]:
    """New and changed files below the run's folder that are not collected; paths are relative to the script's working folder."""
    brought = folder.read_manifest()
    for path in _below(folder.snapshot):
        name = path.relative_to(folder.snapshot).as_posix()
        is_collected = name.startswith(tuple(f"{part}/" for part in COLLECTED))
        if not is_collected and (name not in brought or file_digest(path) != brought[name]):
            yield name, path
    for path in _below(folder.root):
        if not _is_ours(folder, path) and folder.snapshot not in path.parents:
            yield "../" + path.relative_to(folder.root).as_posix(), path


def _below(top: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and stays_below(str(path), str(top)):
                yield path


def _is_ours(folder: RunFolder, path: Path) -> bool:
    """Whether fitserve itself wrote this file of the run's folder."""
    first = Path(os.path.realpath(path)).relative_to(os.path.realpath(folder.root)).parts[0]
    return first == folder.files.name or (first != folder.snapshot.name and (folder.root / first).is_file())


def _is_below(name: str, folder: str) -> bool:
    return posixpath.normpath(name).startswith(folder + "/")
