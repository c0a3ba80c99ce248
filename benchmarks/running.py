"""A server of the table in servers.py, running: its environment, its processes, what they use, and asking it."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np

from benchmarks.servers import ROWS, SAME, Place, Server
from registry.environments.installers import Wanted, choose_installer
from registry.environments.pythons import Python

ENVIRONMENTS: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fitserve-benchmarks"
START_S: Final = 120.0
_MARK: Final = "FITSERVE_BENCHMARK"  # a variable that all processes of a server inherit
_QUIET: Final = {
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "AML_APP_INSIGHTS_ENABLED": "false",
}


def environment(server: Server, root: Path) -> Path:
    """The folder of programs of its environment, made with uv or with venv and pip when it is not there yet. Servers with the same packages share one."""
    if not server.packages:
        return Path(sys.executable).parent
    folder = root / server.packages[0].partition("[")[0]
    ready = folder / "ready"
    wanted = Wanted((*server.packages, *SAME))
    if not ready.exists() or ready.read_text() != repr(wanted):
        print(f"installing {', '.join(server.packages)} into {folder}", file=sys.stderr, flush=True)
        root.mkdir(parents=True, exist_ok=True)
        installer, (major, minor, micro) = choose_installer(), sys.version_info[:3]
        if not (folder / "bin" / "python").exists():
            installer.create(Python((major, minor, micro), Path(sys.executable)), folder, lambda _: None)
        installer.install(folder / "bin" / "python", wanted, folder, lambda _: None)
        ready.write_text(repr(wanted))
    return folder / "bin"


def versions(server: Server, bin: Path) -> dict[str, str]:
    """Of what was installed for it, and of scikit-learn and numpy beside it."""
    names = [word.partition("[")[0].partition("<")[0] for word in (*server.packages, "scikit-learn", "numpy")]
    code = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    done = subprocess.run([str(bin / "python"), "-c", code, *names], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def free_ports(count: int = 3) -> int:
    """The first of so many free ports, below those that the system gives to clients."""
    while True:
        first = random.randrange(20_000, 30_000)
        with suppress(OSError):
            for port in range(first, first + count):
                with socket.socket() as sock:
                    sock.bind(("127.0.0.1", port))
            return first


@dataclass(frozen=True)
class Running:
    server: Server
    port: int
    pid: int
    mark: str
    cold_start_s: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.server.path}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return json.load(answer)

    def ask(self, rows: ROWS) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url, self.server.body(rows), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return self.server.answer(json.load(answer))

    def request(self, row: list[float], *headers: str) -> bytes:
        """All of a request for one row, as it goes over the wire."""
        body = self.server.body([row])
        lines = [f"POST {self.server.path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *headers]
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body

    def check(self, model: Any, rows: ROWS) -> None:
        """Single rows, several in one request, and 32 callers at once are answered as scikit-learn does it, to the last few bits."""

        def one(start: int, count: int = 1) -> None:
            asked = rows[start : start + count]
            expected = model.predict_proba(np.array(asked))
            np.testing.assert_allclose(self.ask(asked), expected, rtol=1e-10, atol=1e-12)

        for start in range(0, len(rows), 7):
            one(start)
        one(3, 7)
        with ThreadPoolExecutor(32) as callers:
            list(callers.map(one, [random.randrange(len(rows)) for _ in range(96)]))

    def processes(self) -> list[int]:
        """It, all that descend from it, and all that carry its mark."""
        parents: dict[int, list[int]] = {}
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            pid = int(stat.parent.name)
            fields = _read(pid, "stat").rpartition(")")[2].split()
            if fields:
                parents.setdefault(int(fields[1]), []).append(pid)
            if self.mark in _read(pid, "environ"):
                found.append(pid)
        waiting, seen = [self.pid, *found], set()
        while waiting:
            pid = waiting.pop()
            if pid not in seen:
                seen.add(pid)
                waiting += parents.get(pid, [])
        return sorted(seen)

    def cpu_seconds(self) -> float:
        ticks, total = os.sysconf("SC_CLK_TCK"), 0
        for pid in self.processes():
            fields = _read(pid, "stat").rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12]) if fields else 0
        return total / ticks

    def memory_mb(self) -> float:
        """Proportional: what processes share is divided among them."""
        lines = [line.split() for pid in self.processes() for line in _read(pid, "smaps_rollup").splitlines()]
        return sum(int(words[1]) for words in lines if words[0] == "Pss:") / 1024


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


@contextmanager
def running(server: Server, model: Path, environments: Path, folder: Path, rows: ROWS) -> Iterator[Running]:
    """Started and answering; everything of it ends with the block.

    Raises:
        RuntimeError: it does not answer; with the end of its output.
    """
    folder.mkdir(parents=True)
    at = Place(environment(server, environments), model, folder, free_ports())
    mark = uuid4().hex
    environ = {**os.environ, **_QUIET, "BENCH_MODEL": str(model), "BENCH_FEATURES": str(len(rows[0])), _MARK: mark}
    environ["PATH"] = f"{at.bin}{os.pathsep}{environ['PATH']}"
    log = folder / "output"
    with log.open("wb") as output:
        options: dict[str, Any] = {"cwd": folder, "env": environ, "stdout": output, "stderr": output}
        before = server.prepare(at)
        if before is not None and subprocess.run(before, **options, check=False).returncode:
            raise RuntimeError(f"{server.name} could not be prepared:\n{log.read_text()[-2000:]}")
        began = time.monotonic()
        process = subprocess.Popen(server.start(at), start_new_session=True, **options)
        each = Running(server, at.port, process.pid, mark, 0.0)
        try:
            _wait(each, process, rows, log)
            yield Running(server, at.port, process.pid, mark, time.monotonic() - began)
        finally:
            _end(each, process)


def _wait(server: Running, process: subprocess.Popen[bytes], rows: ROWS, log: Path) -> None:
    ends = time.monotonic() + START_S
    while time.monotonic() < ends and process.poll() is None:
        try:
            server.ask(rows[:1])
            return
        except (OSError, ValueError, KeyError):  # also what urllib raises for a status, and answers of another kind
            time.sleep(0.01)
    raise RuntimeError(f"{server.server.name} does not answer; its output ends with:\n{log.read_text()[-2000:]}")


def _end(server: Running, process: subprocess.Popen[bytes]) -> None:
    everybody = server.processes()
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for pid in everybody:
        if server.mark in _read(pid, "environ"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait(10)
