"""Metrics that a script logs with MLflow become the run's."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trainer import Run
from trainer.folder import RunFolder
from trainer.mlflow_store import take_metrics
from trainer.shim.azureml._fitserve.wire import EventReader, collapse

#: As MLflow writes a file store: time in milliseconds, value, step; a run that logged a model has lines twice.
AS_MLFLOW = """
    import os, time
    now = int(time.time() * 1000)
    def log(name, *lines):
        path = "mlruns/0/0123456789abcdef/metrics/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.writelines("{} {} {}\\n".format(now + step, value, step) for value, step in lines)
    log("acc", (0.5, 0), (0.5, 0))
    log("train/loss", (1.0, 0), (0.25, 1))
    from azureml.core import Run
    Run.get_context().log("ours", 7)
"""


def metrics_of(folder: RunFolder) -> dict[str, object]:
    events = [event for _, event in EventReader(str(folder.events)).read()]
    return collapse((event["name"], event["kind"], event["value"]) for event in events)


def test_the_file_store_of_a_run(submit: Callable[..., Run]) -> None:
    run = submit(AS_MLFLOW)
    run.wait_for_completion()
    assert run.get_metrics() == {"ours": 7, "acc": 0.5, "train/loss": [1.0, 0.25]}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    made.create()
    made.snapshot.mkdir()
    return made


def test_only_what_was_logged_since_counts_and_only_once(folder: RunFolder) -> None:
    store = folder.snapshot / "mlruns" / "0" / "abc" / "metrics"
    store.mkdir(parents=True)
    (store / "acc").write_text("1000 0.1 0\n9000 0.9 1\n9001 nan 2\n9002 torn")
    trash = folder.snapshot / "mlruns" / ".trash" / "abc" / "metrics"
    trash.mkdir(parents=True)
    (trash / "gone").write_text("9000 1 0\n")
    for _ in range(2):
        take_metrics(folder, datetime.fromtimestamp(8, UTC))
    kept = metrics_of(folder)
    assert (json.dumps(kept["acc"]), list(kept)) == ("[0.9, NaN]", ["acc"])


def test_the_database_of_newer_releases(folder: RunFolder) -> None:
    with closing(sqlite3.connect(folder.snapshot / "mlflow.db")) as database:
        database.execute("CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan)")
        rows = [("acc", 0.5, 9000, "a", 0, 0), ("acc", 0.75, 9001, "a", 1, 0), ("loss", 0, 9002, "a", 0, 1)]
        database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", rows)
        database.commit()
    take_metrics(folder, datetime.fromtimestamp(8, UTC))
    assert json.dumps(metrics_of(folder)) == '{"acc": [0.5, 0.75], "loss": NaN}'


def test_a_file_of_that_name_that_is_another_program_s(folder: RunFolder) -> None:
    (folder.snapshot / "mlflow.db").write_text("not a database, and longer than a header of one would be" * 20)
    take_metrics(folder, datetime.fromtimestamp(8, UTC))
    assert not folder.events.exists()
