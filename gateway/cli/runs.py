"""`fitserve runs`: what was run, with which arguments, and what came of it."""

import operator
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from gateway.cli.options import pairs
from gateway.cli.output import age, print_json, print_table
from registry.errors import ExperimentNotFound, InvalidArgument
from registry.records import RunRecord
from registry.workspace import Workspace
from trainer import Run
from trainer.completion import settle
from trainer.history import metrics_of

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION: Final = re.compile(r"(?P<name>.+?)\s*(?P<sign>>=|<=|!=|==|=|>|<)\s*(?P<number>[^<>=!]+)")
_KEYS: Final = ("created", "duration", "experiment", "status")  # that --sort takes beside a metric
_WIDEST: Final = 60  # characters of a column that could be of any length


@dataclass(frozen=True)
class Listed:
    """A run with its metrics."""

    record: RunRecord
    metrics: dict[str, Any]

    def number(self, metric: str) -> float | None:
        """The metric as one number: of several values the last."""
        value = self.metrics.get(metric)
        if isinstance(value, list) and value:
            value = value[-1]
        return float(value) if isinstance(value, int | float) else None

    @property
    def duration_s(self) -> float | None:
        start, end = self.record.start_time, self.record.end_time
        return None if start is None or end is None else round((end - start).total_seconds(), 3)

    def to_json(self) -> dict[str, Any]:
        run = self.record
        return {
            "id": run.id,
            "experiment": run.experiment,
            "number": run.number,
            "name": run.display_name,
            "status": run.status,
            "script": run.script,
            "arguments": list(run.arguments),
            "metrics": self.metrics,
            "created": run.created_time,
            "started": run.start_time,
            "ended": run.end_time,
            "duration_s": self.duration_s,
            "target": run.target,
            "environment": run.environment,
            "parent": run.parent,
            "type": run.type,
            "tags": dict(run.tags),
            "properties": dict(run.properties),
            "exit_code": run.exit_code,
            "error": run.error,
        }


@click.command()
@click.argument("run_id", required=False)
@click.option("--experiment", metavar="NAME", help="Only the runs of this experiment.")
@click.option("--status", metavar="STATUS", help="Only the runs with this status, such as Completed or Failed.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only the runs with this tag; repeat it.")
@click.option(
    "--metric",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Only the runs whose metric fulfils it, such as 'Accuracy>0.9'; repeat it. Of several values the last counts.",
)
@click.option(
    "--sort",
    metavar="KEY",
    help="Sort by a metric, created, duration, experiment or status, greatest first. Default: created.",
)
@click.option("--ascending", is_flag=True, help="Sort the other way: least first.")
@click.option("--most", type=click.IntRange(1), default=20, show_default=True, help="How many runs to list.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, which also has times, tags and the environment.")
@click.pass_obj
def runs(
    obj: dict[str, Any],
    /,
    run_id: str | None,
    as_json: bool,
    most: int,
    sort: str | None,
    ascending: bool,
    **wanted: Any,
) -> None:
    """List the runs with their metrics, newest first; or show RUN_ID with its metrics and files."""
    with Workspace.open(obj["workspace"], create=False) as workspace:
        if run_id is not None:
            _show(Run.get(workspace, run_id), as_json)
            return
        found, total = select(workspace, sort=sort, ascending=ascending, most=most, **wanted)
    if as_json:
        print_json([run.to_json() for run in found])
        return
    empty = "no runs fulfil that" if any(wanted.values()) else "no runs yet: fitserve train SCRIPT"
    print_table(
        ("RUN", "STATUS", "EXPERIMENT", "SCRIPT", "ARGUMENTS", "METRICS", "CREATED", "ERROR"),
        [
            (
                run.record.id,
                run.record.status,
                run.record.experiment,
                run.record.script or "",
                _short(shlex.join(run.record.arguments)),
                _short(_scalars(run)),
                age(run.record.created_time),
                _short((run.record.error or "").partition("\n")[0]),
            )
            for run in found
        ],
        empty=empty,
    )
    if total > len(found):
        click.echo(
            f"and {total - len(found):,} more: --most lists more of them, --json has all that is known", err=True
        )


