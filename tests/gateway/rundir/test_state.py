"""One gateway for a workspace, found by others, and nothing of a killed one in the way."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.client.daemon import stop_gateway
from gateway.client.errors import GatewayElsewhere
from gateway.rundir.state import STATE_FILE, AlreadyServed, GatewayLock, make_runtime_dir, running_gateway
from registry.sdk.workspace import Workspace


def test_a_serving_gateway_is_found_and_a_stopped_one_is_not(tmp_path: Path) -> None:
    assert running_gateway(tmp_path) is None
    with GatewayLock(tmp_path) as lock:
        lock.write("http://127.0.0.1:8080", "127.0.0.1", 8080)
        state = running_gateway(tmp_path)
        assert state is not None
        assert (state.pid, state.url, state.port) == (os.getpid(), "http://127.0.0.1:8080", 8080)
        assert (tmp_path / "gateway.json").exists()
    assert running_gateway(tmp_path) is None
    assert not (tmp_path / "gateway.json").exists()


def test_a_second_gateway_is_refused_with_the_url_of_the_first(tmp_path: Path) -> None:
    with GatewayLock(tmp_path) as lock:
        lock.write("http://127.0.0.1:8080", "127.0.0.1", 8080)
        with pytest.raises(AlreadyServed, match=r"at http://127\.0\.0\.1:8080; stop it first"):
            GatewayLock(tmp_path)
    GatewayLock(tmp_path).close()


def test_a_killed_gateway_leaves_the_workspace_free(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from gateway.rundir.state import GatewayLock\n"
        "GatewayLock(Path(sys.argv[1])).write('http://x', 'x', 1); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert running_gateway(tmp_path) is not None
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / "gateway.json").exists()
    assert running_gateway(tmp_path) is None
    GatewayLock(tmp_path).close()


def test_the_runtime_dir_is_private_short_and_replaces_what_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    first = make_runtime_dir(tmp_path)
    (first / "1.sock").touch()
    second = make_runtime_dir(tmp_path)
    try:
        assert not first.exists()
        assert second.stat().st_mode & 0o777 == 0o700
        assert len(os.fsencode(second / "1234567890.sock")) < 107
        other = make_runtime_dir(tmp_path / "other")
        assert second.exists()
        other.rmdir()
    finally:
        second.rmdir()


def test_a_state_file_that_cannot_be_removed_does_not_keep_a_gateway_from_stopping(tmp_path: Path) -> None:
    """Or what it has accepted would be lost where the disk has become read-only."""
    with GatewayLock(tmp_path) as lock:
        (tmp_path / "gateway.json").mkdir()
        lock.withdraw()
    assert running_gateway(tmp_path) is None


def test_a_process_number_of_another_container_is_not_taken_for_one_of_ours(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "w") as workspace, GatewayLock(workspace.root) as lock:
        lock.write("http://127.0.0.1:8080", "127.0.0.1", 8080)
        state = running_gateway(workspace.root)
        assert state is not None
        assert state.is_here
        file = workspace.root / STATE_FILE
        said = json.loads(file.read_text())
        file.write_text(json.dumps(said | {"place": said["place"].replace("pid:[", "pid:[9")}))
        with pytest.raises(GatewayElsewhere, match="docker exec CONTAINER fitserve stop"):
            stop_gateway(workspace)  # it would end this very process
