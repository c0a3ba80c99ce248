"""Sweeps that know earlier ones, and sweeps whose launcher was killed."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.errors import InvalidArgument, RunNotFound
from registry.workspace import Workspace
from tests.e2e.gateway import fitserve
from tests.waiting import eventually
from trainer import Experiment, ScriptRunConfig, Sweep
from trainer.compute.local import launcher_of
from trainer.sdk import SweepRun
from trainer.sweep_space import Sampling, choice, sampler_of, uniform

SCRIPT = """
import os, sys, time
from azureml.core import Run
x = float(sys.argv[-1])
run = Run.get_context()
if x > 2 and os.path.exists(sys.argv[1]):
    print("waiting", flush=True)
    time.sleep(600)
run.log("score", 10 - (x - 3) ** 2)
"""


def submit(workspace: Workspace, folder: Path, gate: Path, *options: Any, kind: Any = "grid", **given: Any) -> SweepRun:
    config = ScriptRunConfig(folder, "train.py", [gate])
    sampling = Sampling(kind, {"x": choice(*options)})
    given = {"max_concurrent_runs": 1, **given}
    return Experiment(workspace, "sweeps").submit(Sweep(config, sampling, "score", **given))


def tried(run: SweepRun) -> list[str]:
    return sorted(run.get_hyperparameters().values())


def test_what_earlier_sweeps_found_is_known(workspace: Workspace, project: Callable[..., Path], tmp_path: Path) -> None:
    folder = project({"train.py": SCRIPT})
    first = submit(workspace, folder, tmp_path / "none", 1, 3, max_total_runs=2)
    first.wait_for_completion()
    second = submit(workspace, folder, tmp_path / "none", 1, 2, 3, resume_from=[first.id])
    second.wait_for_completion()
    assert "reusing the results of 2 runs of earlier sweeps" in second.log_path.read_text()
    assert tried(second) == ['{"x": 2}']
    best, own = second.get_best_run_by_primary_metric(), second.get_best_run_by_primary_metric(True, True, False)
    assert best is not None
    assert own is not None
    assert (best.id, own.id) == (f"{first.id}_1", f"{second.id}_0")
    with pytest.raises(RunNotFound):
        submit(workspace, folder, tmp_path / "none", 1, resume_from=["sweeps_1_00000000"])
    with pytest.raises(InvalidArgument, match="6 sweeps are more than 5"):
        submit(workspace, folder, tmp_path / "none", 1, resume_from=[first.id] * 6)


def test_a_sweep_whose_launcher_was_killed_says_so_and_is_gone_on_with(
    workspace: Workspace, project: Callable[..., Path], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    run = submit(workspace, project({"train.py": SCRIPT}), gate, 1, 2, 3, 4, max_total_runs=4)
    eventually(
        lambda: any("waiting" in child.log_path.read_text() for child in run.get_children()), what="the third run"
    )
    launcher = launcher_of(workspace, run._record)
    assert launcher is not None
    with pytest.raises(InvalidArgument, match="is still Running"):
        run.resume()
    os.kill(launcher.pid, signal.SIGKILL)
    eventually(lambda: not launcher.alive, what="the end of the launcher")
    listed = fitserve("runs", workspace=workspace.root).stdout
    assert [line.split()[1] for line in listed.splitlines() if line.startswith(run.id + " ")] == ["Failed"]
    assert "was ended from outside" in str(run.get_details()["error"])

    gate.unlink()
    done = fitserve("sweep", "--resume", run.id, workspace=workspace.root)
    assert done.returncode == 0, done.stdout + done.stderr
    (again,) = [each for each in Experiment(workspace, "sweeps").get_runs() if each.id != run.id]
    resumed = SweepRun(again.experiment, again.id)
    assert tried(resumed) == ['{"x": 3}', '{"x": 4}']
    assert [child.get_status() for child in run.get_children()] == ["Canceled", "Completed", "Completed"]
    best = resumed.get_best_run_by_primary_metric()
    assert best is not None
    assert best.get_metrics() == {"score": 10}
    assert f"register the best with: fitserve register --run {best.id}" in done.stdout
    with pytest.raises(InvalidArgument, match=r"all 2 runs of .* are completed"):
        resumed.resume()


def test_the_command_takes_a_script_or_a_sweep_to_resume(workspace: Workspace) -> None:
    for words, said in (
        ((), "Missing argument 'SCRIPT'"),
        (("train.py",), "Missing option '--param'"),
        (("train.py", "--resume", "x"), "--resume takes neither SCRIPT nor --param"),
    ):
        assert said in fitserve("sweep", *words, workspace=workspace.root).stderr


def test_a_bayesian_sampling_learns_from_what_is_known() -> None:
    pytest.importorskip("optuna")
    sampler = sampler_of(Sampling("bayesian", {"x": uniform(0, 10), "k": choice("a", "b")}, seed=1), maximize=True)
    for place in range(40):
        x = place / 4
        sampler.know({"x": x, "k": "ab"[place % 2]}, -((x - 7) ** 2) - 10 * (place % 2))
    sampler.know({"x": 11, "k": "a"}, 1000)  # outside of the space
    sampler.know({"other": 1}, 1000)
    sampler.know({"x": 1, "k": "a"}, None)
    sampler.first({"x": 2.5, "k": "b"})
    drawn = [found[1] for _ in range(8) if (found := sampler.draw()) is not None]
    assert drawn[0] == {"x": 2.5, "k": "b"}
    assert sum(4 < each["x"] < 10 and each["k"] == "a" for each in drawn[1:]) >= 5
