"""Asking the gateway that serves a workspace, from the command line."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from gateway.cli.errors import GatewayNotRunning, refused
from gateway.client.errors import GatewaySilent
from gateway.rundir.state import GatewayState, running_gateway
from registry.workspace import Workspace

_IDLE_S: Final = 1.0  # a version that is to start ahead is idle for less


class GatewayClient:
    """HTTP calls to one gateway, with the key of `FITSERVE_KEY` or `FITSERVE_KEY_FILE` where there is one.

    `token` is what the gateway gives to the owner of its workspace; it is taken where the environment names no key. Every call raises
    `GatewaySilent` where nothing answers.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        key = os.environ.get("FITSERVE_KEY") or _first_line(os.environ.get("FITSERVE_KEY_FILE")) or token
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=httpx.Timeout(120, connect=5), trust_env=False
        )

    def __enter__(self) -> "GatewayClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """All models in short."""
        return list(_checked(self._asked("GET", "/models")).json()["models"])

    def model(self, name: str) -> dict[str, Any] | None:
        """What the gateway says of a model; None while it does not know it."""
        answer = self._asked("GET", f"/models/{name}")
        if answer.status_code == 404:
            return None
        return dict(_checked(answer).json())

    def wait_for_version(
        self,
        name: str,
        version: int,
        timeout_s: float,
        progress: Callable[[str], object] = lambda _: None,
        settled: Callable[[dict[str, Any]], bool] = lambda _: True,
    ) -> dict[str, Any]:
        """Poll until that version is live, failed, or the time is over; gives its entry of the status.

        Args:
            timeout_s: does not count while its environment is being built.
            progress: gets what the building says.
            settled: whether the entry of a live version is what is waited for.
        """
        deadline = time.monotonic() + timeout_s
        idle_at = deadline
        entry: dict[str, Any] = {"state": "unseen"}
        while time.monotonic() < deadline:
            said = entry.get("progress")
            status = self.model(name)
            entry = _version(status, version) or entry
            if entry.get("progress"):
                deadline = time.monotonic() + timeout_s
                if entry["progress"] != said:
                    progress(entry["progress"])
            if entry["state"] != "idle":
                idle_at = time.monotonic() + _IDLE_S
            if entry["state"] in {"failed", "quarantined"} or (entry["state"] == "live" and settled(entry)):
                return entry
            if entry["state"] == "idle" and (entry.get("reason") or time.monotonic() > idle_at):
                return entry
            time.sleep(0.02)
        return entry

    def document(self, path: str) -> dict[str, Any]:
        """What is described there; {} where nothing is."""
        answer = self._asked("GET", path)
        return dict(answer.json()) if answer.is_success else {}

    def score(self, path: str, body: bytes, content_type: str = "application/json") -> bytes:
        """The body of a successful answer.

        Raises:
            ScoringRefused: any other answer, with its sentence.
        """
        return _checked(self._asked("POST", path, body, {"content-type": content_type})).content

    def _asked(
        self, verb: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        try:
            return self._http.request(verb, path, content=body, headers=headers)
        except httpx.TransportError as error:
            raise GatewaySilent(self.url, str(error) or type(error).__name__) from None


def connect(workspace: Workspace) -> GatewayClient:
    """A client of the gateway that serves `workspace`.

    Raises:
        GatewayNotRunning: none does.
    """
    state = running(workspace)
    if state is None:
        raise GatewayNotRunning(str(workspace.root))
    return GatewayClient(state.url, state.token)


def running(workspace: Workspace) -> GatewayState | None:
    return running_gateway(workspace.root)


def _version(status: dict[str, Any] | None, version: int) -> dict[str, Any] | None:
    if status is None:
        return None
    versions = status.get("versions", [])
    entries = versions.values() if isinstance(versions, dict) else versions
    return next((dict(entry) for entry in entries if entry.get("version") == version), None)


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    try:
        body = answer.json()
        sentence = body.get("message") or body.get("error") or answer.text
    except (ValueError, AttributeError):
        sentence = answer.text
    raise refused(answer.status_code, str(sentence))


def _first_line(file: str | None) -> str | None:
    return Path(file).read_text(encoding="utf-8").partition("\n")[0].strip() if file else None
