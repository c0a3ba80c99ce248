"""Waiting for something that another process, thread or task does.

The deadline is there to end a test that waits for what never comes. It is long, so that no test depends on a quick machine.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
DEADLINE_S = 60.0
_PAUSE_S = 0.01


def eventually(
    ask: Callable[[], T], until: Callable[[T], object] = bool, what: str = "it", timeout: float = DEADLINE_S
) -> T:
    """Ask until the answer is right, and return that answer.

    Raises:
        AssertionError: it did not become right in time; the last answer is shown.
    """
    deadline = time.monotonic() + timeout
    while not until(answer := ask()):
        if time.monotonic() > deadline:
            raise _late(what, timeout, answer)
        time.sleep(_PAUSE_S)
    return answer


async def until(condition: Callable[[], T], what: str = "it", timeout: float = DEADLINE_S) -> T:
    """`eventually` for a coroutine: return the first true answer, and let other tasks run in between.

    Raises:
        AssertionError: `condition()` did not become true in time.
    """
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise _late(what, timeout, answer)
        await asyncio.sleep(_PAUSE_S / 4)
    return answer


def _late(what: str, timeout: float, answer: object) -> AssertionError:
    return AssertionError(f"{what} did not happen within {timeout:g} s; last: {answer!r}")
