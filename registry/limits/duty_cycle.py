"""DutyCycle: when a group must rest and when it may run, from what it has used. Arithmetic only; it signals nobody."""

from typing import Final

RUN_S: Final = 0.02  # a full core's burst: with 0.5 cores, 20 ms of running and 20 ms of rest
_LEAST_S: Final = 0.004  # shorter bursts cost more than they are worth
_SOONEST_S: Final = 0.002
_LATEST_S: Final = 0.1


class DutyCycle:
    """A bucket that fills at `cores` CPU seconds per second and is emptied by what the group uses.

    Empty: the group rests until there is enough for a burst. What was used too much is owed, so the average over
    seconds is exact however late `step` is called.

    Args:
        cores: the limit.
        parallel: how many CPUs the group can use at once; tells how soon the bucket may be empty.
        now: monotonic seconds.
        used: CPU seconds that the group has used until now.
    """

    def __init__(self, cores: float, parallel: float, now: float, used: float) -> None:
        self.cores = cores
        self.parallel = parallel
        self.resting = False
        self.rested_seconds = 0.0
        self._burst = max(cores * RUN_S, _LEAST_S)
        self._credit = 2 * self._burst
        self._now, self._used = now, used

    def step(self, now: float, used: float) -> float:
        """Set `resting`; gives the seconds until the next call is due."""
        elapsed, spent = now - self._now, used - self._used
        self._now, self._used = now, used
        self._credit = min(self._credit + elapsed * self.cores - spent, 2 * self._burst)
        if self.resting:
            self.rested_seconds += elapsed
        self.resting = self._credit < self._burst if self.resting else self._credit <= 0
        if self.resting:
            wait = (self._burst - self._credit) / self.cores
        elif self.parallel > self.cores:
            wait = self._credit / (self.parallel - self.cores)
        else:
            wait = _LATEST_S
        return min(max(wait, _SOONEST_S), _LATEST_S)
