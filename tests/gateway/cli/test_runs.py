"""`fitserve runs`: the table and the JSON say what was run with which arguments and what came of it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import main
from gateway.cli.runs import condition, select
from registry.errors import ExperimentNotFound, InvalidArgument
from registry.workspace import Workspace
from trainer import Experiment


def logged(
    workspace: Workspace, experiment: str, arguments: tuple[str, ...], tags: dict[str, str], **metrics: Any
) -> str:
    run = Experiment(workspace, experiment).start_logging(tags=tags)
    for name, value in metrics.items():
        for one in value if isinstance(value, list) else [value]:
            run.log(name, one)
    run.complete()
    workspace.metadata.update_run(run.id, lambda record: replace(record, script="train.py", arguments=arguments))
    return run.id


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(tmp_path / "ws") as opened:
        yield opened


@pytest.fixture
def ids(workspace: Workspace) -> list[str]:
    return [
        logged(workspace, "iris", ("--C", "1"), {"by": "ann"}, Accuracy=0.9, loss=[0.8, 0.3]),
        logged(workspace, "iris", ("--C", "5"), {}, Accuracy=0.95, loss=[0.1, 0.4]),
        logged(workspace, "wine", (), {"by": "ann"}, Accuracy=float("nan")),
        logged(workspace, "wine", ("two words",), {"by": "bob"}, note="text"),
    ]


def said(capsys: pytest.CaptureFixture[str], workspace: Workspace, *arguments: str) -> tuple[object, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["--workspace", str(workspace.root), "runs", *arguments])
    return end.value.code, *capsys.readouterr()


def test_the_table_shows_experiment_arguments_and_metrics(
    capsys: pytest.CaptureFixture[str], workspace: Workspace, ids: list[str]
) -> None:
    code, out, _ = said(capsys, workspace)
    header, *lines = out.splitlines()
    assert (code, header.split()) == (
        0,
        ["RUN", "STATUS", "EXPERIMENT", "SCRIPT", "ARGUMENTS", "METRICS", "CREATED", "ERROR"],
    )
    assert [line.split()[0] for line in lines] == ids[::-1]
    assert "Completed  iris        train.py  --C 5        Accuracy=0.95 loss=0.4" in lines[2]
    assert "'two words'" in lines[0]


def test_json_carries_what_the_table_carries_and_more(
    capsys: pytest.CaptureFixture[str], workspace: Workspace, ids: list[str]
) -> None:
    (run,) = json.loads(said(capsys, workspace, "--json", "--experiment", "iris", "--metric", "Accuracy>0.92")[1])
    assert (run["id"], run["experiment"], run["status"], run["script"]) == (ids[1], "iris", "Completed", "train.py")
    assert (run["arguments"], run["metrics"]) == (["--C", "5"], {"Accuracy": 0.95, "loss": [0.1, 0.4]})
    assert (run["error"], run["exit_code"], run["tags"]) == (None, None, {})
    assert run["duration_s"] >= 0
    one = json.loads(said(capsys, workspace, ids[1], "--json")[1])
    assert run.items() <= one.items()
    assert (one["runId"], "user_logs/std_log.txt" in one["files"]) == (ids[1], True)


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ({"experiment": "iris"}, [1, 0]),
        ({"status": "completed", "tags": ["by=ann"]}, [2, 0]),
        ({"conditions": ["Accuracy>=0.9"]}, [1, 0]),
        ({"conditions": ["Accuracy > 0.9", "loss<1"]}, [1]),
        ({"conditions": ["loss<=0.3"]}, [0]),  # of several values the last
        ({"conditions": ["loss!=0.3"]}, [1]),
        ({"conditions": ["Accuracy=0.9"]}, [0]),
        ({"sort": "Accuracy"}, [1, 0, 2, 3]),  # without a number: last
        ({"sort": "loss", "ascending": True, "most": 1}, [0]),
        ({"sort": "created", "ascending": True}, [0, 1, 2, 3]),
        ({"ascending": True, "most": 2}, [0, 1]),
        ({"sort": "experiment"}, [2, 3, 0, 1]),
        ({"most": 3}, [3, 2, 1]),
    ],
)
def test_runs_are_chosen_and_sorted(
    workspace: Workspace, ids: list[str], wanted: dict[str, Any], places: list[int]
) -> None:
    found, total = select(workspace, **wanted)
    got = [ids.index(run.record.id) for run in found]
    assert sorted(got) == sorted(places)
    if wanted.get("sort") != "experiment":
        assert got[:2] == places[:2]
    else:
        assert [run.record.experiment for run in found] == ["wine", "wine", "iris", "iris"]
    assert total >= len(found)


@pytest.mark.parametrize(
    ("wanted", "error", "sentence"),
    [
        ({"conditions": ["Accuracy"]}, InvalidArgument, "'Accuracy>0.9'"),
        ({"conditions": ["Accuracy>high"]}, InvalidArgument, "is not a condition"),
        ({"conditions": ["Acuracy>0.9"]}, InvalidArgument, "no run has logged 'Acuracy'; there is: Accuracy, loss"),
        ({"sort": "creatd"}, InvalidArgument, "no run has logged 'creatd'"),
        ({"experiment": "irsi"}, ExperimentNotFound, "irsi"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(
    workspace: Workspace, ids: list[str], wanted: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        select(workspace, **wanted)


@pytest.mark.parametrize(
    ("text", "name", "right", "wrong"),
    [("a>1", "a", 2, 1), ("a>=1", "a", 1, 0), ("b c<-1e-3", "b c", -1, 0), ("a==2", "a", 2, 3), ("a != 2", "a", 3, 2)],
)
def test_conditions(text: str, name: str, right: float, wrong: float) -> None:
    found, check = condition(text)
    assert (found, check(right), check(wrong)) == (name, True, False)


def test_what_is_left_out_is_counted(capsys: pytest.CaptureFixture[str], workspace: Workspace, ids: list[str]) -> None:
    _, out, error = said(capsys, workspace, "--most", "3")
    assert (len(out.splitlines()), error.startswith("and 1 more: --most")) == (4, True)
    assert said(capsys, workspace, "--metric", "Accuracy>2")[1] == "no runs fulfil that\n"
