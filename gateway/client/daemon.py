"""A gateway in the background: started when somebody deploys and none serves the workspace, ended by `fitserve stop`."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.client.errors import GatewayElsewhere, GatewayNotStarted, GatewayNotStopped
from gateway.rundir.listen import bind
from gateway.rundir.state import LOCK_FILE, GatewayState, running_gateway
from gateway.settings import Settings
from registry.errors import OperatorError
from registry.sdk.workspace import Workspace

LOG: Final = "gateway.log"
_LOG_BYTES: Final = 1_000_000  # what an earlier gateway may leave in the log
_START_S: Final = 60.0
_INSIDE_A_RUN: Final = "FITSERVE_RUN_DIR"


def ensure_gateway(
    workspace: Workspace, port: int | None = None, say: Callable[[str], None] = lambda _: None
) -> GatewayState:
    """The gateway that serves `workspace`; one is started in the background when there is none, and awaited.

    Args:
        port: for a gateway that has to be started; None means by the settings, or a free one where that is taken.
        say: gets a sentence for a person when one is started.

    Raises:
        GatewayNotStarted: with the last lines of its log.
        OperatorError: `port` is in use.
    """
    state = running_gateway(workspace.root)
    if state is not None:
        return state
    if _INSIDE_A_RUN in os.environ:  # it would be inside the run's limits, and end with it
        raise GatewayNotStarted("a run cannot start one that outlives it; start `fitserve serve` beside it")
    log = workspace.logs_dir / LOG
    process = _start(workspace, _port(workspace.root, port), log)
    # It may outlive this process, or end before it: either way nobody has to think of it any more.
    threading.Thread(target=process.wait, name="gateway-reaper", daemon=True).start()
    say(f"no gateway serves this workspace yet: starting one in the background (its log is {log})")
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        state = running_gateway(workspace.root)
        if state is not None:
            say(f"serving at {state.url}; `fitserve stop` ends it")
            return state
        if process.poll() is not None and not _is_held(workspace.root):  # held: somebody else's is starting
            raise GatewayNotStarted(_last_lines(log))
        time.sleep(0.02)
    process.terminate()
    raise GatewayNotStarted(f"it was not ready within {_START_S:g} s: {_last_lines(log)}")


def stop_gateway(workspace: Workspace, timeout_s: float = 60.0) -> GatewayState | None:
    """End the gateway that serves `workspace` and wait until it has drained; None when none does.

    Raises:
        GatewayElsewhere: it runs where this process cannot signal it.
        GatewayNotStopped: it still holds the workspace after `timeout_s`.
    """
    state = running_gateway(workspace.root)
    if state is None:
        return None
    if not state.is_here:
        raise GatewayElsewhere(state.url)
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while _is_held(workspace.root):
        if time.monotonic() > deadline:
            raise GatewayNotStopped(state.pid, timeout_s)
        time.sleep(0.02)
    return state


def _start(workspace: Workspace, port: int | None, log: Path) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AZUREML_")}
    # -P: a folder called `registry` where the user stands must not be taken for ours.
    command = [sys.executable, "-P", "-m", "gateway.cli"]
    database = workspace._location.database
    if database is None:
        command += ["--workspace", str(workspace.root)]
    else:
        environment["FITSERVE_WORKSPACE"] = database  # not an argument: everybody on this machine can read those
    command.append("serve")
    if port is not None:
        command += ["--port", str(port)]
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            cwd=workspace.root.parent,  # where the URL of a database means this root
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def _port(root: Path, asked: int | None) -> int | None:
    """What to say on the command line: nothing where the settings' own port is free."""
    settings = Settings.load(file=root / "settings.toml")
    if asked is not None:
        bind(settings.host, asked).close()
        return asked
    try:
        bind(settings.host, settings.port).close()
    except OperatorError:
        return 0
    return None


def _is_held(root: Path) -> bool:
    """Also while it starts or drains, when it says no address."""
    try:
        with (root / LOCK_FILE).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:  # no gateway was ever started here
        pass
    return False


def _last_lines(log: Path, lines: int = 8) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:]) or "it said nothing"
