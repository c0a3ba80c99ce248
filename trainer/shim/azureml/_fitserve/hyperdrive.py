"""Implementation of `azureml.train.hyperdrive`: describes sweeps, which fitserve executes (`trainer.sweep`)."""

from azureml._fitserve.client import call
from azureml._fitserve.expressions import Expression
from azureml._fitserve.kinds import make
from azureml._fitserve.texts import as_texts
from azureml._fitserve.unsupported import Answering, refuse
from azureml.exceptions import UserErrorException


class PrimaryMetricGoal(Answering):
    MAXIMIZE = "MAXIMIZE"
    MINIMIZE = "MINIMIZE"


class _Sampling(Answering):
    _kind = ""

    def __init__(self, parameter_space, properties=None):
        self._space = dict(parameter_space)
        self._seed = (properties or {}).get("seed")

    def _described(self):
        space = {}
        for name, each in self._space.items():
            if not isinstance(each, Expression):
                raise UserErrorException(
                    "{}: {!r} is not an expression such as choice('linear', 'rbf')".format(name, each)
                )
            space[str(name)] = each._described()
        return {"kind": self._kind, "space": space, "seed": self._seed}


class RandomParameterSampling(_Sampling):
    _kind = "random"


class GridParameterSampling(_Sampling):
    _kind = "grid"


class BayesianParameterSampling(_Sampling):
    _kind = "bayesian"


class _Policy(Answering):
    _kind = ""

    def _take(self, settings):
        self._settings = {key: value for key, value in settings.items() if key != "self" and value is not None}

    def _described(self):
        return dict(self._settings, kind=self._kind)


class NoTerminationPolicy(_Policy):
    _kind = "none"
    _settings = {}


class BanditPolicy(_Policy):
    _kind = "bandit"

    def __init__(self, evaluation_interval=1, slack_factor=None, slack_amount=None, delay_evaluation=0):
        self._take(locals())


class MedianStoppingPolicy(_Policy):
    _kind = "median"

    def __init__(self, evaluation_interval=1, delay_evaluation=0):
        self._take(locals())


class TruncationSelectionPolicy(_Policy):
    _kind = "truncation"

    def __init__(self, truncation_percentage, evaluation_interval=1, delay_evaluation=0):
        self._take(locals())


class HyperDriveConfig(Answering):
    """A sweep: script, search space, metric. A plain value; `Experiment.submit` runs it."""

    def __init__(
        self,
        hyperparameter_sampling,
        primary_metric_name,
        primary_metric_goal,
        max_total_runs,
        max_concurrent_runs=None,
        max_duration_minutes=10080,
        policy=None,
        estimator=None,
        run_config=None,
        resume_from=None,
        resume_child_runs=None,
        pipeline=None,
        debug_flag=None,
        custom_run_id=None,
    ):
        given = {"estimator": estimator, "pipeline": pipeline}
        for name in sorted(given):
            if given[name] is not None:
                refuse("HyperDriveConfig with {}".format(name), "give a ScriptRunConfig as run_config")
        if not hasattr(run_config, "_described"):
            raise UserErrorException("run_config: a ScriptRunConfig is expected")
        self._run_config = run_config
        self._sweep = {
            "sampling": hyperparameter_sampling._described(),
            "primary_metric": primary_metric_name,
            "goal": str(primary_metric_goal),
            "max_total_runs": max_total_runs,
            "max_concurrent_runs": max_concurrent_runs,
            "max_duration_minutes": max_duration_minutes,
            "policy": None if policy is None else policy._described(),
            "resume_from": _ids(resume_from),
            "resume_child_runs": _ids(resume_child_runs),
        }

    def _submit(self, experiment, tags, parent=None):
        facts = call(
            "sweep.submit",
            workspace=experiment.workspace._facts,
            experiment=experiment.name,
            config=self._run_config._described(),
            sweep=self._sweep,
            tags=as_texts(tags),
            parent=parent,
        )
        return make("run", experiment.workspace, facts)


def _ids(runs):
    """Ids of one run or of several."""
    if runs is None:
        return []
    return [run.id for run in (runs if isinstance(runs, (list, tuple)) else [runs])]
