"""RunFolder: the files of one run, in ``runs/<run id>/`` of the workspace.

::

    run.json          facts about the run that its script may read
    snapshot/         copy of the source folder, and the script's working directory
    snapshot.json     the files of that copy with their digests
    files/            the run's files: outputs/…, logs/…, user_logs/std_log.txt, uploads
    events.jsonl      what the script logged
    launcher.json     pid and start time of the launcher
    launcher.log      output of the launcher itself
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from registry.records import Json
from registry.stores.disk import link_or
from trainer.shim.azureml._fitserve import wire

LOG_NAME: Final = "user_logs/std_log.txt"
LOG_ALIAS: Final = "azureml-logs/70_driver_log.txt"
BUILD_LOG_NAME: Final = "azureml-logs/20_image_build_log.txt"


@dataclass(frozen=True)
class RunFolder:
    root: Path

    @property
    def snapshot(self) -> Path:
        return self.root / wire.SNAPSHOT_NAME

    @property
    def manifest(self) -> Path:
        return self.root / wire.MANIFEST_NAME

    @property
    def files(self) -> Path:
        return self.root / wire.FILES_NAME

    @property
    def events(self) -> Path:
        return self.root / wire.EVENTS_NAME

    @property
    def log(self) -> Path:
        return self.files / LOG_NAME

    @property
    def build_log(self) -> Path:
        return self.files / BUILD_LOG_NAME

    @property
    def launcher_log(self) -> Path:
        return self.root / "launcher.log"

    @property
    def launcher_file(self) -> Path:
        return self.root / "launcher.json"

    def create(self) -> None:
        """Create the folder and its subfolders, readable by their owner only."""
        self.root.mkdir(mode=0o700, parents=True)
        self.files.mkdir()
        self.log.parent.mkdir()
        alias = self.files / LOG_ALIAS
        alias.parent.mkdir()
        self.log.touch()
        alias.symlink_to(os.path.relpath(self.log, alias.parent))

    def write_facts(self, facts: dict[str, Json]) -> None:
        """Write `run.json`, which the shim reads inside the run."""
        (self.root / wire.RUN_NAME).write_text(json.dumps(facts), encoding="utf-8")

    def read_facts(self) -> dict[str, Json]:
        facts: dict[str, Json] = json.loads((self.root / wire.RUN_NAME).read_text(encoding="utf-8"))
        return facts

    def write_manifest(self, files: Mapping[str, str]) -> None:
        self.manifest.write_text(json.dumps(dict(files)), encoding="utf-8")

    def read_manifest(self) -> dict[str, str]:
        """Relative path → SHA-256 of the snapshot's files; empty for a run without a snapshot."""
        try:
            files: dict[str, str] = json.loads(self.manifest.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return files

    def names(self) -> list[str]:
        """Names of the run's files, including those that are not collected yet."""
        return wire.list_files(str(self.root))

    def find(self, name: str) -> Path | None:
        """The path of one of `names()`; None for any other name."""
        found = wire.find_file(str(self.root), name)
        return None if found is None else Path(found)

    def collect(self) -> list[str]:
        """Move the files in ./outputs and ./logs to the run's files; returns the names left behind, with reasons.

        Unchanged files of the snapshot are not products of the run and stay; so does a file whose name was already uploaded.
        """
        brought = self.read_manifest()
        left: list[str] = []
        for part in wire.COLLECTED:
            top = self.snapshot / part
            for path in sorted(top.rglob("*")) if top.is_dir() and not top.is_symlink() else ():
                name = path.relative_to(self.snapshot).as_posix()
                if path.is_dir() and not path.is_symlink():
                    continue
                problem = self._take(path, name, brought)
                if problem:
                    left.append(f"{name} ({problem})")
        return left

    def _take(self, path: Path, name: str, brought: dict[str, str]) -> str | None:
        if not path.is_file():
            return "not a regular file"
        if not wire.stays_below(str(path), str(self.root)):
            return "a link that leads out of the run's folder"
        if name in brought and file_digest(path) == brought[name]:
            return None
        target = self.files / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if path.is_symlink():
                wire.copy_file(str(path), str(target))
            else:
                link_or("rename", path, target)
                path.unlink(missing_ok=True)
        except FileExistsError:
            return "a file of that name was already uploaded"
        return None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    import hashlib  # late: a launcher needs it only after its script has ended

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
