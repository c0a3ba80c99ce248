"""`fitserve sweep`: one script, many choices of its arguments."""

import json
import re
from typing import Any, Final

import click

from gateway.cli.options import pairs, resource_options, resources, strict_python_option
from gateway.cli.output import print_table
from gateway.cli.train import ScriptCommand, environment_from, how_to_register, script_path
from registry.errors import InvalidArgument
from registry.workspace import Workspace
from trainer import Experiment, Run, ScriptRunConfig, Sweep
from trainer.history import SWEEP_TYPE
from trainer.sdk import SweepRun
from trainer.sweep_policies import Policy
from trainer.sweep_space import Expression, Sampling, expression

_CALL: Final = re.compile(r"([a-z]+)\((.*)\)")
_SHOWN: Final = 10
_RUNS: Final = 20


@click.command(cls=ScriptCommand)
@click.argument("script", required=False)
@click.argument("script_args", nargs=-1)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUES",
    help="Argument to try: kernel=linear,rbf or penalty=uniform(0.5,1.5); repeat it.",
)
@click.option("--metric", help="Metric that the script logs and the runs are compared by.")
@click.option("--minimize", is_flag=True, help="The least value is the best; else the greatest.")
@click.option(
    "--runs", type=click.IntRange(1, 1000), help="How many at most. Default: 20; when resumed, those that are missing."
)
@click.option("--at-once", type=click.IntRange(1), help="How many at a time. Default: one for each core.")
@click.option(
    "--sampling",
    type=click.Choice(["random", "grid", "bayesian"]),
    default="random",
    show_default=True,
    help="How values are chosen.",
)
@click.option("--seed", type=int, help="Makes the sampling repeatable.")
@click.option(
    "--policy",
    metavar="POLICY",
    help="End bad runs early: median, bandit(0.1) with a slack factor, or truncation(20) with a percentage.",
)
@click.option("--experiment", metavar="NAME", help="Experiment of the runs. Default: the script's name.")
@click.option("--environment", "-e", metavar="FILE|NAME", help="Conda .yml, pip requirements, or a registered name.")
@strict_python_option
@resource_options(what="each run")
@click.option("--register", "model", metavar="NAME", help="Register the best run's model under this name.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag of the sweep; repeat it.")
@click.option(
    "--resume", metavar="RUN", help="Go on where an earlier sweep has ended; takes no SCRIPT, its own is used."
)
@click.pass_obj
def sweep(obj: dict[str, Any], /, script: str | None, script_args: tuple[str, ...], **given: Any) -> None:
    """Run SCRIPT with sampled arguments, some at a time, and tell which choice is the best.

    Arguments for all runs follow `--`.
    """
    if given["resume"] is None:
        for name, what in (("Missing argument 'SCRIPT'.", script), *_needed(given)):
            if not what:
                raise click.UsageError(name)
        script_path(str(script))
    elif script is not None or given["params"]:
        raise click.UsageError("--resume takes neither SCRIPT nor --param: those of the earlier sweep are used")
    with Workspace.open(obj["workspace"]) as workspace:
        run = (
            _submit(workspace, str(script), script_args, given)
            if given["resume"] is None
            else _resume(workspace, given)
        )
        try:
            run.wait_for_completion(show_output=True)
        except KeyboardInterrupt:
            run.cancel()
            raise
        _print(run.get_children_sorted_by_primary_metric(), run.primary_metric)
        best = run.get_best_run_by_primary_metric(include_failed=False, include_canceled=False)
        if best is None:
            return
        if given["model"]:
            from gateway.cli.models import announce
            from gateway.cli.up import find_sample

            model = best.register_model(given["model"], best.choose_model(), sample=find_sample(best, workspace))
            click.echo(f"\nregistered {model.id} from {best.id}")
            announce(workspace, model.name, model.version)
        else:
            click.echo(f"\n{how_to_register(best, 'the best')}")


def _needed(given: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(f"Missing option '--{name}'.", given[key]) for name, key in (("param", "params"), ("metric", "metric"))]


def _resume(workspace: Workspace, given: dict[str, Any]) -> SweepRun:
    run = Run.get(workspace, given["resume"])
    if run.type != SWEEP_TYPE:
        raise InvalidArgument("--resume", f"{run.id} is not a sweep")
    return SweepRun(run.experiment, run.id).resume(given["runs"])


def _submit(workspace: Workspace, script: str, script_args: tuple[str, ...], given: dict[str, Any]) -> SweepRun:
    path = script_path(script)
    limits = (given["cpu"], given["memory"])
    config = ScriptRunConfig(
        path.resolve().parent,
        path.name,
        list(script_args),
        environment=environment_from(given["environment"], workspace),
        resource_configuration=resources(*limits) if limits != (None, None) else None,
        strict_python=given["strict_python"],
    )
    space = {name: parameter(name, text) for name, text in pairs(given["params"], "--param").items()}
    wanted = Sweep(
        config,
        Sampling(given["sampling"], space, given["seed"]),
        given["metric"],
        "MINIMIZE" if given["minimize"] else "MAXIMIZE",
        given["runs"] or _RUNS,
        given["at_once"],
        policy=policy(given["policy"]),
    )
    experiment = given["experiment"] or re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-") or "sweep"
    return Experiment(workspace, experiment).submit(wanted, pairs(given["tags"], "--tag"))


def parameter(name: str, text: str) -> Expression:
    """``linear,rbf``: a choice; ``uniform(0, 1)``: that expression.

    Raises:
        InvalidArgument: it is no expression.
    """
    call = _CALL.fullmatch(text.strip())
    kind, values = call.groups() if call else ("choice", text)
    try:
        return expression(kind, *(_value(part) for part in values.split(",")))
    except InvalidArgument as error:
        raise InvalidArgument(f"--param {name}", str(error)) from None


def policy(text: str | None) -> Policy | None:
    """
    Raises:
        InvalidArgument: it is no policy.
    """
    if text is None:
        return None
    call = _CALL.fullmatch(text.strip())
    kind, number = call.groups() if call else (text.strip(), "")
    try:
        if kind == "bandit":
            return Policy("bandit", slack_factor=float(number))
        if kind == "truncation":
            return Policy("truncation", truncation_percentage=int(number))
    except ValueError:
        raise InvalidArgument("--policy", f"{text!r} takes a number, such as bandit(0.1) or truncation(20)") from None
    if kind == "median":
        return Policy("median")
    raise InvalidArgument("--policy", f"{text!r} is none of median, bandit(0.1), truncation(20)")


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text.strip()


def _print(rows: list[dict[str, Any]], metric: str) -> None:
    shown = [
        (
            row["run_id"],
            row["status"],
            "" if row["best_primary_metric"] is None else f"{row['best_primary_metric']:g}",
            " ".join(f"{name}={value}" for name, value in json.loads(row["hyperparameters"]).items()),
        )
        for row in rows[:_SHOWN]
    ]
    print_table(("RUN", "STATUS", metric.upper(), "PARAMETERS"), shown, empty="no runs")
    if len(rows) > _SHOWN:
        click.echo(f"and {len(rows) - _SHOWN} more, none of them better: fitserve runs")
