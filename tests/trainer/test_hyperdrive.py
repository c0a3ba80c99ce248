"""`azureml.train.hyperdrive` as a client: a sweep of a real workspace, in Azure's words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.test_sweep import PARABOLA


def test_a_program_of_azures_sweeps(ws: Any, project: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    from azureml.core import Experiment, Run, ScriptRunConfig
    from azureml.train.hyperdrive.parameter_expressions import choice
    from azureml.train.hyperdrive.policy import BanditPolicy
    from azureml.train.hyperdrive.run import HyperDriveRun, PrimaryMetricGoal
    from azureml.train.hyperdrive.runconfig import HyperDriveConfig
    from azureml.train.hyperdrive.sampling import GridParameterSampling

    script = ScriptRunConfig(str(project({"train.py": PARABOLA})), "train.py", arguments=["--more", 1])
    config = HyperDriveConfig(
        run_config=script,
        hyperparameter_sampling=GridParameterSampling({"--x": choice([0, 3])}),
        policy=BanditPolicy(evaluation_interval=1, slack_factor=100, delay_evaluation=5),
        primary_metric_name="score",
        primary_metric_goal=PrimaryMetricGoal.MAXIMIZE,
        max_total_runs=12,
        max_concurrent_runs=2,
    )
    run = Experiment(ws, "sweeps").submit(config, tags={"by": "test"})
    assert isinstance(run, HyperDriveRun)
    details = run.wait_for_completion(show_output=True)
    assert details["status"] == "Completed"
    assert "2 at a time" in capsys.readouterr().out
    best = run.get_best_run_by_primary_metric()
    assert best.id == f"{run.id}_1"
    assert best.get_details()["runDefinition"]["arguments"] == ["--more", "1", "--x", "3"]
    rows = run.get_children_sorted_by_primary_metric()
    assert [row["best_primary_metric"] for row in rows] == [10, 1]
    assert json.loads(rows[0]["hyperparameters"]) == {"--x": 3}
    assert run.get_metrics()[best.id] == {"score": [1.0, 10.0]}
    assert set(run.get_hyperparameters()) == {child.id for child in run.get_children()}
    assert isinstance(Run.get(ws, run.id), HyperDriveRun)


def test_what_fitserve_does_not_do_is_said(ws: Any, project: Callable[..., Path]) -> None:
    from azureml.core import Experiment, ScriptRunConfig
    from azureml.exceptions import UserErrorException
    from azureml.train.hyperdrive import (
        GridParameterSampling,
        HyperDriveConfig,
        RandomParameterSampling,
        choice,
        uniform,
    )

    script = ScriptRunConfig(str(project({"train.py": PARABOLA})), "train.py")
    random = RandomParameterSampling({"x": choice(1)})
    with pytest.raises(UserErrorException, match="HyperDriveConfig with estimator is not supported"):
        HyperDriveConfig(random, "score", "MAXIMIZE", 1, estimator=script)
    with pytest.raises(UserErrorException, match="a ScriptRunConfig is expected"):
        HyperDriveConfig(random, "score", "MAXIMIZE", 1)
    with pytest.raises(UserErrorException, match="is not an expression such as choice"):
        HyperDriveConfig(RandomParameterSampling({"x": [1]}), "score", "MAXIMIZE", 1, run_config=script)
    grid = HyperDriveConfig(GridParameterSampling({"x": uniform(0, 1)}), "score", "MAXIMIZE", 1, run_config=script)
    with pytest.raises(UserErrorException, match="a grid takes choice"):
        Experiment(ws, "sweeps").submit(grid)
