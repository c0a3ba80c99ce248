"""A real gateway in a process of its own, for tests that see what a user sees."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from tests.waiting import DEADLINE_S, eventually

T = TypeVar("T")
FITSERVE = (sys.executable, "-m", "gateway.cli")
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("FITSERVE_")}


def fitserve(
    *arguments: str,
    workspace: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*FITSERVE, "--workspace", str(workspace), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**ENVIRONMENT, **(env or {})},
        timeout=timeout,
        check=False,
    )


class Gateway:
    """A started gateway: its process, its URL, and a client for it."""

    def __init__(
        self, process: subprocess.Popen[str], workspace: Path, output: Path, headers: Mapping[str, str]
    ) -> None:
        self.process, self.workspace, self.output = process, workspace, output
        self.url = str(eventually(self._url, what="the gateway's start"))
        self.http = httpx.Client(base_url=self.url, timeout=60, headers=headers, trust_env=False)

    def _url(self) -> str | None:
        if self.process.poll() is not None:
            raise AssertionError(f"the gateway ended with {self.process.returncode}:\n{self.log}")
        try:
            state = json.loads((self.workspace / "gateway.json").read_text())
            httpx.get(f"{state['url']}/healthz", timeout=5, trust_env=False)
        except (OSError, ValueError, httpx.TransportError):
            return None
        return str(state["url"])

    @property
    def log(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def score(self, model: str, data: Any, **body: Any) -> httpx.Response:
        return self.http.post(f"/models/{model}/score", json={"data": data, **body})

    def status(self, model: str) -> dict[str, Any]:
        answer = self.http.get(f"/models/{model}")
        return dict(answer.json()) if answer.status_code == 200 else {}

    def version(self, model: str, version: int) -> dict[str, Any]:
        versions = self.status(model).get("versions", {})
        entries = versions.values() if isinstance(versions, dict) else versions
        return next((dict(entry) for entry in entries if entry["version"] == version), {})

    def wait_for(
        self, model: str, version: int = 1, state: str = "live", timeout: float = DEADLINE_S
    ) -> dict[str, Any]:
        return eventually(
            lambda: self.version(model, version),
            lambda entry: entry.get("state") == state,
            f"{model}:{version} {state}",
            timeout,
        )

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.stop()


@contextmanager
def serving(
    workspace: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    location: str | None = None,
    command: tuple[str, ...] = ("serve",),
) -> Iterator[Gateway]:
    """`fitserve serve` on a free port, ended with the block. `location` is the URL of a database whose folder is `workspace`."""
    workspace.mkdir(parents=True, exist_ok=True, mode=0o700)
    output = workspace.parent / f"{workspace.name}.gateway.log"
    with output.open("w") as file:
        process = subprocess.Popen(
            [*FITSERVE, "--workspace", location or str(workspace), *command, "--port", "0", *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            env={**ENVIRONMENT, **(env or {})},
        )
    try:
        with Gateway(process, workspace, output, headers or {}) as gateway:
            yield gateway
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
