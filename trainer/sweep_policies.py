"""Early termination policies of sweeps. An interval is one value of the primary metric."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from registry.errors import InvalidArgument
from registry.records import Json

PolicyKind = Literal["none", "bandit", "median", "truncation"]
_KINDS: Final = ("none", "bandit", "median", "truncation")

Values = Sequence[float]


@dataclass(frozen=True)
class Policy:
    """`bandit` ends runs worse than the best by more than `slack_factor` (a ratio) or `slack_amount`; `median` ends runs worse
    than the median of the others' running averages; `truncation` ends the worst `truncation_percentage` of running ones.

    Args:
        evaluation_interval: number of values between evaluations.
        delay_evaluation: number of values before the first evaluation.
    """

    kind: PolicyKind = "none"
    evaluation_interval: int = 1
    delay_evaluation: int = 0
    slack_factor: float | None = None
    slack_amount: float | None = None
    truncation_percentage: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InvalidArgument("policy", f"{self.kind!r} is not one of: {', '.join(_KINDS)}")
        if self.evaluation_interval < 1 or self.delay_evaluation < 0:
            raise InvalidArgument("policy", "evaluation_interval must be at least 1, and delay_evaluation at least 0")
        if self.kind == "bandit" and (self.slack_factor is None) == (self.slack_amount is None):
            raise InvalidArgument("policy", "give either slack_factor or slack_amount")
        if self.kind == "bandit" and (self.slack_factor or self.slack_amount or 0) < 0:
            raise InvalidArgument("policy", "slack must not be negative")
        if self.kind == "truncation" and not 1 <= (self.truncation_percentage or 0) <= 99:
            raise InvalidArgument("policy", "truncation_percentage must be between 1 and 99")

    def to_json(self) -> dict[str, Json]:
        return {key: value for key, value in vars(self).items() if value is not None}

    @classmethod
    def from_json(cls, form: Mapping[str, Json] | None) -> "Policy":
        """
        Raises:
            InvalidArgument: it is not a policy.
        """
        try:
            return cls(**(form or {}))
        except TypeError as error:
            raise InvalidArgument("policy", f"invalid description ({error})") from None

    def ends(self, run: str, values: Mapping[str, Values], running: Sequence[str], *, maximize: bool) -> bool:
        """Whether to end `run`, which has just logged another value.

        Args:
            values: of all runs so far, including ended ones.
            running: ids of the running ones.
        """
        own = values[run]
        count = len(own)
        if self.kind == "none" or count < max(1, self.delay_evaluation) or count % self.evaluation_interval:
            return False
        sign = 1.0 if maximize else -1.0
        best = {name: max(sign * value for value in of) for name, of in values.items() if of}
        match self.kind:
            case "bandit":
                return best[run] < self._threshold(max(best.values()))
            case "median":
                others = [
                    statistics.fmean(sign * v for v in of[:count]) for name, of in values.items() if of and name != run
                ]
                return bool(others) and best[run] < statistics.median(others)
            case _:
                seen = sorted(best[name] for name in running if name in best)
                return best[run] < seen[len(seen) * (self.truncation_percentage or 0) // 100]

    def _threshold(self, best: float) -> float:
        """The sign of `best` is inverted when the metric is minimised."""
        if self.slack_amount is not None:
            return best - self.slack_amount
        factor = 1 + (self.slack_factor or 0.0)
        return best / factor if best >= 0 else best * factor
