"""Sweeps with real runs, and the samplings and policies by themselves."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.errors import InvalidArgument, MissingExtra
from registry.workspace import Workspace
from tests.waiting import eventually
from trainer import Experiment, Run, ScriptRunConfig, Sweep
from trainer.sdk import SweepRun
from trainer.sweep_policies import Policy
from trainer.sweep_space import (
    Sampling,
    choice,
    expression,
    lognormal,
    loguniform,
    normal,
    qnormal,
    quniform,
    randint,
    sampler_of,
    uniform,
)

ROOT = Path(__file__).parent.parent.parent
PARABOLA = """
import sys
from azureml.core import Run
x = float(sys.argv[-1])
run = Run.get_context()
run.log("score", 1.0)
run.log("score", 10 - (x - 3) ** 2)
"""

SubmitSweep = Callable[..., SweepRun]


@pytest.fixture
def sweep(workspace: Workspace, project: Callable[..., Path]) -> SubmitSweep:
    """Submits a sweep of a script that is given as text over ``--x``."""

    def go(
        text: str, *options: Any, kind: Any = "grid", script: dict[str, Any] | None = None, **given: Any
    ) -> SweepRun:
        config = ScriptRunConfig(project({"train.py": text}), "train.py", **(script or {}))
        sampling = Sampling(kind, {"x": choice(*options)})
        return Experiment(workspace, "sweeps").submit(
            Sweep(config, sampling, "score", **{"max_concurrent_runs": 2, **given})
        )

    return go


def test_a_sweep_tries_all_and_knows_the_best(sweep: SubmitSweep, workspace: Workspace) -> None:
    run = sweep(PARABOLA, 0, 1, 3, 4, script={"arguments": ["--x", 99]})
    details = run.wait_for_completion()
    assert (details["status"], run.type) == ("Completed", "hyperdrive")
    rows = run.get_children_sorted_by_primary_metric()
    assert [json.loads(row["hyperparameters"])["x"] for row in rows] == [3, 4, 1, 0]
    assert [row["best_primary_metric"] for row in rows] == [10, 9, 6, 1]
    best = run.get_best_run_by_primary_metric()
    assert best is not None
    assert best.id == rows[0]["run_id"] == f"{run.id}_2"
    assert best.get_metrics() == {"score": [1.0, 10.0]}
    assert best.parent is not None
    assert best.parent.id == run.id
    assert best.get_details()["runDefinition"]["arguments"] == ["--x", "99", "--x", "3"]
    assert run.get_hyperparameters() == {f"{run.id}_{i}": json.dumps({"x": x}) for i, x in enumerate((0, 1, 3, 4))}
    assert run.tags[f"_aml_system_{run.id}_2"] == '{"x": 3}'
    assert [row["run_id"] for row in run.get_children_sorted_by_primary_metric(top=1, reverse=True)] == [f"{run.id}_0"]
    assert set(run.get_metrics()) == {child.id for child in run.get_children()}
    log = run.log_path.read_text()
    assert "all 4 combinations have been tried" in log
    assert f"{run.id}_2 Completed: score 10; best so far: 10" in log
    # never more at once than was said
    children = workspace.metadata.list_runs(parent=run.id)
    for child in children:
        assert child.start_time is not None
        at_once = [c for c in children if c.start_time <= child.start_time < c.end_time]  # type: ignore[operator]
        assert len(at_once) <= 2


def test_the_least_value_can_be_the_best(sweep: SubmitSweep) -> None:
    run = sweep(PARABOLA, 3, 0, goal="minimize", max_total_runs=2)
    run.wait_for_completion()
    assert [row["best_primary_metric"] for row in run.get_children_sorted_by_primary_metric()] == [1.0, 1.0]


def test_a_bad_run_is_ended_by_the_policy(sweep: SubmitSweep) -> None:
    script = """
        import sys, time
        from azureml.core import Run
        x = float(sys.argv[-1])
        run = Run.get_context()
        run.log("score", x)
        if x < 1:
            time.sleep(100)
    """
    run = sweep(script, 1, 0.1, policy=Policy("bandit", slack_factor=0.5))
    run.wait_for_completion()
    rows = run.get_children_sorted_by_primary_metric()
    assert [row["status"] for row in rows] == ["Completed", "Canceled"]
    assert Run.get(run.workspace, rows[1]["run_id"]).tags["ended_by_policy"] == "bandit"
    assert run.status == "Completed"


def test_canceling_a_sweep_ends_its_runs(sweep: SubmitSweep) -> None:
    run = sweep("import time\ntime.sleep(100)\n", 1, 2, 3)
    eventually(lambda: [c.status for c in run.get_children()] == ["Running", "Running"], what="two runs")
    run.cancel()
    run.wait_for_completion()
    assert run.status == "Canceled"
    assert {child.status for child in run.get_children()} == {"Canceled"}
    assert len(run.get_children()) == 2


def test_a_script_that_only_fails_ends_the_sweep_early(sweep: SubmitSweep) -> None:
    run = sweep("raise SystemExit('no data')\n", *range(10), max_concurrent_runs=1, max_total_runs=10)
    run.wait_for_completion(raise_on_error=False)
    assert run.status == "Failed"
    assert "the first 3 runs failed: train.py exited with code 1" in str(run.get_details()["error"])
    assert len(run.get_children()) == 3


def test_runs_without_the_metric_have_no_best(sweep: SubmitSweep) -> None:
    run = sweep("print('nothing')\n", 1)
    details = run.wait_for_completion()
    assert run.get_best_run_by_primary_metric() is None
    assert run.get_children_sorted_by_primary_metric(discard_no_metric=True) == []
    assert details["warnings"] == ["no run logged a number as 'score', so there is no best one"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_twelve_runs_of_the_iris_example_two_at_a_time(workspace: Workspace) -> None:
    config = ScriptRunConfig(ROOT / "examples", "train_iris.py")
    space = {"--kernel": choice("linear", "rbf", "poly", "sigmoid"), "--penalty": choice(0.5, 1, 1.5)}
    wanted = Sweep(config, Sampling("random", space), "Accuracy", max_total_runs=12, max_concurrent_runs=2)
    run = Experiment(workspace, "iris").submit(wanted)
    run.wait_for_completion()
    rows = run.get_children_sorted_by_primary_metric()
    assert {row["status"] for row in rows} == {"Completed"}
    assert len({row["hyperparameters"] for row in rows}) == 12
    best = run.get_best_run_by_primary_metric()
    assert best is not None
    assert best.get_metrics()["Accuracy"] == rows[0]["best_primary_metric"] > 0.97 > rows[-1]["best_primary_metric"]
    model = best.register_model("sklearn-iris", "outputs/model.joblib", show_output=False)
    assert (model.id, model.run_id) == ("sklearn-iris:1", best.id)


# samplings


def drawn(sampling: Sampling, count: int) -> list[dict[str, Any]]:
    sampler = sampler_of(sampling, maximize=True)
    found = []
    for _ in range(count):
        one = sampler.draw()
        if one is None:
            break
        found.append(one[1])
        sampler.tell(one[0], 1.0)
    return found


def test_a_random_sampling_of_few_combinations_takes_each_once() -> None:
    space = {"a": choice("x", "y"), "b": randint(3)}
    found = drawn(Sampling("random", space, seed=1), 100)
    assert len(found) == len({tuple(each.items()) for each in found}) == 6
    assert found == drawn(Sampling("random", space, seed=1), 100)


@pytest.mark.parametrize(
    ("each", "low", "high"),
    [
        (uniform(-1, 2), -1, 2),
        (quniform(0, 1, 0.25), 0, 1),
        (loguniform(-3, 0), math.exp(-3), 1),
        (normal(5, 0.1), 4, 6),
        (qnormal(0, 10, 5), -60, 60),
        (lognormal(0, 0.1), 0.5, 2),
    ],
)
def test_expressions_stay_where_they_should(each: Any, low: float, high: float) -> None:
    values = [draw["x"] for draw in drawn(Sampling("random", {"x": each}, seed=0), 300)]
    assert low <= min(values) < max(values) <= high
    if each.kind.startswith("q"):
        assert all(abs(value / each.values[2] - round(value / each.values[2])) < 1e-9 for value in values)


def test_a_bayesian_sampling_comes_near_the_best() -> None:
    pytest.importorskip("optuna")
    sampler = sampler_of(Sampling("bayesian", {"x": uniform(0, 10), "k": choice("a", "b")}, seed=0), maximize=True)
    best = -math.inf
    for number in range(40):
        one = sampler.draw()
        assert one is not None
        value = -((one[1]["x"] - 3) ** 2) - (one[1]["k"] == "a")
        best = max(best, value)
        sampler.tell(one[0], None if number == 5 else value)
    assert best > -0.5


def test_without_optuna_the_sentence_names_the_package(
    monkeypatch: pytest.MonkeyPatch, project: Callable[..., Path]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    config = ScriptRunConfig(project({"train.py": ""}), "train.py")
    with pytest.raises(MissingExtra, match=r"pip install optuna \(fitserve's extra 'sweep'"):
        Sweep(config, Sampling("bayesian", {"x": uniform(0, 1)}), "score").check()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Sampling("grid", {"x": uniform(0, 1)}), "a grid takes choice"),
        (lambda: Sampling("bayesian", {"x": normal(0, 1)}), "not normal"),
        (lambda: Sampling("random", {}), "it has no parameters"),
        (lambda: Sampling("random", {"x": [1, 2]}), "is not an expression"),  # type: ignore[dict-item]
        (lambda: uniform(2, 1), "2 is more than 1"),
        (choice, "one or more"),
        (lambda: expression("sometimes", 1), "unknown expression 'sometimes'"),
        (lambda: quniform(0, 1, 0), "not positive"),
        (lambda: randint(0), "one positive integer"),
        (lambda: Policy("bandit"), "slack_factor or slack_amount"),
        (lambda: Policy("truncation"), "between 1 and 99"),
        (lambda: Policy.from_json({"kind": "median", "patience": 3}), "invalid description"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        make()


def test_a_sweep_has_a_form_in_json(project: Callable[..., Path]) -> None:
    config = ScriptRunConfig(project({"train.py": ""}), "train.py")
    space = {"x": choice("a", 1, True), "y": loguniform(-3, 0)}
    wanted = Sweep(config, Sampling("random", space, 7), "score", "minimize", 5, 2, 60, Policy("median", 2, 3))
    form = json.loads(json.dumps(wanted.to_json()))
    assert Sweep.from_json(form, config).to_json() == wanted.to_json()
    with pytest.raises(InvalidArgument, match="primary_metric"):
        Sweep.from_json({"sampling": form["sampling"]}, config)
    with pytest.raises(InvalidArgument, match="neither MAXIMIZE"):
        Sweep(config, wanted.sampling, "score", "most").check()


# policies


def test_a_bandit_gives_slack_to_what_is_near_the_best() -> None:
    policy = Policy("bandit", slack_factor=0.25, delay_evaluation=2)
    values = {"a": [0.5, 1.0], "b": [0.5, 0.81], "c": [0.5, 0.79], "d": [0.1]}
    ended = {name for name in values if policy.ends(name, values, list(values), maximize=True)}
    assert ended == {"c"}
    losses = {"a": [1.0], "b": [1.2], "c": [1.3]}
    policy = Policy("bandit", slack_factor=0.25)
    assert {name for name in losses if policy.ends(name, losses, list(losses), maximize=False)} == {"c"}
    policy = Policy("bandit", slack_amount=0.1)
    assert {name for name in losses if policy.ends(name, losses, list(losses), maximize=False)} == {"b", "c"}


def test_the_median_ends_the_worse_half_and_truncation_the_worst() -> None:
    values = {"a": [1.0], "b": [2.0], "c": [3.0], "d": [4.0], "e": [5.0]}
    running = list(values)
    median = {n for n in values if Policy("median").ends(n, values, running, maximize=True)}
    assert median == {"a", "b"}
    worst = Policy("truncation", truncation_percentage=20)
    assert {n for n in values if worst.ends(n, values, running, maximize=True)} == {"a"}
    assert {n for n in values if worst.ends(n, values, running, maximize=False)} == {"e"}
    assert not Policy("median", evaluation_interval=2).ends("a", values, running, maximize=True)
