"""Runs that are ended from outside: canceled, or their launcher killed."""

import os
import signal
from collections.abc import Callable

import pytest

from registry.workspace import Workspace
from tests.waiting import eventually
from trainer import Run
from trainer.compute.local import launcher_of
from trainer.errors import ActivityFailed
from trainer.process_id import ProcessId

Submit = Callable[..., Run]
WaitForLine = Callable[[Run, str], None]

STUBBORN = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
os.makedirs("outputs")
open("outputs/pids", "w").write("%d %d" % (os.getpid(), child.pid))
print("ready")
time.sleep(600)
"""


def pids_of(run: Run) -> list[int]:
    path = run._folder.find("outputs/pids")
    assert path is not None
    return [int(pid) for pid in path.read_text().split()]


def is_alive(pid: int) -> bool:
    return ProcessId(pid, 0, ProcessId.of(pid).host).alive


def test_cancel_ends_the_script_and_all_that_it_started(submit: Submit, wait_for_line: WaitForLine) -> None:
    run = submit(STUBBORN)
    wait_for_line(run, "ready")
    pids = pids_of(run)
    assert all(is_alive(pid) for pid in pids)
    run.cancel()
    details = run.wait_for_completion()
    assert details["status"] == "Canceled"
    assert "error" not in details
    assert not any(is_alive(pid) for pid in pids)
    assert "outputs/pids" in run.get_file_names()


def test_a_script_may_clean_up_when_it_is_canceled(submit: Submit, wait_for_line: WaitForLine) -> None:
    run = submit(
        "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(print('cleaned up')))\nprint('ready')\n"
        "time.sleep(600)"
    )
    wait_for_line(run, "ready")
    run.cancel()
    assert run.wait_for_completion()["status"] == "Canceled"
    assert run.log_path.read_text() == "ready\ncleaned up\n"


def test_a_script_that_ignores_sigterm_is_killed(
    submit: Submit, wait_for_line: WaitForLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit("import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('ready')\ntime.sleep(600)")
    wait_for_line(run, "ready")
    run.cancel()
    assert run.wait_for_completion()["status"] == "Canceled"


def test_cancel_right_after_submission(submit: Submit) -> None:
    run = submit("import time\ntime.sleep(600)")
    run.cancel()
    assert run.wait_for_completion()["status"] == "Canceled"


def test_cancel_of_a_run_that_has_ended_changes_nothing(submit: Submit) -> None:
    run = submit("")
    run.wait_for_completion()
    run.cancel()
    assert run.get_status() == "Completed"


def test_a_killed_launcher_is_noticed_and_takes_the_script_along(
    workspace: Workspace, submit: Submit, wait_for_line: WaitForLine
) -> None:
    run = submit("from azureml.core import Run\nRun.get_context().log('a', 1)\n" + STUBBORN)
    wait_for_line(run, "ready")
    eventually(lambda: run._record.status == "Running", what="Running")
    pids = pids_of(run)
    launcher = launcher_of(workspace, run._record)
    assert launcher is not None
    assert run.get_status() == "Running"
    os.kill(launcher.pid, signal.SIGKILL)
    eventually(lambda: not launcher.alive, what="the end of the launcher")
    with pytest.raises(
        ActivityFailed,
        match=rf"train\.py did not finish: its launcher \(process {launcher.pid}\) was ended from outside",
    ):
        run.wait_for_completion()
    eventually(lambda: not any(is_alive(pid) for pid in pids), what="the end of the script and its child")
    assert run.get_metrics() == {"a": 1}
    assert "outputs/pids" in run.get_file_names()
    assert run.get_details()["endTimeUtc"]


def test_a_launcher_that_is_told_to_stop_says_so(
    workspace: Workspace, submit: Submit, wait_for_line: WaitForLine
) -> None:
    run = submit("import time\nprint('ready')\ntime.sleep(600)")
    wait_for_line(run, "ready")
    launcher = launcher_of(workspace, run._record)
    assert launcher is not None
    os.kill(launcher.pid, signal.SIGTERM)
    with pytest.raises(ActivityFailed, match=r"the launcher of train\.py received a stop signal \(SIGTERM\)"):
        run.wait_for_completion()


def test_a_pid_that_was_given_again_is_not_taken_for_the_launcher() -> None:
    mark = ProcessId.of(os.getpid())
    assert mark.alive
    assert not ProcessId(mark.pid, mark.start + 1, mark.host).alive
    assert ProcessId.from_json(mark.to_json()) == mark
    assert not ProcessId(mark.pid, mark.start, "elsewhere").here
