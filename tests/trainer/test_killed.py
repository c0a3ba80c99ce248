"""What is shown of a run when what drives it is killed. (For launchers see test_cancel.py, for sweeps test_sweep_resume.py.)"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from registry.workspace import Workspace
from tests.e2e.gateway import ENVIRONMENT, FITSERVE, fitserve
from tests.waiting import eventually
from trainer import Experiment, Run

PROGRAM = """
import sys, time
from azureml.core import Experiment, ScriptRunConfig, Workspace

experiment = Experiment(Workspace.from_config(), "killed")
run = experiment.start_logging(snapshot_directory=None)
run.log("alpha", 0.5)
run.tag("kind", "killed")
run.upload_file("made.txt", __file__)
submitted = experiment.submit(ScriptRunConfig(".", "train.py"))
print("runs", run.id, submitted.id, flush=True)
submitted.wait_for_completion(show_output=True)
"""
TRAIN = """
import os, time
from azureml.core import Run

run = Run.get_context()
run.log("beta", 2)
print("script", os.getpid(), flush=True)
while not os.path.exists("go"):
    time.sleep(0.05)
print("on it goes", flush=True)
"""


def listed(workspace: Workspace, run: str) -> str:
    """The status that `fitserve runs` shows."""
    lines = fitserve("runs", workspace=workspace.root).stdout.splitlines()
    return next(line.split()[1] for line in lines if line.startswith(run))


def test_a_program_that_was_killed(workspace: Workspace, project: Callable[..., Path]) -> None:
    folder = project({"program.py": PROGRAM, "train.py": TRAIN})
    process = subprocess.Popen(
        [*FITSERVE, "--workspace", str(workspace.root), "exec", sys.executable, "program.py"],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    _, own, submitted = next(line for line in process.stdout if line.startswith("runs ")).split()
    eventually(lambda: "script" in Run.get(workspace, submitted).log_path.read_text(), what="the script")
    assert listed(workspace, own) == "Running"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()

    eventually(lambda: listed(workspace, own) == "NotResponding", what="it is seen")
    run = Run.get(workspace, own)
    assert run.wait_for_completion()["status"] == "NotResponding"
    assert (run.get_metrics(), run.tags) == ({"alpha": 0.5}, {"kind": "killed"})
    assert "made.txt" in run.get_file_names()
    run.fail("its program was killed")
    assert listed(workspace, own) == "Failed"

    other = Run.get(workspace, submitted)
    assert listed(workspace, submitted) == "Running"  # it goes on without whoever submitted it
    (other._folder.snapshot / "go").touch()
    assert other.wait_for_completion()["status"] == "Completed"
    assert "on it goes" in fitserve("logs", submitted, workspace=workspace.root).stdout
    assert other.get_metrics() == {"beta": 2}


def test_a_script_that_was_killed(workspace: Workspace, submit: Callable[..., Run]) -> None:
    run = submit(TRAIN)
    eventually(lambda: "script" in run.log_path.read_text(), what="the script")
    os.kill(int(run.log_path.read_text().split()[-1]), signal.SIGKILL)
    assert run.wait_for_completion(raise_on_error=False)["status"] == "Failed"
    shown = json.loads(fitserve("runs", run.id, "--json", workspace=workspace.root).stdout)
    assert "SIGKILL" in shown["error"]["error"]["message"]
    assert shown["metrics"] == {"beta": 2}
    assert "script" in fitserve("logs", run.id, workspace=workspace.root).stdout


def test_an_interactive_run_of_this_program(workspace: Workspace) -> None:
    run = Experiment(workspace, "native").start_logging("shown", {"a": 1})
    run.log("x", 1)
    run.log("x", 2)
    run.log_list("many", range(3))
    run.log_row("rows", a=1, b="x")
    run.log_table("rows", {"a": [2], "b": ["y"]})
    child = run.child_run("below")
    child.log("y", 1.5)
    child.complete()
    tagged = run.create_children(tag_key="fold", tag_values=["1", "2"])
    assert [each.tags for each in tagged] == [{"fold": "1"}, {"fold": "2"}]
    run.upload_file("a/b.txt", Path(__file__))
    run.complete()
    again = Run.get(workspace, run.id)
    assert (again.get_status(), again.display_name, again.tags) == ("Completed", "shown", {"a": "1"})
    assert again.get_metrics() == {"x": [1, 2], "many": [0, 1, 2], "rows": {"a": [1, 2], "b": ["x", "y"]}}
    assert {each.id for each in again.get_children()} == {child.id, *(each.id for each in tagged)}
    assert again.get_metrics(recursive=True)[child.id] == {"y": 1.5}
    assert again.get_file_names() == ["a/b.txt", "azureml-logs/70_driver_log.txt", "user_logs/std_log.txt"]
