"""The scoring path beside an empty uvicorn app, in one run: ``python benchmarks/hot_path.py [--connections 64] [--seconds 5]``.

One HTTP process and one child with an iris SVC against the least that uvicorn can do (uvloop, httptools, Content-Length set).
wrk (one thread) alternates between the two, single rows, windows of a few seconds; the ratio of the medians is printed. Answers are
checked before anything is timed. Needs wrk.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from registry.sdk.model import Model
from registry.sdk.workspace import Workspace
from tests.e2e.gateway import serving

ROOT = Path(__file__).parent.parent
ROW = [5.1, 3.5, 1.4, 0.2]
MODELS = {
    "svc": lambda: SVC(kernel="linear"),
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "forest": lambda: RandomForestClassifier(100, random_state=0),
    "boosting": HistGradientBoostingClassifier,
}
EMPTY = """
BODY = b'{"predict":[0]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
import socket, sys, uvicorn
config = uvicorn.Config(app, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="warning",
    date_header=False, server_header=False)
uvicorn.Server(config).run([socket.socket(fileno=int(sys.argv[1]))])
"""
LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '%s'
done = function(summary, latency, requests)
  io.write(string.format("\\nRESULT %%d %%d %%f %%f %%d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), summary.errors.status + summary.errors.read + summary.errors.timeout))
end
"""


def listening() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(2048)
    return sock


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, cwd=ROOT, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Server:
    """What is measured: a port, and the processes behind it."""

    port: int
    pids: tuple[int, ...]

    def cpu_seconds(self) -> list[float]:
        """Of each process so far."""
        ticks = os.sysconf("SC_CLK_TCK")
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids]
        return [(int(stat[11]) + int(stat[12])) / ticks for stat in stats]


@contextmanager
def empty_app() -> Iterator[Server]:
    with (
        listening() as sock,
        running([sys.executable, "-c", EMPTY, str(sock.fileno())], pass_fds=[sock.fileno()]) as process,
    ):
        yield Server(sock.getsockname()[1], (process.pid,))


@contextmanager
def gateway(estimator: Any, models: int = 1) -> Iterator[Server]:
    """One HTTP process and one limited child under the real supervisor; `models` names are registered, one is asked."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        joblib.dump(estimator, folder / "model.joblib")
        with Workspace.open(folder / "workspace") as workspace:
            for number in range(models):
                Model.register(
                    workspace, folder / "model.joblib", f"iris-{number}" if number else "iris", show_output=False
                )
        with serving(folder / "workspace", "--start", "first-use") as served:
            served.score("iris", [ROW])
            (child,) = served.status("iris")["pids"]
            served.http.close()  # one more connection would change nothing
            (process,) = (pid for pid in _children(served.process.pid) if b"gateway.http.process" in _command(pid))
            yield Server(int(served.url.rpartition(":")[2]), (process, child))


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def check(port: int, estimator: Any) -> None:
    """The answer over HTTP is the local one."""
    method = "predict_proba" if hasattr(estimator, "predict_proba") else "predict"
    deadline = time.monotonic() + 20
    while True:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/models/iris/score",
            json.dumps({"data": [ROW]}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                got = json.load(answer)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    assert got == {method: getattr(estimator, method)([ROW]).tolist()}, got


def wrk(server: Server, connections: int, seconds: float, folder: Path) -> list[float]:
    """Requests a second, median and p99 latency in ms, then CPU microseconds a request of each process."""
    script = folder / "post.lua"
    script.write_text(LUA % json.dumps({"data": [ROW]}))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script)]
    before = server.cpu_seconds()
    url = f"http://127.0.0.1:{server.port}/models/iris/score"
    done = subprocess.run([*command, url], capture_output=True, text=True, check=True)
    found = re.search(r"RESULT (\d+) (\d+) (\S+) (\S+) (\d+)", done.stdout)
    assert found is not None, done.stdout
    requests, microseconds, p50, p99, errors = (float(word) for word in found.groups())
    assert not errors, done.stdout
    cpu = [(now - then) / requests * 1e6 for then, now in zip(before, server.cpu_seconds(), strict=True)]
    return [requests / microseconds * 1e6, p50 / 1000, p99 / 1000, *cpu]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, nargs="+", default=[64])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--model", choices=MODELS, default="svc")
    parser.add_argument("--models", type=int, default=1, help="how many names are registered")
    options = parser.parse_args()
    data = load_iris()
    estimator = MODELS[options.model]().fit(data.data, data.target)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = {"empty": stack.enter_context(empty_app())}
        servers["gateway"] = stack.enter_context(gateway(estimator, options.models))
        check(servers["gateway"].port, estimator)
        print(f"{options.model}, {options.models} model(s), {os.cpu_count()} cores")
        for connections in options.connections:
            measure(servers, connections, options.seconds, options.windows, folder)


def measure(servers: dict[str, Server], connections: int, seconds: float, windows: int, folder: Path) -> None:
    """Alternate between the two and print medians."""
    for server in servers.values():
        wrk(server, connections, 1, folder)
    seen: dict[str, list[list[float]]] = {name: [] for name in servers}
    for _ in range(windows):
        for name, server in servers.items():
            seen[name].append(wrk(server, connections, seconds, folder))
    medians = {name: [statistics.median(column) for column in zip(*runs, strict=True)] for name, runs in seen.items()}
    lead = f"  {connections:4d} connections  "
    for name, (rate, p50, p99, *cpu) in medians.items():
        used = " + ".join(f"{each:.1f}" for each in cpu)
        print(f"{lead}{name:8s} {rate:9,.0f} requests/s  p50 {p50:7.3f} ms  p99 {p99:7.3f} ms  CPU {used} us/request")
    rates, cpus = ([medians[name][index] for name in ("gateway", "empty")] for index in (0, 3))
    print(f"{lead}ratio    {rates[0] / rates[1]:9.3f} (by CPU of the HTTP process {cpus[1] / cpus[0]:.3f})", flush=True)


if __name__ == "__main__":
    main()
