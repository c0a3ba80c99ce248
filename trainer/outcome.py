"""How a run ended: a status and an error message."""

import re
import signal
from dataclasses import dataclass
from typing import Final

from registry.limits.base import Usage
from registry.resources import GB, ResourceConfiguration
from registry.units import memory_text

_NEAR: Final = 0.95  # of the limit; a SIGKILL at such a peak is attributed to the memory limit
_MEMORY_ERROR: Final = re.compile(r"^(\S*\.)?_?(Array)?MemoryError\b", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """`error` is None unless the status is Failed; its first line is the message, the rest the script's last lines."""

    status: str
    error: str | None = None
    exit_code: int | None = None


def outcome_of(
    script: str, code: int, last_lines: str, limits: ResourceConfiguration | None = None, usage: Usage | None = None
) -> Outcome:
    """Derive the outcome from the exit code (negative for a signal, as in `subprocess`) and the end of the log."""
    if code == 0:
        return Outcome("Completed", exit_code=0)
    sentence = None
    if limits is not None and usage is not None and _was_memory(code, last_lines, limits, usage):
        sentence = (
            f"{script} passed its memory limit of {memory_text(limits.memory_in_gb)} "
            f"(peak {usage.memory_peak_bytes / GB:.2f} GB); raise the limit with resource_configuration, or use less memory"
        )
    elif code < 0:
        sentence = f"{script} was killed by {signal_name(-code)}"
    else:
        sentence = f"{script} exited with code {code}"
    return Outcome("Failed", with_last_lines(sentence, last_lines), code)


def with_last_lines(sentence: str, last_lines: str) -> str:
    return f"{sentence}; its last lines:\n{last_lines}" if last_lines else f"{sentence} and printed nothing"


def signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"


def _was_memory(code: int, last_lines: str, limits: ResourceConfiguration, usage: Usage) -> bool:
    if usage.oom_kills > 0 or _MEMORY_ERROR.search(last_lines):
        return True
    return code in (-signal.SIGKILL, 137) and usage.memory_peak_bytes >= _NEAR * limits.memory_bytes
