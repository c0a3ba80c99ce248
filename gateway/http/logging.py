"""Logs of the gateway's processes, which share one stream: lines of one form, in one time.

Lines of the access log are collected in memory and written by a thread, never by the loop.
"""

import logging
import queue
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Final, TextIO

_FORMAT: Final = "%(asctime)s.%(msecs)03dZ %(levelname).1s [%(process)d] %(name)s - %(message)s"
_TIME: Final = "%Y-%m-%dT%H:%M:%S"
_MOST: Final = 10_000  # lines that may wait for a slow disk; what comes on top is counted, not kept


def set_up(level: str, stream: TextIO = sys.stderr) -> None:
    """Lines to `stream`, times in UTC. Chatter of libraries stays below a warning."""
    formatter = logging.Formatter(_FORMAT, _TIME)
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn", "uvicorn.error", "asyncio", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class AccessLog:
    """One line for each scored request: ``2026-01-31T12:00:00.123Z POST /score 200 1.303ms 92``."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._lines: queue.SimpleQueue[tuple[float, str, str, int, float, int] | None] = queue.SimpleQueue()
        self._dropped = 0  # since the start; only `add` changes it
        self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
        self._thread.start()

    def add(self, verb: str, path: str, status: int, seconds: float, size: int) -> None:
        """Called in the loop; costs a put. `path` is from the request, so it is written as ASCII without line ends."""
        if self._lines.qsize() >= _MOST:
            self._dropped += 1
            return
        self._lines.put((time.time(), verb, path, status, seconds, size))

    def close(self, within_s: float = 2.0) -> None:
        """Write what is left, unless the disk is too slow for that."""
        self._lines.put(None)
        self._thread.join(within_s)

    def _write(self) -> None:
        """Runs in the thread."""
        told = 0
        while (line := self._lines.get()) is not None:
            text = [_line(*line)]
            while len(text) < 1000 and not self._lines.empty():
                if (line := self._lines.get()) is None:
                    self._lines.put(None)
                    break
                text.append(_line(*line))
            dropped = self._dropped
            if dropped > told:
                text.append(f"{dropped - told} lines of the access log were dropped\n")
                told = dropped
            self._stream.write("".join(text))
            self._stream.flush()


def _line(when: float, verb: str, path: str, status: int, seconds: float, size: int) -> str:
    stamp = datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{stamp} {verb} {ascii(path)[1:-1]} {status} {seconds * 1000:.3f}ms {size}\n"
