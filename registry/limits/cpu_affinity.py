"""Pins: which CPUs each group runs on, so that a group of many threads cannot run on more CPUs than it may use."""

from collections.abc import Iterable, Mapping
from typing import Final

_WORTH_IT: Final = 0.25  # cores: moving costs caches


class Pins:
    """Hands out sets of CPUs, those with the least on them first. Knows numbers of groups, not processes."""

    def __init__(self, cpus: Iterable[int]) -> None:
        self.cpus = frozenset(cpus)
        self._taken: dict[int, frozenset[int]] = {}

    def take(self, group: int, count: int) -> frozenset[int]:
        """`count` CPUs for a group, or all if it may use all."""
        self.drop(group)
        if count >= len(self.cpus):
            return self.cpus
        load = self._load(dict.fromkeys(self._taken, 1.0))
        self._taken[group] = self._least(load, count)
        return self._taken[group]

    def drop(self, group: int) -> None:
        self._taken.pop(group, None)

    def balance(self, cores: Mapping[int, float]) -> dict[int, frozenset[int]]:
        """Move busy groups away from each other; gives those that moved.

        Args:
            cores: what each group uses, by its number.
        """
        moved = {}
        load = self._load(cores)
        for group in sorted(self._taken, key=lambda g: -cores.get(g, 0.0)):
            mine, share = self._taken[group], cores.get(group, 0.0) / len(self._taken[group])
            if share < _WORTH_IT:
                break
            for cpu in mine:
                load[cpu] -= share
            best = self._least(load, len(mine))
            if max(load[c] for c in mine) > max(load[c] for c in best) + _WORTH_IT:
                moved[group] = self._taken[group] = best
            for cpu in self._taken[group]:
                load[cpu] += share
        return moved

    def _load(self, cores: Mapping[int, float]) -> dict[int, float]:
        load = dict.fromkeys(self.cpus, 0.0)
        for group, mine in self._taken.items():
            for cpu in mine:
                load[cpu] += cores.get(group, 0.0) / len(mine)
        return load

    @staticmethod
    def _least(load: Mapping[int, float], count: int) -> frozenset[int]:
        return frozenset(sorted(load, key=lambda cpu: (load[cpu], cpu))[:count])
