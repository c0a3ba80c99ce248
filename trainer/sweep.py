"""Sweep: one script run with many choices of arguments, to find the best. A plain value; `submit` runs it."""

from collections.abc import Mapping, Sequence
from typing import Final

from registry.errors import InvalidArgument
from registry.records import Json
from trainer.script import ScriptRunConfig
from trainer.sweep_policies import Policy
from trainer.sweep_space import Sampling, import_optuna

GOALS: Final = ("MAXIMIZE", "MINIMIZE")
MOST_RUNS: Final = 1000
MOST_PARENTS: Final = 5


class Sweep:
    """Runs of a script with sampled arguments, appended to its own as ``--name value``.

    Args:
        config: the script; its limits, environment and maximum duration apply to each run.
        sampling: the arguments to try.
        primary_metric: the logged metric by which runs are compared; a run's best value counts.
        goal: "MAXIMIZE" or "MINIMIZE".
        max_total_runs: fewer if all combinations have been tried.
        max_concurrent_runs: None means one per core.
        max_duration_minutes: after this time no run is started, and running ones are canceled.
        policy: early termination.
        resume_from: ids of up to five earlier sweeps. Their results are reused, and combinations completed there are not
            repeated if the space is finite.
        resume_child_runs: ids of a sweep's runs whose parameters are tried first.
    """

    def __init__(
        self,
        config: ScriptRunConfig,
        sampling: Sampling,
        primary_metric: str,
        goal: str = "MAXIMIZE",
        max_total_runs: int = 20,
        max_concurrent_runs: int | None = None,
        max_duration_minutes: float = 10080,
        policy: Policy | None = None,
        resume_from: Sequence[str] = (),
        resume_child_runs: Sequence[str] = (),
    ) -> None:
        self.config = config
        self.sampling = sampling
        self.primary_metric = primary_metric
        self.goal = goal.upper()
        self.max_total_runs = max_total_runs
        self.max_concurrent_runs = max_concurrent_runs
        self.max_duration_minutes = max_duration_minutes
        self.policy = policy or Policy()
        self.resume_from = tuple(resume_from)
        self.resume_child_runs = tuple(resume_child_runs)

    @property
    def maximize(self) -> bool:
        return self.goal == "MAXIMIZE"

    def check(self) -> None:
        """Validate before anything is stored.

        Raises:
            InvalidArgument, ScriptNotFound: with what would be right.
            MissingExtra: the sampling needs Optuna.
        """
        if not isinstance(self.config, ScriptRunConfig):
            raise InvalidArgument("config", f"a ScriptRunConfig is expected, not {type(self.config).__name__}")
        self.config.check()
        if self.goal not in GOALS:
            raise InvalidArgument("goal", f"{self.goal!r} is neither MAXIMIZE nor MINIMIZE")
        if not self.primary_metric:
            raise InvalidArgument("primary_metric", "name the metric that the script logs, such as 'Accuracy'")
        if not 1 <= self.max_total_runs <= MOST_RUNS:
            raise InvalidArgument("max_total_runs", f"{self.max_total_runs} does not lie between 1 and {MOST_RUNS}")
        if self.max_concurrent_runs is not None and self.max_concurrent_runs < 1:
            raise InvalidArgument("max_concurrent_runs", f"{self.max_concurrent_runs} is less than 1")
        if not self.max_duration_minutes > 0:
            raise InvalidArgument("max_duration_minutes", f"{self.max_duration_minutes} is not a positive number")
        if len(self.resume_from) > MOST_PARENTS:
            raise InvalidArgument("resume_from", f"{len(self.resume_from)} sweeps are more than {MOST_PARENTS}")
        if self.sampling.kind == "bayesian":
            import_optuna()
            if self.policy.kind != "none":
                raise InvalidArgument("policy", "bayesian sampling learns from whole runs: leave the policy out")

    def to_json(self) -> dict[str, Json]:
        """Everything except the script."""
        return {
            "sampling": self.sampling.to_json(),
            "primary_metric": self.primary_metric,
            "goal": self.goal,
            "max_total_runs": self.max_total_runs,
            "max_concurrent_runs": self.max_concurrent_runs,
            "max_duration_minutes": self.max_duration_minutes,
            "policy": self.policy.to_json(),
            "resume_from": list(self.resume_from),
            "resume_child_runs": list(self.resume_child_runs),
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Json], config: ScriptRunConfig) -> "Sweep":
        """
        Raises:
            InvalidArgument: it was not made by `to_json`.
        """
        try:
            return cls(
                config,
                Sampling.from_json(form["sampling"]),
                str(form["primary_metric"]),
                str(form.get("goal", "MAXIMIZE")),
                int(form.get("max_total_runs", 20)),
                None if form.get("max_concurrent_runs") is None else int(form["max_concurrent_runs"]),
                float(form.get("max_duration_minutes", 10080)),
                Policy.from_json(form.get("policy")),
                [str(run) for run in form.get("resume_from") or ()],
                [str(run) for run in form.get("resume_child_runs") or ()],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgument("sweep", f"invalid description ({type(error).__name__}: {error})") from None
