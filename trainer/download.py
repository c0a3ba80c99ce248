"""Downloads from a run: copies of its files, its logs and its snapshot."""
# ruff: noqa: ARG002  Azure's signatures; some of their arguments have no effect here

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from registry.errors import InvalidArgument
from trainer.errors import RunFileNotFound
from trainer.folder import RunFolder

_LOGS: Final = ("user_logs", "azureml-logs", "logs")


class Downloads:
    """The methods of `trainer.Run` that copy files."""

    id: str
    _folder: RunFolder

    def get_file_names(self) -> list[str]:
        """Names of the run's files; while it runs, including those in ./outputs and ./logs so far."""
        return self._folder.names()

    def download_file(self, name: str, output_file_path: str | Path | None = None) -> Path:
        """Copy one file to `output_file_path` (a file or an existing folder), by default into the current folder.

        Raises:
            RunFileNotFound: lists the existing names.
        """
        source = self._folder.find(name)
        if source is None:
            raise RunFileNotFound(name, self.get_file_names())
        return copy_to(source, output_file_path, Path(name).name)

    def download_files(
        self,
        prefix: str | None = None,
        output_directory: str | Path | None = None,
        output_paths: Sequence[str | Path] | None = None,
        batch_size: int = 100,
        append_prefix: bool = True,
        timeout_seconds: float | None = None,
    ) -> list[Path]:
        """Copy the files below `prefix` into `output_directory`, or to `output_paths` one by one.

        With `append_prefix`, the prefix is part of the target paths.
        """
        start = "" if not prefix else prefix.rstrip("/") + "/"
        names = [name for name in self.get_file_names() if name.startswith(start) or name == prefix]
        if output_paths is not None:
            return [self.download_file(name, path) for name, path in zip(names, output_paths, strict=True)]
        folder = Path(output_directory or ".")
        kept = [name if append_prefix else name.removeprefix(start) for name in names]
        return [self.download_file(name, folder / path) for name, path in zip(names, kept, strict=True)]

    def get_all_logs(self, destination: str | Path | None = None) -> list[str]:
        """Copy the logs below `destination`, by default below ``./logs``; returns the paths of the copies."""
        names = [name for name in self.get_file_names() if name.split("/")[0] in _LOGS]
        return [str(self.download_file(name, Path(destination or "logs", name))) for name in names]

    def restore_snapshot(self, snapshot_id: str | None = None, path: str | Path | None = None) -> str:
        """Write the source as it was submitted to a ZIP file in the folder `path`, by default the current one; returns its path.

        Raises:
            InvalidArgument: the run has no snapshot, or another one.
        """
        there = getattr(self, "properties", {}).get("ContentSnapshotId")
        if there is None or snapshot_id not in (None, there):
            raise InvalidArgument("snapshot_id", f"the run {self.id} has {'none' if there is None else there}")
        target = Path(path or ".").absolute() / f"{there}.zip"
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(self._folder.read_manifest()):
                archive.write(self._folder.snapshot / name, name)
        return str(target)


def copy_to(source: Path, target: str | Path | None, name: str) -> Path:
    """Copy a file to `target` (a path, or a folder that exists), by default as `name` into the current folder."""
    path = Path(target) if target is not None else Path(name)
    if path.is_dir():
        path = path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    return path
