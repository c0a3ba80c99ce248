"""A line at the foot of the terminal that says what a run is doing and for how long, below the log that streams past."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO, cast

from tqdm import tqdm

from trainer import Run

_REFRESH_S = 0.3


@contextlib.contextmanager
def status_line(run: Run) -> Iterator[None]:
    """Show status and elapsed time on a terminal while the block runs; nothing where standard error is a file."""
    if not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()
    with tqdm(bar_format="{desc} · {elapsed}", desc="Starting", leave=False, file=sys.stderr) as bar:
        above = _Above(sys.stdout, bar)
        watcher = threading.Thread(target=_watch, args=(run, bar, above, ended), daemon=True)
        watcher.start()
        try:
            with contextlib.redirect_stdout(cast(TextIO, above)):
                yield
        finally:
            ended.set()
            watcher.join()


class _Above:
    """Standard output while the line is shown: clears the line before it writes."""

    def __init__(self, stream: TextIO, bar: Any) -> None:
        self._stream, self._bar = stream, bar
        self.midline = False

    def write(self, text: str) -> int:
        with self._bar.get_lock():
            self._bar.clear(nolock=True)
            written = self._stream.write(text)
            self._stream.flush()
            self.midline = not text.endswith("\n") if text else self.midline
        return written

    def flush(self) -> None:
        self._stream.flush()


def _watch(run: Run, bar: Any, above: _Above, ended: threading.Event) -> None:
    while not ended.wait(_REFRESH_S):
        status = run.get_status()
        if not above.midline:
            bar.set_description_str(status)
