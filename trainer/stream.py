"""The output of `wait_for_completion(show_output=True)`, in Azure's form."""

import sys
from collections.abc import Callable
from typing import Final, TextIO

from trainer.folder import BUILD_LOG_NAME, LOG_NAME, RunFolder
from trainer.log import Follower

_LOGS: Final = (BUILD_LOG_NAME, LOG_NAME)


class Stream:
    """Prints the logs of a run as they grow; `show()` prints new text."""

    def __init__(self, folder: RunFolder, run_id: str, web_view: str, out: TextIO | None = None) -> None:
        self._out = out if out is not None else sys.stdout
        self._followers = {name: Follower(folder.files / name) for name in _LOGS}
        self._shown: str | None = None
        self._at_line_start = True
        self._head = (f"RunId: {run_id}\n", f"Web View: {web_view}\n")
        for line in self._head:
            self._write(line)
        self._out.flush()

    def show(self) -> None:
        for name, follower in self._followers.items():
            for text in follower.read():
                self._begin(name)
                self._write(text)
        self._out.flush()

    def summary(self) -> None:
        self._end_line()
        self._write("\nExecution Summary\n=================\n")
        for line in self._head:
            self._write(line)
        self._write("\n")
        self._out.flush()

    def _begin(self, name: str) -> None:
        if name != self._shown:
            self._end_line()
            self._write(f"\nStreaming {name}\n{'=' * (len(name) + 10)}\n\n")
            self._shown = name

    def _end_line(self) -> None:
        if not self._at_line_start:
            self._write("\n")

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
        except UnicodeEncodeError:  # the terminal cannot encode the character
            encoding = self._out.encoding or "ascii"
            self._out.write(text.encode(encoding, "replace").decode(encoding))
        self._at_line_start = text.endswith("\n")


def follow(stream: Stream | None, ended: Callable[[], bool], pause: Callable[[], None]) -> None:
    """Show new output until `ended()` is true, then the rest."""
    while not ended():
        if stream is not None:
            stream.show()
        pause()
    if stream is not None:
        stream.show()
