"""A line at the foot of the terminal that says what a run is doing and for how long, below the log that streams past."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import TextIO, cast

from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile

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
        watcher = threading.Thread(target=_watch, args=(run, bar, ended), daemon=True)
        watcher.start()
        try:
            with contextlib.redirect_stdout(
                cast(TextIO, DummyTqdmFile(sys.stdout))
            ):  # what is printed goes above the line
                yield
        finally:
            ended.set()
            watcher.join()


def _watch(run: Run, bar: "tqdm[object]", ended: threading.Event) -> None:
    while not ended.wait(_REFRESH_S):
        bar.set_description_str(run.get_status())
