"""Adding to a run from outside its script: metrics, files, tags. (The script itself uses the shim's Run.)"""
# ruff: noqa: ARG002  Azure's signatures; some of their arguments have no effect here

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from registry.errors import InvalidArgument, LocalPathNotFound
from registry.records import Json, RunRecord
from registry.stores import disk
from registry.workspace import Workspace
from trainer import interactive
from trainer.errors import PropertyIsFixed, RunFileExists
from trainer.folder import RunFolder
from trainer.history import catch_up, take_in
from trainer.shim.azureml._fitserve import values, wire
from trainer.shim.azureml._fitserve.wire import Event, EventReader, EventWriter


class Recording:
    """The methods of `trainer.Run` that write."""

    id: str
    workspace: Workspace
    _folder: RunFolder

    @property
    def _record(self) -> RunRecord:
        return self.workspace.metadata.get_run(self.id)

    # metrics

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        """Log one number, text or boolean; logging the name again makes it a list."""
        self._metric(name, "scalar", _value(values.one_scalar, name, value), description, step)

    def log_list(self, name: str, value: Any, description: str = "") -> None:
        self._metric(name, "list", _value(values.many, name, value), description)

    def log_row(self, name: str, description: str | None = None, **columns: Any) -> None:
        row = {column: _value(values.scalar, value, name) for column, value in columns.items()}
        self._metric(name, "row", row, description)

    def log_table(self, name: str, value: Mapping[str, Any], description: str = "") -> None:
        self._metric(name, "table", _value(values.columns, name, dict(value)), description)

    def log_image(self, name: str, path: str | Path, description: str = "") -> None:
        """Keep an image file with the run."""
        kept = f"{re.sub(r'[^A-Za-z0-9._ -]', '_', name)}_{time.time_ns() // 1_000_000}{Path(path).suffix or '.png'}"
        self.upload_file(kept, path)
        self._metric(name, "image", f"aml://artifactId/ExperimentRun/dcid.{self.id}/{kept}", description)

    def log_confusion_matrix(self, name: str, value: Any, description: str = "") -> None:
        self._metric(name, "confusion_matrix", _value(values.structured, name, value, "confusion_matrix"), description)

    def log_accuracy_table(self, name: str, value: Any, description: str = "") -> None:
        self._metric(name, "accuracy_table", _value(values.structured, name, value, "accuracy_table"), description)

    def log_residuals(self, name: str, value: Any, description: str = "") -> None:
        self._metric(name, "residuals", _value(values.structured, name, value, "residuals"), description)

    def log_predictions(self, name: str, value: Any, description: str = "") -> None:
        self._metric(name, "predictions", _value(values.structured, name, value, "predictions"), description)

    def _metric(self, name: str, kind: str, value: Json, description: str | None, step: int | None = None) -> None:
        event: Event = {"type": "metric", "name": str(name), "kind": kind, "value": value, "time": wire.now()}
        if step is not None:
            event["step"] = int(step)
        if description:
            event["description"] = description
        self.record([event])

    def record(self, events: Sequence[Event]) -> None:
        """Write events beside those of the script, while it runs or later, and store the metrics."""
        with disk.writing(self._folder.root), closing(EventWriter(str(self._folder.root))) as writer:
            for event in events:
                writer.write(event)
        store = self.workspace.metadata
        written = EventReader(str(self._folder.events)).read()
        take_in(store, store.get_run(self.id), [each for each in written if each[1]["type"] == "metric"])

    def catch_up(self) -> None:
        """Store what the script has logged until now."""
        store = self.workspace.metadata
        catch_up(store, store.get_run(self.id), self._folder.events)

    # files

    def upload_file(self, name: str, path_or_stream: str | Path | BinaryIO, datastore_name: str | None = None) -> None:
        """Keep a file with the run, as `name`.

        Raises:
            InvalidArgument: the name is not a relative path.
            LocalPathNotFound: the file does not exist.
            RunFileExists: the run already has a file of that name.
        """
        name = name.replace(os.sep, "/")
        if not wire.is_plain_name(name):
            raise InvalidArgument("name", f"{name!r} is not a name for a run's file: give a relative path")
        if isinstance(path_or_stream, str | Path):
            if not Path(path_or_stream).is_file():
                raise LocalPathNotFound("path_or_stream", str(path_or_stream))
            with open(path_or_stream, "rb") as stream:
                self._keep(name, stream)
        else:
            self._keep(name, path_or_stream)

    def _keep(self, name: str, stream: BinaryIO) -> None:
        target = self._folder.files.joinpath(*name.split("/"))
        try:
            with disk.writing(target):
                wire.write_file(stream, str(target))
        except FileExistsError:
            raise RunFileExists(self.id, name) from None

    def upload_files(self, names: Sequence[str], paths: Sequence[str | Path]) -> None:
        """Upload each of `paths` under the name at the same position."""
        if len(names) != len(paths):
            raise InvalidArgument("names", f"got {len(names)} names and {len(paths)} paths")
        for name, path in zip(names, paths, strict=True):
            self.upload_file(name, path)

    def upload_folder(self, name: str, path: str | Path, datastore_name: str | None = None) -> None:
        """Upload all files of a folder, below `name`."""
        top = Path(path)
        if not top.is_dir():
            raise LocalPathNotFound("path", str(path))
        for file in sorted(file for file in top.rglob("*") if file.is_file()):
            self.upload_file(f"{name}/{file.relative_to(top).as_posix()}", file)

    # completion, for interactive runs

    def complete(self) -> None:
        """
        Raises:
            NotInteractive: the run was submitted and ends with its script.
        """
        self._end("Completed", None)

    def fail(self, error_details: object = None, error_code: str | None = None) -> None:
        """As `complete`, with status Failed; `error_details` is the reason."""
        self._end("Failed", None if error_details is None else str(error_details))

    def _end(self, status: str, error: str | None) -> None:
        interactive.end(self.workspace, self.id, status, error)

    # tags and properties

    @property
    def tags(self) -> dict[str, str]:
        return dict(self._record.tags)

    def get_tags(self) -> dict[str, str]:
        return self.tags

    def tag(self, key: str, value: object = None) -> None:
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        self._change(lambda run: replace(run, tags={**run.tags, **_texts(tags)}))

    def remove_tags(self, tags: str | Sequence[str]) -> None:
        gone = {tags} if isinstance(tags, str) else set(tags)
        self._change(lambda run: replace(run, tags={key: v for key, v in run.tags.items() if key not in gone}))

    @property
    def properties(self) -> dict[str, str]:
        return dict(self._record.properties)

    def get_properties(self) -> dict[str, str]:
        return self.properties

    def add_properties(self, properties: Mapping[str, object]) -> None:
        """Add properties, which cannot be changed later.

        Raises:
            PropertyIsFixed: one of them has another value already.
        """
        new = _texts(properties)

        def change(run: RunRecord) -> RunRecord:
            for key, value in new.items():
                if run.properties.get(key, value) != value:
                    raise PropertyIsFixed(key, run.properties[key])
            return replace(run, properties={**run.properties, **new})

        self._change(change)

    @property
    def display_name(self) -> str:
        return self._record.display_name or self.id

    @display_name.setter
    def display_name(self, name: str) -> None:
        self._change(lambda run: replace(run, display_name=name))

    name = display_name

    @property
    def description(self) -> str | None:
        return self._record.description

    @description.setter
    def description(self, text: str | None) -> None:
        self._change(lambda run: replace(run, description=text))

    def _change(self, change: Callable[[RunRecord], RunRecord]) -> None:
        self.workspace.metadata.update_run(self.id, change)


def _texts(items: Mapping[str, object]) -> dict[str, Any]:
    return {str(key): None if value is None else str(value) for key, value in items.items()}


def _value(made: Callable[..., Json], *given: Any) -> Json:
    """Convert a value for logging.

    Raises:
        InvalidArgument: the value does not fit the logging call.
    """
    try:
        return made(*given)
    except values.NotLoggable as error:
        raise InvalidArgument("value", str(error)) from None
