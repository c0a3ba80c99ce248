"""An open loop of scoring requests from a thread of its own: requests leave at a fixed rate, whether or not answers come.

Each request asks for one of three flowers, and its answer must be that flower: an answer that went to somebody else's request
counts as a failure, like every status but 200 and every broken connection. Latency counts from the time at which the request should have left.
"""

import asyncio
import itertools
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self, cast
from urllib.parse import urlsplit

import numpy as np

#: Rows that a linear SVC on iris tells apart, by their class.
FLOWERS = ([5.1, 3.5, 1.4, 0.2], [5.9, 2.8, 4.3, 1.3], [6.7, 3.0, 5.6, 2.3])
_BATCH_S = 0.001  # requests that are due within a millisecond leave together


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on it."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._asked: tuple[float, int] | None = None

    def ask(self, due: float, flower: int) -> None:
        assert self._transport is not None
        self._asked = due, flower
        self._transport.write(self._load.requests[flower])

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        asked, self._asked = self._asked, None
        if asked is None:
            self._load.note_failure("an answer to no question")
            return
        self._load.answered(self, *asked, int(head[9:12]), rest[:length])

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._asked is not None:
            self._asked = None
            self._load.note_failure(f"connection lost ({type(exc).__name__ if exc else 'closed'})")


class Load:
    """``with Load(url, "iris", rate=500) as load: …``; read it after the block.

    `latencies` in seconds, of good answers, with the monotonic time each was due in `due`; `failures` counts by what was seen.
    """

    def __init__(self, url: str, model: str, rate: float, connections: int = 256, path: str | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._port = cast(str, parts.hostname), cast(int, parts.port)
        path = path or f"/models/{model}/score"
        self.requests = [self._request(path, row) for row in FLOWERS]
        self._answers = [json.dumps({"predict": [number]}, separators=(",", ":")).encode() for number in range(3)]
        self._rate, self._most = rate, connections
        self.sent = 0
        self.latencies: list[float] = []
        self.due: list[float] = []
        self.failures: Counter[str] = Counter()
        self._free: deque[Connection] = deque()
        self._open = 0
        self._waiting: deque[tuple[float, int]] = deque()
        self._outstanding = 0
        self._stop = threading.Event()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)

    def _request(self, path: str, row: Sequence[float]) -> bytes:
        body = json.dumps({"data": [row]}).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    # for whoever measures

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._begun.wait(30), f"no answer within 30 s: {self.failures}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(60)

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    def percentiles(self, *shares: float, between: tuple[float, float] | None = None) -> list[float]:
        """Milliseconds. `between`: only requests that were due between these monotonic times."""
        chosen = np.array(self.latencies) * 1000
        if between is not None:
            due = np.array(self.due)
            chosen = chosen[(due >= between[0]) & (due < between[1])]
        return (
            [float(np.percentile(chosen, share)) for share in shares] if len(chosen) else [float("nan")] * len(shares)
        )

    # in the thread

    async def _run(self) -> None:
        flowers = itertools.cycle((0, 1, 2, 1, 0, 2, 2))
        begin = time.monotonic()
        number = 0
        while not self._stop.is_set():
            due = begin + number / self._rate
            pause = due - time.monotonic()
            if pause > _BATCH_S:
                await asyncio.sleep(pause)
            elif number % 32 == 0:
                await asyncio.sleep(0)
            number += 1
            self.sent += 1
            self._outstanding += 1
            self._waiting.append((due, next(flowers)))
            self._dispatch()
        deadline = time.monotonic() + 30
        while self._outstanding and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        if self._outstanding:
            self.failures["no answer within 30 s"] += self._outstanding
        for connection in self._free:
            connection.close()
        await asyncio.sleep(0)

    def _dispatch(self) -> None:
        while self._waiting and self._free:
            connection = self._free.pop()
            if connection.usable:
                connection.ask(*self._waiting.popleft())
            else:
                self._open -= 1
        if self._waiting and self._open < self._most:
            self._open += 1
            task = asyncio.get_running_loop().create_task(self._connect())
            task.add_done_callback(lambda done: done.result())

    async def _connect(self) -> None:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self), self._host, self._port
            )
        except OSError as error:
            self._open -= 1
            if self._waiting:
                self._waiting.popleft()
                self.note_failure(f"not connected ({type(error).__name__})")
            return
        self._free.append(connection)
        self._dispatch()

    def answered(self, connection: Connection, due: float, flower: int, status: int, body: bytes) -> None:
        self._free.append(connection)
        if status != 200:
            self.note_failure(f"{status} {body[:200].decode(errors='replace')}")
        elif body.replace(b" ", b"") != self._answers[flower]:
            self.note_failure(f"flower {flower} was answered {body[:80].decode(errors='replace')}")
        else:
            self._outstanding -= 1
            self.latencies.append(time.monotonic() - due)
            self.due.append(due)
            self._begun.set()
        self._dispatch()

    def note_failure(self, what: str) -> None:
        self._outstanding -= 1
        self.failures[what] += 1
