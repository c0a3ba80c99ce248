"""Bodies that take long to read: ``python -m benchmarks.big_bodies [--times 40] [--seconds 6] [--windows 3]``.

First what a request of many rows takes beside the same work by hand in one process: parse (orjson), make the array, predict, serialise
(orjson, straight from the array). Both in turn, so that a busy moment of the machine meets both, and each answer is held against the
other. A request also crosses loopback, which the work by hand does not: what that alone takes is the column of the empty uvicorn app,
which reads the body and throws it away.

Then the processor time of one such request by process: where the time goes, however busy the machine is.

Then the p99 of single rows at a fixed rate, while nothing else happens and beside a process that sends such bodies one after the
other, in windows that alternate. `quiet → beside` is what a neighbour notices.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import joblib
import numpy as np
import orjson
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.results import save
from registry import Model, ResourceConfiguration, Workspace
from tests.e2e.gateway import Gateway, serving
from tests.e2e.load import Load
from tests.e2e.models import iris_svc

COLUMNS: Final = 20
TARGET_ROWS: Final = 10_000  # whose ratio the page judges
METHODS: Final = ("predict", "predict_proba")
_CHUNK: Final = 1 << 18
_EMPTY: Final = """
import sys, uvicorn
async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})
uvicorn.run(app, fd=int(sys.argv[1]), lifespan="off", access_log=False, log_level="error")
"""


class Caller:
    """One keep-alive connection that asks with as little of its own as possible."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._sock = socket.create_connection((parts.hostname, parts.port), 60)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(_CHUNK)

    def ask(self, path: str, body: bytes, *headers: str) -> bytes:
        head = "".join(f"{line}\r\n" for line in ("Host: x", "Content-Type: application/json", *headers))
        self._sock.sendall(f"POST {path} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode())
        self._sock.sendall(body)
        got = b""
        while b"\r\n\r\n" not in got:
            got += self._read()
        told, _, answer = got.partition(b"\r\n\r\n")
        length = int(told.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r")[0])
        parts, missing = [answer], length - len(answer)
        while missing > 0:
            parts.append(self._read())
            missing -= len(parts[-1])
        assert told[9:12] == b"200", (told + b"".join(parts))[:300]
        return b"".join(parts)

    def close(self) -> None:
        self._sock.close()

    def _read(self) -> bytes:
        count = self._sock.recv_into(self._buffer)
        assert count, "the connection was closed"
        return bytes(self._buffer[:count])


def by_hand(model: Any, method: str, body: bytes) -> bytes:
    rows = np.array(orjson.loads(body)["data"], np.float64)
    return orjson.dumps({method: getattr(model, method)(rows)}, option=orjson.OPT_SERIALIZE_NUMPY)


def timed(call: Callable[[], bytes]) -> tuple[float, bytes]:
    began = time.perf_counter()
    answer = call()
    return (time.perf_counter() - began) * 1000, answer


def ratio(gateway: Gateway, empty: str, model: Any, rows: int, method: str, times: int) -> float:
    """Print one line of the table, medians in milliseconds; gives how many times as long as by hand."""
    X = np.random.default_rng(rows).normal(size=(rows, COLUMNS))
    body = orjson.dumps({"data": X.tolist(), "method": method})
    caller, nothing = Caller(gateway.url), Caller(empty)
    hand, ours, crossing = [], [], []
    for turn in range(times + 3):
        took_hand, expected = timed(lambda: by_hand(model, method, body))
        took_ours, answer = timed(lambda: caller.ask("/models/big/score", body))
        took_nothing, _ = timed(lambda: nothing.ask("/", body))
        assert orjson.loads(answer) == orjson.loads(expected)
        if turn >= 3:  # the first ones start processes and fill caches
            hand.append(took_hand)
            ours.append(took_ours)
            crossing.append(took_nothing)
    caller.close()
    nothing.close()
    middle = statistics.median
    pairs = middle(a / b for a, b in zip(ours, hand, strict=True))
    print(
        f"| {rows:,} × {COLUMNS} | {method} | {len(body) / 1e6:.1f} | {middle(hand):.1f} | {middle(crossing):.1f} "
        f"| {middle(ours):.1f} | {pairs:.2f} |",
        flush=True,
    )
    return float(pairs)


def decomposition(gateway: Gateway, model: Any, rows: int, times: int) -> None:
    """Milliseconds of processor time a request, by process; beside it those of the steps by hand."""
    X = np.random.default_rng(rows).normal(size=(rows, COLUMNS))
    body = orjson.dumps({"data": X.tolist(), "method": "predict"})
    caller = Caller(gateway.url)
    for _ in range(3):
        caller.ask("/models/big/score", body)
    pids = processes(gateway)
    before = {name: cpu_ms(pid) for name, pid in pids.items()}
    for _ in range(times):
        caller.ask("/models/big/score", body)
    spent = [f"{name} {(cpu_ms(pid) - before[name]) / times:.1f}" for name, pid in pids.items()]
    caller.close()
    parsed: Any = []
    steps: dict[str, Callable[[], Any]] = {
        "parse": lambda: parsed.append(orjson.loads(body)["data"]),
        "array": lambda: parsed.append(np.array(parsed.pop(), np.float64)),
        "predict": lambda: parsed.append(model.predict(parsed.pop())),
        "serialise": lambda: orjson.dumps({"predict": parsed.pop()}, option=orjson.OPT_SERIALIZE_NUMPY),
    }
    hand = dict.fromkeys(steps, 0.0)
    for _ in range(times):
        for name, step in steps.items():
            began = time.process_time()
            step()
            hand[name] += (time.process_time() - began) * 1000 / times
    by_hand = ", ".join(f"{name} {took:.1f}" for name, took in hand.items())
    print(f"\nProcessor ms of {rows:,} × {COLUMNS}, predict: {', '.join(spent)}; by hand {by_hand}\n")


def processes(gateway: Gateway) -> dict[str, int]:
    """Whose work a large request is."""
    found: dict[str, list[tuple[int, int]]] = {"process": [], "desk": []}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            for module, those in found.items():
                if f"gateway.http.{module}".encode() in words:
                    those.append((int(folder.name), parent))
    http = next(pid for pid, parent in found["process"] if parent == gateway.process.pid)
    desk = next(pid for pid, parent in found["desk"] if parent == http)
    return {"HTTP process": http, "desk": desk, "child": gateway.status("big")["pids"][0]}


def cpu_ms(pid: int) -> float:
    """As the scheduler counted it, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def neighbour(gateway: Gateway, rate: float, seconds: float, windows: int, rows: int) -> float:
    """Print p50 and p99 of single rows, quiet and beside, medians of the windows; gives the milliseconds that p99 grew by."""
    quiet: list[list[float]] = []
    beside: list[list[float]] = []
    bodies = failed = 0
    for _ in range(windows):
        with Load(gateway.url, "iris", rate) as load:
            time.sleep(seconds)
        failed += load.failed
        quiet.append(load.percentiles(50, 99))
        with stream(gateway.url, rows) as count, Load(gateway.url, "iris", rate) as load:
            time.sleep(seconds)
        failed += load.failed
        bodies += count()
        beside.append(load.percentiles(50, 99))
    cells = [statistics.median(window[at] for window in part) for part in (quiet, beside) for at in (0, 1)]
    shown = " | ".join(f"{cell:.2f}" for cell in cells)
    added = cells[3] - cells[1]
    print(f"| {rate:g} | {bodies / windows / seconds:.0f} | {shown} | {added:+.1f} | {failed} |", flush=True)
    return added


@contextlib.contextmanager
def stream(url: str, rows: int) -> Iterator[Callable[[], int]]:
    """A process that sends such bodies; what is given tells how many were answered, after the block."""
    command = [sys.executable, "-m", "benchmarks.big_bodies", "--stream", url, "--rows", str(rows)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        counted: list[int] = []
        yield lambda: counted[0]
        process.stdin.close()
        counted.append(int(process.stdout.readline()))


def send_stream(url: str, rows: int) -> None:
    """In that process: until its standard input is closed."""
    os.set_blocking(0, False)
    X = np.random.default_rng(1).normal(size=(rows, COLUMNS))
    body, caller, count = orjson.dumps({"data": X.tolist()}), Caller(url), 0
    caller.ask("/models/big/score", body)
    print("begun", flush=True)
    while True:
        caller.ask("/models/big/score", body)
        count += 1
        with contextlib.suppress(BlockingIOError):
            if os.read(0, 1) == b"":
                break
    print(count, flush=True)


@contextlib.contextmanager
def empty_app() -> Iterator[str]:
    """The URL of an uvicorn app that reads bodies and does nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as ours
        port = listening.getsockname()[1]
        command = [sys.executable, "-c", _EMPTY, str(listening.fileno())]
        process = subprocess.Popen(command, pass_fds=[listening.fileno()])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def measure(options: argparse.Namespace, folder: Path) -> None:
    X = np.random.default_rng(0).normal(size=(2_000, COLUMNS))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, X[:, 0] + X[:, 1] > 0)
    path = folder / "big.joblib"
    joblib.dump(model, path)
    with serving(folder / "workspace") as gateway, empty_app() as empty:
        with Workspace.open(gateway.workspace) as workspace:
            Model.register(workspace, str(iris_svc(folder)), "iris", show_output=False)
            limit = ResourceConfiguration(1, 1.0)
            Model.register(workspace, str(path), "big", resource_configuration=limit, show_output=False)
        gateway.wait_for("iris")
        gateway.wait_for("big")
        print(
            "| rows | method | body MB | by hand ms | body through an empty app ms | fitserve ms | fitserve / by hand |"
        )
        print("|---|---|---|---|---|---|---|")
        ratios = {
            (rows, method): ratio(gateway, empty, model, rows, method, options.times)
            for rows in options.sizes
            for method in METHODS
        }
        decomposition(gateway, model, options.rows, options.times)
        print(
            "\n| single rows/s | bodies/s beside | p50 quiet | p99 quiet | p50 beside | p99 beside | p99 more | failed |"
        )
        print("|---|---|---|---|---|---|---|---|")
        added = neighbour(gateway, options.rate, options.seconds, options.windows, options.rows)
    judged = {method: ratios[TARGET_ROWS, method] for method in METHODS if (TARGET_ROWS, method) in ratios}
    save("big_bodies", ratios=judged, p99_added_ms=added)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=40, help="requests of each size")
    parser.add_argument("--sizes", type=json.loads, default=[1_000, 10_000, 50_000], help="rows, as a JSON list")
    parser.add_argument("--rate", type=float, default=200, help="single rows a second")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10_000, help="of the bodies beside")
    parser.add_argument("--stream", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream:
        send_stream(options.stream, options.rows)
        return
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory(prefix="fs-") as temporary:
        measure(options, Path(temporary))


if __name__ == "__main__":
    main()
