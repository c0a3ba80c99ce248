"""Metrics that a script logged with MLflow into a store in its working folder, appended as events of its run."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from trainer.folder import RunFolder
from trainer.shim.azureml._fitserve.wire import Event, EventReader, EventWriter

SOURCE: Final = "mlflow"
FOLDER: Final = "mlruns"
_DATABASE: Final = "mlflow.db"  # default of newer releases
_QUERY: Final = "SELECT timestamp, step, key, CASE is_nan WHEN 1 THEN 'nan' ELSE value END FROM metrics"

Metric = tuple[int, int, str, float]  # time in milliseconds, step, name, value


def take_metrics(folder: RunFolder, since: datetime) -> None:
    """Append metrics logged after `since` to the run's events, in the order of logging. A second call does nothing.

    Raises:
        OSError: the disk is full.
    """
    begun = since.timestamp() * 1000 - 1
    metrics = [*_of_files(folder.snapshot / FOLDER)] or [*_of_database(folder.snapshot / _DATABASE)]
    found = sorted(
        {metric for metric in metrics if metric[0] >= begun}
    )  # a set: a metric linked to a model is written twice
    if not found or any(event.get("source") == SOURCE for _, event in EventReader(str(folder.events)).read()):
        return
    with closing(EventWriter(str(folder.root))) as writer:
        for metric in found:
            writer.write(_event(metric))


def _event(metric: Metric) -> Event:
    time, step, name, value = metric
    return {
        "type": "metric",
        "name": name,
        "kind": "scalar",
        "value": value,
        "step": step,
        "time": datetime.fromtimestamp(time / 1000, UTC).isoformat(),
        "source": SOURCE,
    }


def _of_files(store: Path) -> Iterator[Metric]:
    """``<experiment>/<run>/metrics/<name>``: a line is time, value and step."""
    for top in store.glob("[!.]*/*/metrics"):
        for path in top.rglob("*"):
            if path.is_file():
                for line in path.read_text("utf-8", "replace").splitlines():
                    yield from _metric(path.relative_to(top).as_posix(), *line.split()[:3])


def _of_database(path: Path) -> Iterator[Metric]:
    if not path.is_file():
        return
    import sqlite3  # late: start-up time of launchers

    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            for time, step, name, value in database.execute(_QUERY):
                yield from _metric(str(name), str(time), str(value), str(step))
    except sqlite3.Error:
        return  # not an MLflow database


def _metric(name: str, time: str = "", value: str = "", step: str = "0") -> Iterator[Metric]:
    try:
        yield int(time), int(step), name, float(value)
    except ValueError:
        return  # an incomplete line
