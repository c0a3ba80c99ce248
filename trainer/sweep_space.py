"""Search space of a sweep: an expression for each parameter, and samplings that draw from them.

Both are plain values with a JSON form in Azure's words, since a sweep runs in another process than the one that submitted
it. Logarithmic expressions take exponents: ``loguniform(-3, 0)`` is between e^-3 and 1.
"""

import contextlib
import itertools
import math
import random
import statistics
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from registry.errors import InvalidArgument, MissingExtra, shown
from registry.records import Json

Parameters = dict[str, Any]
SamplingKind = Literal["random", "grid", "bayesian"]

#: Expression → number of its arguments.
_NUMBERS: Final = {
    "uniform": 2,
    "quniform": 3,
    "loguniform": 2,
    "qloguniform": 3,
    "normal": 2,
    "qnormal": 3,
    "lognormal": 2,
    "qlognormal": 3,
}
_BAYESIAN: Final = ("choice", "randint", "uniform", "quniform", "loguniform", "qloguniform")
_MOST_COMBINATIONS: Final = 100_000


@dataclass(frozen=True)
class Expression:
    """``choice`` with its options, ``randint`` with its exclusive upper bound, or another with its numbers."""

    kind: str
    values: tuple[Any, ...]

    @property
    def options(self) -> tuple[Any, ...] | None:
        """All possible values; None if there are too many."""
        if self.kind == "choice":
            return self.values
        return tuple(range(self.values[0])) if self.kind == "randint" and self.values[0] <= _MOST_COMBINATIONS else None

    def at(self, part: float) -> Any:
        """The quantile of the distribution at `part` (0 to 1)."""
        if self.kind == "choice":
            return self.values[min(int(part * len(self.values)), len(self.values) - 1)]
        if self.kind == "randint":
            return min(int(part * self.values[0]), self.values[0] - 1)
        low, high = self.values[:2]
        if "normal" in self.kind:
            value = statistics.NormalDist(low, high).inv_cdf(min(max(part, 1e-12), 1 - 1e-12)) if high else low
        else:
            value = low + part * (high - low)
        if "log" in self.kind:
            value = math.exp(value)
        return self.rounded(value)

    def rounded(self, value: float) -> float:
        """Round to a multiple of q, if the expression has one."""
        return round(value / self.values[2]) * self.values[2] if self.kind.startswith("q") else value

    def to_json(self) -> dict[str, Json]:
        return {"kind": self.kind, "values": list(self.values)}

    @classmethod
    def from_json(cls, form: Any) -> "Expression":
        """
        Raises:
            InvalidArgument: it is not an expression, or its numbers are invalid.
        """
        if not isinstance(form, Mapping) or not isinstance(form.get("values"), list | tuple):
            raise InvalidArgument("parameter", f"{shown(form)} is not an expression such as choice('linear', 'rbf')")
        return expression(str(form.get("kind")), *form["values"])


def expression(kind: str, *values: Any) -> Expression:
    """
    Raises:
        InvalidArgument: the expression is unknown, or its numbers are invalid.
    """
    if kind == "choice":
        options = values[0] if len(values) == 1 and isinstance(values[0], list | tuple | range) else values
        if not options or not all(isinstance(option, str | int | float | None) for option in options):
            raise InvalidArgument("choice", "it takes one or more strings, numbers or booleans")
        return Expression(kind, tuple(options))
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values):
        raise InvalidArgument(kind, f"it takes numbers, not {shown(values)}")
    if kind == "randint":
        if len(values) != 1 or values[0] < 1 or values[0] != int(values[0]):
            raise InvalidArgument(kind, "it takes one positive integer, the exclusive upper bound")
        return Expression(kind, (int(values[0]),))
    if kind not in _NUMBERS:
        raise InvalidArgument(
            "parameter", f"unknown expression {kind!r}; use one of: choice, randint, {', '.join(_NUMBERS)}"
        )
    if len(values) != _NUMBERS[kind]:
        raise InvalidArgument(kind, f"it takes {_NUMBERS[kind]} numbers, not {len(values)}")
    if "uniform" in kind and values[0] > values[1]:
        raise InvalidArgument(kind, f"{values[0]} is more than {values[1]}")
    if "normal" in kind and values[1] < 0:
        raise InvalidArgument(kind, f"a standard deviation of {values[1]} is negative")
    if kind.startswith("q") and values[2] <= 0:
        raise InvalidArgument(kind, f"the step {values[2]} is not positive")
    return Expression(kind, tuple(values))