def select(
    workspace: Workspace,
    *,
    experiment: str | None = None,
    status: str | None = None,
    tags: Sequence[str] = (),
    conditions: Sequence[str] = (),
    sort: str | None = None,
    ascending: bool = False,
    most: int = 20,
) -> tuple[list[Listed], int]:
    """The first `most` of the runs that are wanted, and how many there are.

    Raises:
        InvalidArgument: a condition or a key that cannot be understood, or a metric that no run has logged.
        ExperimentNotFound
    """
    checks = [condition(text) for text in conditions]
    wanted = pairs(tuple(tags), "--tag")
    store = workspace.metadata
    records = [
        run
        for run in store.list_runs(experiment)
        if (status is None or settle(workspace, run).status.lower() == status.lower())
        and wanted.items() <= dict(run.tags).items()
    ]
    if experiment is not None and not records and experiment not in {run.experiment for run in store.list_runs()}:
        raise ExperimentNotFound(experiment)
    by_metric = sort is not None and sort not in _KEYS
    if not checks and sort is None:  # the newest first: metrics only of those that are shown
        shown = records[::-1] if ascending else records
        return [_listed(workspace, run) for run in shown[:most]], len(records)
    listed = [_listed(workspace, run) for run in records]
    for name in [name for name, _ in checks] + ([str(sort)] if by_metric else []):
        _known(name, listed)
    found = [run for run in listed if all(_fulfils(run, name, check) for name, check in checks)]
    return _sorted(found, sort or "created", ascending)[:most], len(found)


def condition(text: str) -> tuple[str, Callable[[float], bool]]:
    """``Accuracy>0.9`` as a metric's name and a check of its value.

    Raises:
        InvalidArgument: it is not of that form.
    """
    match = _CONDITION.fullmatch(text.strip())
    try:
        limit = float(match["number"]) if match else None
    except ValueError:
        limit = None
    if match is None or limit is None:
        raise InvalidArgument("--metric", f"{text!r} is not a condition such as 'Accuracy>0.9' or 'loss<=0.1'")
    compare = _OPERATORS[match["sign"]]
    return match["name"], lambda value: compare(value, limit)


def _listed(workspace: Workspace, run: RunRecord) -> Listed:
    return Listed(settle(workspace, run), metrics_of(workspace.metadata, run.id))


def _known(name: str, runs: Sequence[Listed]) -> None:
    """Raises InvalidArgument: none of the runs has logged it, which a misspelt name should not hide."""
    logged = sorted({metric for run in runs for metric in run.metrics if run.number(metric) is not None})
    if runs and name not in logged:
        raise InvalidArgument(
            "--metric or --sort", f"no run has logged {name!r}; there is: {', '.join(logged) or 'nothing'}"
        )


def _fulfils(run: Listed, name: str, check: Callable[[float], bool]) -> bool:
    value = run.number(name)
    return value is not None and check(value)


def _sorted(runs: Sequence[Listed], key: str, ascending: bool) -> list[Listed]:
    """Runs without a value come last, whichever way."""

    def value(run: Listed) -> Any:
        match key:
            case "created":
                return run.record.created_time
            case "duration":
                return run.duration_s
            case "experiment" | "status":
                return getattr(run.record, key)
        return run.number(key)

    known = [run for run in runs if value(run) is not None and value(run) == value(run)]
    rest = [run for run in runs if value(run) is None or value(run) != value(run)]
    return sorted(known, key=value, reverse=not ascending) + rest


def _scalars(run: Listed) -> str:
    numbers = {name: run.number(name) for name in run.metrics}
    return " ".join(f"{name}={number:.4g}" for name, number in numbers.items() if number is not None)


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _show(run: Run, as_json: bool) -> None:
    details = run.get_details()
    listed = _listed(run.workspace, run.workspace.metadata.get_run(run.id))
    files = run.get_file_names()
    if as_json:
        print_json({**listed.to_json(), **details, "files": files})
        return
    click.echo(f"runId: {run.id}\nexperiment: {listed.record.experiment}\nstatus: {listed.record.status}")
    if listed.record.script:
        click.echo(f"script: {shlex.join([listed.record.script, *listed.record.arguments])}")
    for key in ("startTimeUtc", "endTimeUtc", "target"):
        if details.get(key) is not None:
            click.echo(f"{key}: {details[key]}")
    if listed.record.tags:
        click.echo(f"tags: {' '.join(f'{key}={value}' for key, value in listed.record.tags.items())}")
    if details.get("error"):
        click.echo(f"error: {details['error']}")
    click.echo("metrics:")
    for name, value in listed.metrics.items():
        click.echo(f"  {name}: {value}")
    click.echo("files:")
    for name in files:
        click.echo(f"  {name}")
