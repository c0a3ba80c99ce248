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

from gateway.control import encode
from gateway.schema import schema_for
from gateway.settings import Settings
from gateway.table import ChildAddress, ModelEntry, Publisher, VersionEntry

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
def gateway(estimator: Any, models: int = 1, **settings: Any) -> Iterator[Server]:
    """One HTTP process and one child, without a supervisor; `models` names share the child."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model, path = folder / "model.joblib", str(folder / "child")
        joblib.dump(estimator, model)
        child = stack.enter_context(
            running([sys.executable, "-m", "tests.gateway.stub_child", path, str(model)], stdout=subprocess.PIPE)
        )
        assert child.stdout is not None
        child.stdout.readline()
        sock = stack.enter_context(listening())
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        with theirs:
            arguments = ["--control-fd", str(theirs.fileno()), "--listen-fd", str(sock.fileno())]
            arguments += ["--settings", json.dumps(Settings(**settings).to_json())]
            command = [sys.executable, "-m", "gateway.http.process", *arguments]
            process = stack.enter_context(running(command, pass_fds=[theirs.fileno(), sock.fileno()]))
        names = ["iris", *(f"iris-{number}" for number in range(1, models))]
        ours.sendall(encode(table(estimator, path, names)))
        yield Server(sock.getsockname()[1], (process.pid, child.pid))


def table(estimator: Any, path: str, names: list[str]) -> dict[str, Any]:
    methods = [method for method in ("predict", "predict_proba") if hasattr(estimator, method)]
    description = {"methods": methods, "n_features": 4, "kind": "array", "classes": [0, 1, 2], "allows_nan": False}
    entries = {}
    for number, name in enumerate(names):
        version = VersionEntry(
            name=name,
            version=1,
            state="live",
            children=(ChildAddress(number + 1, path),),
            description=description,
            schema=schema_for(description),
        )
        entries[name] = ModelEntry(name=name, latest=1, live=1, versions={1: version})
    message = Publisher().update(entries, names[0], None)
    assert message is not None
    return message


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
