"""What is added to a run from outside of its script: metrics, files, children. (A script does so through the shim's Run.)"""
# ruff: noqa: ARG002  Azure's signatures, whose rarer arguments mean nothing here

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from registry.errors import InvalidArgument, LocalPathNotFound
from registry.records import Json
from registry.stores import disk
from registry.workspace import Workspace
from trainer.errors import RunFileExists
from trainer.folder import RunFolder
from trainer.history import INTERACTIVE_TYPE, TERMINAL, add_details, take_in
from trainer.shim.azureml._fitserve import values, wire
from trainer.shim.azureml._fitserve.wire import Event, EventReader, EventWriter

if TYPE_CHECKING:
    from trainer.run import Run

#: Events that a second reader may bring into the store beside the first, without undoing what others did since.
_AGAIN = frozenset({"metric", "child", "status"})
_TAKEN = "events_taken"  # number of the last event of an interactive run that is in the store


class Recording:
    """The part of `trainer.Run` that writes."""

    id: str
    _folder: RunFolder

    if TYPE_CHECKING:

        @property
        def workspace(self) -> Workspace: ...

    # metrics

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        """One number, text or boolean; once more, and it is a list."""
        self._metric(name, "scalar", _value(values.one_scalar, name, value), description, step)

    def log_list(self, name: str, value: Any, description: str = "") -> None:
        self._metric(name, "list", _value(values.many, name, value), description)

    def log_row(self, name: str, description: str | None = None, **columns: Any) -> None:
        row = {column: _value(values.scalar, value, name) for column, value in columns.items()}
        self._metric(name, "row", row, description)

    def log_table(self, name: str, value: Mapping[str, Any], description: str = "") -> None:
        self._metric(name, "table", _value(values.columns, name, dict(value)), description)

    def log_image(self, name: str, path: str | Path, description: str = "") -> None:
        """Keep an image file of the run."""
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
        """Write what was logged beside the run's script, or when that has ended, and bring it into the store."""
        with disk.writing(self._folder.root), closing(EventWriter(str(self._folder.root))) as writer:
            for event in events:
                writer.write(event)
        store = self.workspace.metadata
        written = EventReader(str(self._folder.events)).read()
        take_in(store, store.get_run(self.id), [each for each in written if each[1]["type"] == "metric"])

    def catch_up(self) -> None:
        """Bring into the store what the script has logged until now; a launcher does so twice a second."""
        store = self.workspace.metadata
        run = store.get_run(self.id)
        if run.status not in TERMINAL and self._folder.events.exists():
            events = EventReader(str(self._folder.events)).read()
            if run.type == INTERACTIVE_TYPE:  # nobody else reads what its program writes
                events = [each for each in events if each[0] > run.details.get(_TAKEN, -1)]
                take_in(store, run, events)
                if events:
                    add_details(store, self.id, {_TAKEN: events[-1][0]})
            else:
                take_in(store, run, [each for each in events if "run" in each[1] or each[1]["type"] in _AGAIN])

    # files

    def upload_file(self, name: str, path_or_stream: str | Path | BinaryIO, datastore_name: str | None = None) -> None:
        """Keep a file with the run, as `name`.

        Raises:
            InvalidArgument: the name is no relative path.
            LocalPathNotFound: there is no such file.
            RunFileExists: the run has one of that name.
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
        """Each of `paths` as the name at the same place."""
        if len(names) != len(paths):
            raise InvalidArgument("names", f"there are {len(names)} names and {len(paths)} paths")
        for name, path in zip(names, paths, strict=True):
            self.upload_file(name, path)

    def upload_folder(self, name: str, path: str | Path, datastore_name: str | None = None) -> None:
        """All files of a folder, below `name`."""
        top = Path(path)
        if not top.is_dir():
            raise LocalPathNotFound("path", str(path))
        for file in sorted(file for file in top.rglob("*") if file.is_file()):
            self.upload_file(f"{name}/{file.relative_to(top).as_posix()}", file)

    # its end, where a program decides that, and what is below it

    def complete(self) -> None:
        """
        Raises:
            NotInteractive: it was submitted, and ends with its script.
        """
        self._end("Completed", None)

    def fail(self, error_details: object = None, error_code: str | None = None) -> None:
        """As `complete`; `error_details` says why."""
        self._end("Failed", None if error_details is None else str(error_details))

    def _end(self, status: str, error: str | None) -> None:
        from trainer import interactive

        interactive.end(self._self(), status, error)

    def child_run(self, name: str | None = None) -> "Run":
        """A run below this one, for this program to log to and to end."""
        from trainer import interactive

        run = self._self()
        return interactive.begin(run.workspace, run.experiment.name, name, parent=run.id)

    def create_children(
        self, count: int | None = None, tag_key: str | None = None, tag_values: Sequence[str] | None = None
    ) -> "list[Run]":
        """`count` of them, or one for each of `tag_values`, which it has as its tag `tag_key`."""
        if (count is None) == (tag_values is None) or (tag_key is None) != (tag_values is None):
            raise InvalidArgument("count", "give either count, or tag_key and tag_values")
        children = [self.child_run() for _ in range(len(tag_values or ()) if count is None else count)]
        for child, value in zip(children, tag_values or (), strict=False):
            child.tag(str(tag_key), value)
        return children

    def _self(self) -> "Run":
        from trainer.run import Run

        assert isinstance(self, Run)
        return self


def _value(made: Callable[..., Json], *given: Any) -> Json:
    """What is logged of a value.

    Raises:
        InvalidArgument: it is not what the logging call is for.
    """
    try:
        return made(*given)
    except values.NotLoggable as error:
        raise InvalidArgument("value", str(error)) from None