def choice(*options: Any) -> Expression:
    return expression("choice", *options)


def randint(upper: int) -> Expression:
    return expression("randint", upper)


def uniform(min_value: float, max_value: float) -> Expression:
    return expression("uniform", min_value, max_value)


def quniform(min_value: float, max_value: float, q: float) -> Expression:
    return expression("quniform", min_value, max_value, q)


def loguniform(min_value: float, max_value: float) -> Expression:
    return expression("loguniform", min_value, max_value)


def qloguniform(min_value: float, max_value: float, q: float) -> Expression:
    return expression("qloguniform", min_value, max_value, q)


def normal(mu: float, sigma: float) -> Expression:
    return expression("normal", mu, sigma)


def qnormal(mu: float, sigma: float, q: float) -> Expression:
    return expression("qnormal", mu, sigma, q)


def lognormal(mu: float, sigma: float) -> Expression:
    return expression("lognormal", mu, sigma)


def qlognormal(mu: float, sigma: float, q: float) -> Expression:
    return expression("qlognormal", mu, sigma, q)


@dataclass(frozen=True)
class Sampling:
    """How the space is searched: "random" (without repetition in a small space), "grid" (all combinations of choices), or
    "bayesian" (guided by earlier results). `seed` makes it repeatable."""

    kind: SamplingKind
    space: Mapping[str, Expression]
    seed: int | None = field(default=None)

    def __post_init__(self) -> None:
        if self.kind not in ("random", "grid", "bayesian"):
            raise InvalidArgument("sampling", f"{self.kind!r} is not one of: random, grid, bayesian")
        if not self.space:
            raise InvalidArgument("sampling", "it has no parameters")
        for name, each in self.space.items():
            if not isinstance(each, Expression):
                raise InvalidArgument(name, f"{shown(each)} is not an expression such as choice('linear', 'rbf')")
            if self.kind == "grid" and each.kind != "choice":
                raise InvalidArgument(name, f"a grid takes choice, not {each.kind}")
            if self.kind == "bayesian" and each.kind not in _BAYESIAN:
                raise InvalidArgument(name, f"bayesian sampling takes {', '.join(_BAYESIAN)}, not {each.kind}")

    def combinations(self) -> int | None:
        """The number of combinations; None if it is infinite."""
        count = 1
        for each in self.space.values():
            count *= len(each.options or ()) or _MOST_COMBINATIONS + 1
        return count if count <= _MOST_COMBINATIONS else None

    def to_json(self) -> dict[str, Json]:
        space = {name: each.to_json() for name, each in self.space.items()}
        return {"kind": self.kind, "space": space, "seed": self.seed}

    @classmethod
    def from_json(cls, form: Mapping[str, Json]) -> "Sampling":
        """
        Raises:
            InvalidArgument: it was not made by `to_json`.
        """
        space = form.get("space")
        if not isinstance(space, Mapping):
            raise InvalidArgument("sampling", "it has no space of parameters")
        return cls(
            form.get("kind", "random"), {str(k): Expression.from_json(v) for k, v in space.items()}, form.get("seed")
        )


class Sampler(Protocol):
    """Draws parameters and learns from results."""

    def draw(self) -> tuple[int, Parameters] | None:
        """A number for `tell`, and parameters; None when all combinations have been tried."""

    def tell(self, number: int, value: float | None) -> None:
        """Report the best value of a run; None if it logged none."""

    def know(self, parameters: Parameters, value: float | None) -> None:
        """Report the result of an earlier run. Parameters outside this space are ignored."""

    def first(self, parameters: Parameters) -> None:
        """Draw these parameters before all others."""


