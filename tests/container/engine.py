"""A container engine as tests use it. `CONTAINER_ENGINE` is its command (podman, docker); more words are flags of it, and
`CONTAINER_RUN`, `CONTAINER_BUILD` hold flags of `run` and `build`."""

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.waiting import eventually

ENGINE: Final = shlex.split(os.environ.get("CONTAINER_ENGINE", ""))
_RUN: Final = shlex.split(os.environ.get("CONTAINER_RUN", ""))
_BUILD: Final = shlex.split(os.environ.get("CONTAINER_BUILD", ""))
_ROOT: Final = Path(__file__).parents[2]


def engine(*arguments: str, timeout: float = 120) -> str:
    done = subprocess.run(
        [*ENGINE, *arguments], capture_output=True, text=True, timeout=timeout, check=False, cwd=_ROOT
    )
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(arguments[:3])} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def build(context: str, tag: str, network: str) -> str:
    began = time.monotonic()
    form = ["--format", "docker"] if "podman" in ENGINE[0] else []  # else it has no HEALTHCHECK
    engine("build", *form, "--network", network, *_BUILD, "-t", tag, context, timeout=900)
    size = int(engine("image", "inspect", "--format", "{{.Size}}", tag))
    print(f"\n{tag}: {size / 1e6:.0f} MB, built in {time.monotonic() - began:.0f} s")
    return tag


@contextmanager
def running(image: str, *command: str, flags: Sequence[str] = (), publish: bool = True) -> Iterator["Container"]:
    """A container, removed with its volumes at the end."""
    port = ["-p", "127.0.0.1::8080"] if publish else []
    said = engine("run", "-d", *_RUN, *port, *flags, image, *command)
    container = Container(said.strip().splitlines()[-1])
    try:
        yield container
    finally:
        engine("rm", "-f", "-v", container.id)


class Container:
    def __init__(self, container_id: str) -> None:
        self.id, self.began = container_id, time.monotonic()

    @property
    def log(self) -> str:
        done = subprocess.run([*ENGINE, "logs", self.id], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads(engine("inspect", self.id))[0]["State"])

    @property
    def url(self) -> str:
        return f"http://{engine('port', self.id, '8080').strip().splitlines()[0]}"

    @property
    def key(self) -> str:
        found = re.search(r"key \(shown this once[^:]*: (\S+)", self.log)
        assert found, self.log
        return found[1]

    def exec(self, *command: str) -> str:
        return engine("exec", self.id, *command)

    def wait_for_line(self, line: str, timeout: float) -> float:
        """Seconds since it was started."""
        eventually(lambda: self.log, lambda log: line in log or not self.state["Running"], line, timeout)
        assert line in self.log, self.log
        return time.monotonic() - self.began

    def wait_until_ready(self, timeout: float = 120) -> float:
        ask = "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/readyz', timeout=5)"
        command = [*ENGINE, "exec", self.id, "python", "-c", ask]
        eventually(
            lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0, bool, self.log, timeout
        )
        return time.monotonic() - self.began

    def client(self, key: str | None = None) -> httpx.Client:
        headers = {"authorization": f"Bearer {key or self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def stop(self, grace_s: int = 10) -> tuple[float, int]:
        """How long it took, and the exit code: 137 when it had to be killed."""
        began = time.monotonic()
        engine("stop", "-t", str(grace_s), self.id)
        return time.monotonic() - began, int(self.state["ExitCode"])
