"""Deletes what nothing refers to any more: artifacts, interpreters, run folders, and working copies of old runs.

Anything younger than a grace period is kept, since a registration stores bytes before it refers to them. Bytes that are
stored again count as young (`FileArtifacts.receive`), so a registration that goes on meanwhile loses nothing. In an object
store nothing is deleted here: only the local copies are.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from registry.environments.interpreters import interpreter_key
from registry.environments.serving import Own, decide
from registry.errors import FitserveError
from registry.inference import versions_of_services
from registry.names import is_digest
from registry.records import ModelVersion, RunRecord
from registry.stores.base import Stores
from registry.stores.files import FileArtifacts

GRACE_S: Final = 3600.0
DAY_S: Final = 86400.0
_ENDED: Final = frozenset({"Completed", "Failed", "Canceled"})


@dataclass
class Freed:
    """What was freed, by kind. In `bytes` a file that has other links (to uv's cache) counts as nothing."""

    artifacts: list[str] = field(default_factory=list)
    interpreters: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)  # folders that no record names
    snapshots: list[str] = field(default_factory=list)
    bytes: int = 0

    def any(self) -> bool:
        return bool(self.artifacts or self.interpreters or self.runs or self.snapshots)


def prune(workspace: Stores, *, days: float = 30, dry_run: bool = False, now: float | None = None) -> Freed:
    """Free what no model, service or run that goes on needs.

    Args:
        days: interpreters that nothing needs, and working copies of runs that have ended, stay so long.
        dry_run: only report what would be freed.
        now: seconds since 1970, for tests.
    """
    return _Prune(workspace, days, dry_run, time.time() if now is None else now).run()


class _Prune:
    def __init__(self, workspace: Stores, days: float, dry_run: bool, now: float) -> None:
        self._workspace, self._dry_run = workspace, dry_run
        self._young, self._old = now - GRACE_S, now - days * DAY_S
        self._freed = Freed()

    def run(self) -> Freed:
        models = self._workspace.metadata.list_models()
        runs = self._workspace.metadata.list_runs()
        self._interpreters(self._needed_interpreters(models, runs))
        self._runs({run.id: run for run in runs}, {model.run_id for model in models})
        if isinstance(self._workspace.artifacts, FileArtifacts):
            self._artifacts(self._workspace.artifacts)
        return self._freed

    # artifacts

    def _artifacts(self, store: FileArtifacts) -> None:
        old = [place for place in sorted(self._workspace.root.glob("artifacts/??/*")) if self._is_old(place)]
        # Asked for after the files were listed: what was registered since then is named here, or its bytes are young.
        needed = set(needed_artifacts(self._workspace))
        for place in old:
            if is_digest(place.name) and place.name not in needed and self._is_old(place):
                self._freed.artifacts.append(place.name)
                self._freed.bytes += place.stat().st_size
                if not self._dry_run:
                    store.delete(place.name)

    def _is_old(self, path: Path) -> bool:
        try:
            return path.stat().st_mtime < self._young
        except FileNotFoundError:
            return False

    # interpreters

    def _needed_interpreters(self, models: Sequence[ModelVersion], runs: Sequence[RunRecord]) -> set[str]:
        metadata, own = self._workspace.metadata, Own.here()
        needed = set()
        for model in (*models, *versions_of_services(self._workspace)):
            spec = metadata.get_environment_by_digest(model.environment).spec if model.environment else None
            code = {Path(name).parts[0].removesuffix(".py") for name in self._code_of(model)}
            serving = decide(model, own, spec=spec, code=code)
            if serving.spec is not None:
                needed.add(interpreter_key(serving.spec))
                if serving.frozen is not None:
                    needed.add(interpreter_key(serving.frozen.spec(serving.spec)))
        for run in runs:
            if run.status not in _ENDED and run.environment is not None:
                needed.add(interpreter_key(metadata.get_environment_by_digest(run.environment).spec))
        return needed

    def _code_of(self, model: ModelVersion) -> list[str]:
        if model.code is None:
            return []
        try:
            return list(self._workspace.artifacts.files(model.code))
        except FitserveError:
            return []

    def _interpreters(self, needed: set[str]) -> None:
        root = self._workspace.interpreters_dir
        links = {path.name: path.resolve().name for path in root.glob("*") if path.is_symlink()}
        for key, folder in sorted(links.items()):
            ready = root / folder / "ready.json"
            if key in needed or (ready.exists() and ready.stat().st_mtime > self._old):
                continue
            self._freed.interpreters.append(key)
            if not self._dry_run:
                (root / key).unlink(missing_ok=True)  # from here on nobody finds it
            self._remove(root / folder)
        for folder_path in root.glob("*-*"):  # of builds that were killed
            stale = folder_path.name not in links.values() and not folder_path.is_symlink()
            if stale and folder_path.is_dir() and self._is_old(folder_path):
                self._freed.interpreters.append(folder_path.name)
                self._remove(folder_path)

    # runs

    def _runs(self, runs: dict[str, RunRecord], registered: set[str | None]) -> None:
        for folder in sorted(path for path in self._workspace.runs_dir.iterdir() if path.is_dir()):
            run = runs.get(folder.name)
            if run is None:
                if self._is_old(folder):
                    self._freed.runs.append(folder.name)
                    self._remove(folder)
                continue
            ended = run.end_time.timestamp() if run.status in _ENDED and run.end_time else None
            snapshot = folder / "snapshot"
            if ended is not None and ended < self._old and run.id not in registered and snapshot.is_dir():
                self._freed.snapshots.append(run.id)
                self._remove(snapshot)

    def _remove(self, folder: Path) -> None:
        self._freed.bytes += sum(_sizes(folder))
        if not self._dry_run:
            shutil.rmtree(folder, ignore_errors=True)


def needed_artifacts(workspace: Stores) -> Iterator[str]:
    """Digests of all that a registered version or a service consists of, the files of their folders among them."""
    for model in (*workspace.metadata.list_models(), *versions_of_services(workspace)):
        digests = [model.artifact.digest, model.code, model.sample, model.golden]
        digests += [model.settings.get("sample_output"), model.settings.get("expected")]
        folders = {model.code, model.artifact.digest if model.artifact.kind == "folder" else None}
        for digest in digests:
            if isinstance(digest, str):
                yield digest
                if digest in folders:
                    with contextlib.suppress(FitserveError):  # a damaged manifest keeps nothing
                        yield from workspace.artifacts.files(digest).values()


def _sizes(folder: Path) -> Iterator[int]:
    """Bytes that deleting each file frees."""
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            state = path.lstat()
            if state.st_nlink == 1 and path.is_file() and not path.is_symlink():
                yield state.st_size
