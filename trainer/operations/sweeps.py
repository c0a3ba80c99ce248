"""Operations of `azureml.train.hyperdrive`."""

from typing import Any, Final

from registry.errors import InvalidArgument
from registry.records import Json
from trainer.history import SWEEP_TYPE
from trainer.open_workspaces import OpenWorkspaces
from trainer.operations.runs import facts, script_of
from trainer.rpc import Operation
from trainer.sdk import Experiment, Run, SweepRun
from trainer.sweep import Sweep


def submit(
    workspaces: OpenWorkspaces,
    workspace: Json,
    experiment: str,
    config: Json,
    sweep: Json,
    tags: Json,
    parent: str | None = None,
) -> Json:
    wanted = Sweep.from_json(sweep, script_of(config))
    return facts(Experiment(workspaces.get(workspace), experiment).submit(wanted, tags=tags, parent=parent))


def best(workspaces: OpenWorkspaces, workspace: Json, run: str, **given: Any) -> Json:
    found = _sweep(workspaces, workspace, run).get_best_run_by_primary_metric(**given)
    return None if found is None else facts(found)


def sorted_children(workspaces: OpenWorkspaces, workspace: Json, run: str, **given: Any) -> Json:
    return _sweep(workspaces, workspace, run).get_children_sorted_by_primary_metric(**given)


def hyperparameters(workspaces: OpenWorkspaces, workspace: Json, run: str) -> Json:
    return _sweep(workspaces, workspace, run).get_hyperparameters()


def metrics(workspaces: OpenWorkspaces, workspace: Json, run: str, name: str | None) -> Json:
    return _sweep(workspaces, workspace, run).get_metrics(name)


def _sweep(workspaces: OpenWorkspaces, workspace: Json, run: str) -> SweepRun:
    found = Run.get(workspaces.get(workspace), run)
    if found.type != SWEEP_TYPE:
        raise InvalidArgument("run", f"{run} is not a sweep")
    return SweepRun(found.experiment, run)


OPERATIONS: Final[dict[str, Operation]] = {
    "sweep.submit": submit,
    "sweep.best": best,
    "sweep.sorted": sorted_children,
    "sweep.hyperparameters": hyperparameters,
    "sweep.metrics": metrics,
}