class _Listed:
    """Draws combinations one after the other."""

    def __init__(self, names: Sequence[str], combinations: Iterator[tuple[Any, ...]]) -> None:
        self._rest: Iterator[Parameters] = (dict(zip(names, each, strict=True)) for each in combinations)
        self._first: deque[Parameters] = deque()
        self._known: list[Parameters] = []
        self._numbers = itertools.count()

    def draw(self) -> tuple[int, Parameters] | None:
        if self._first:
            return next(self._numbers), self._first.popleft()
        for parameters in self._rest:
            if parameters not in self._known:
                return next(self._numbers), parameters
        return None

    def tell(self, number: int, value: float | None) -> None:
        """Ignored: results do not influence the order."""

    def know(self, parameters: Parameters, value: float | None) -> None:
        if value is not None:
            self._known.append(parameters)

    def first(self, parameters: Parameters) -> None:
        self._first.append(parameters)
        self._known.append(parameters)  # do not draw it again


class _Bayesian:
    """Optuna's tree-structured Parzen estimator; running trials count as bad, so that parallel ones differ."""

    def __init__(self, sampling: Sampling, maximize: bool) -> None:
        optuna = import_optuna()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=sampling.seed, constant_liar=True)
        self._study = optuna.create_study(direction="maximize" if maximize else "minimize", sampler=sampler)
        self._space = sampling.space
        self._failed = optuna.trial.TrialState.FAIL

    def draw(self) -> tuple[int, Parameters] | None:
        trial = self._study.ask()
        return trial.number, {name: self._suggested(trial, name, each) for name, each in self._space.items()}

    def tell(self, number: int, value: float | None) -> None:
        if value is None or not math.isfinite(value):
            self._study.tell(number, state=self._failed)
        else:
            self._study.tell(number, value)

    def know(self, parameters: Parameters, value: float | None) -> None:
        if value is None or not math.isfinite(value) or parameters.keys() != self._space.keys():
            return
        optuna = import_optuna()
        distributions = {name: _distribution(optuna.distributions, each) for name, each in self._space.items()}
        with contextlib.suppress(ValueError):  # outside of this space
            self._study.add_trial(
                optuna.trial.create_trial(params=dict(parameters), distributions=distributions, value=value)
            )

    def first(self, parameters: Parameters) -> None:
        self._study.enqueue_trial(dict(parameters))

    @staticmethod
    def _suggested(trial: Any, name: str, each: Expression) -> Any:
        if each.kind == "choice":
            return trial.suggest_categorical(name, each.values)
        if each.kind == "randint":
            return trial.suggest_int(name, 0, each.values[0] - 1)
        low, high = each.values[:2]
        if "log" in each.kind:
            return each.rounded(trial.suggest_float(name, math.exp(low), math.exp(high), log=True))
        return each.rounded(trial.suggest_float(name, low, high))


def _distribution(distributions: Any, each: Expression) -> Any:
    """The distribution for `_Bayesian._suggested`, as an Optuna object."""
    if each.kind == "choice":
        return distributions.CategoricalDistribution(each.values)
    if each.kind == "randint":
        return distributions.IntDistribution(0, each.values[0] - 1)
    low, high = each.values[:2]
    if "log" in each.kind:
        return distributions.FloatDistribution(math.exp(low), math.exp(high), log=True)
    return distributions.FloatDistribution(low, high)


def sampler_of(sampling: Sampling, *, maximize: bool) -> Sampler:
    """
    Raises:
        MissingExtra: bayesian sampling needs Optuna.
    """
    if sampling.kind == "bayesian":
        return _Bayesian(sampling, maximize)
    names = list(sampling.space)
    if sampling.kind == "grid":
        return _Listed(names, itertools.product(*(each.options or () for each in sampling.space.values())))
    source = random.Random(sampling.seed)  # noqa: S311 nothing secret
    if sampling.combinations() is not None:
        listed = list(itertools.product(*(each.options or () for each in sampling.space.values())))
        source.shuffle(listed)
        return _Listed(names, iter(listed))
    return _Listed(names, _drawn(sampling.space, source))


def import_optuna() -> Any:
    """
    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import optuna  # late: an optional extra that takes a second to import
    except ImportError:
        raise MissingExtra("Optuna", "sweep", "bayesian sampling") from None
    return optuna


def _drawn(space: Mapping[str, Expression], source: random.Random) -> Iterator[tuple[Any, ...]]:
    while True:
        yield tuple(each.at(source.random()) for each in space.values())
