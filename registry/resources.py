"""ResourceConfiguration: the CPU and memory a model version may use, and how sizes are written."""

import math
import re
from dataclasses import dataclass
from typing import Final

from registry.errors import InvalidResource

GB: Final = 2**30
DEFAULT_CPU: Final = 1.0
DEFAULT_MEMORY_IN_GB: Final = 0.5
AUTO_MEMORY_MAX_GB: Final = 2.0  # chosen where nobody named a limit

_UNITS: Final = {"": GB, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", re.IGNORECASE)


def parse_memory(text: str) -> float:
    """Memory in GB (2**30 bytes) from ``"0.5"`` (GB), ``"512Mi"``, ``"500M"`` or ``"1.5GiB"``.

    A number alone and ``GB`` mean 2**30 bytes, as Azure's ``memory_in_gb`` does; ``M``, ``k`` and ``T`` are decimal.

    Raises:
        InvalidResource: it is not a size.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise InvalidResource("memory", text, "a size such as 0.5 (GB), 512Mi or 2Gi")
    number, unit = found.groups()
    factor = _UNITS[(unit or "").lower()]
    return float(number) * (GB if (unit or "").lower() == "g" else factor) / GB


@dataclass(frozen=True)
class ResourceConfiguration:
    """What a model version may use, all its processes together.

    Args:
        cpu: cores, a positive number such as 0.5 or 2. None means the default, 1.
        memory_in_gb: memory in GB (2**30 bytes), positive. None means the default, 0.5.
        gpu: accepted for Azure's sake; only None and 0 mean something here.

    Raises:
        InvalidResource: a value is not a positive, finite number.
    """

    cpu: float | None = None
    memory_in_gb: float | None = None
    gpu: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_memory_is_named", self.memory_in_gb is not None)
        object.__setattr__(self, "cpu", _positive("cpu", self.cpu, DEFAULT_CPU, 0.01, 4096))
        object.__setattr__(
            self, "memory_in_gb", _positive("memory_in_gb", self.memory_in_gb, DEFAULT_MEMORY_IN_GB, 0.01, 2**20)
        )
        if self.gpu not in (None, 0):
            raise InvalidResource("gpu", self.gpu, "None or 0: scikit-learn models are served on CPUs")

    def fitting(self, file_bytes: int, compressed: bool = False) -> "ResourceConfiguration":
        """These limits, with memory for a model file of that size where nobody named a limit.

        Loading takes up to twice the bytes of a pickle, four times those of a compressed one. At least the default, at most
        `AUTO_MEMORY_MAX_GB`: whoever needs more has to say so.
        """
        if self._memory_is_named:  # type: ignore[attr-defined]
            return self
        needed = 0.15 + file_bytes / GB * (4.4 if compressed else 2.2)
        chosen = min(AUTO_MEMORY_MAX_GB, max(DEFAULT_MEMORY_IN_GB, math.ceil(2 * needed) / 2))
        return ResourceConfiguration(self.cpu, chosen, self.gpu)

    @property
    def cores(self) -> float:
        """`cpu` as a plain float, never None."""
        assert self.cpu is not None
        return self.cpu

    @property
    def memory_bytes(self) -> int:
        """`memory_in_gb` in bytes, never None."""
        assert self.memory_in_gb is not None
        return int(self.memory_in_gb * GB)

    @property
    def threads(self) -> int:
        """How many threads a numeric library may start: at least one, at most what the CPU limit pays for."""
        return max(1, math.ceil(self.cores))

    def serialize(self) -> dict[str, float | int | None]:
        """Azure's wire form: ``{"cpu", "memoryInGB", "gpu"}``."""
        return {"cpu": self.cpu, "memoryInGB": self.memory_in_gb, "gpu": self.gpu}


def _positive(field: str, value: object, default: float, least: float, most: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidResource(field, value, "a positive number")
    if not least <= value <= most:
        raise InvalidResource(field, value, f"a number from {least:g} to {most:.0f}")
    return float(value)
