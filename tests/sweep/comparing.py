"""Answers over HTTP beside a model's own: labels exactly, floats within units in the last place of their row's largest."""

import math
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pandas as pd


def local(answer: Any) -> Any:
    """A model's own answer as JSON has it; NaN and infinities are null there."""
    if hasattr(answer, "toarray"):
        answer = answer.toarray()
    if isinstance(answer, pd.DataFrame):
        answer = answer.to_numpy()
    if isinstance(answer, np.ndarray):
        return local(answer.tolist())
    if isinstance(answer, np.generic):
        return local(answer.item())
    if isinstance(answer, list | tuple):
        return [local(part) for part in answer]
    return None if isinstance(answer, float) and not math.isfinite(answer) else answer


def part_of(expected: Any, start: int, stop: int, rows: int) -> Any:
    """Rows `start` to `stop` of an answer for `rows` rows.

    Some methods give several arrays, each with all rows first (kneighbors: distances, places) or none (a forest's decision_path:
    where its trees begin).
    """
    if len(expected) == rows:
        return expected[start:stop]
    return [part[start:stop] if len(part) == rows else part for part in expected]


def differences(what: str, answer: httpx.Response, method: str, expected: Any, ulp: float = 0) -> Iterator[str]:
    """How `answer` differs from `expected`: a sentence, or none."""
    if answer.status_code != 200:
        yield f"{what}: {answer.status_code} {answer.text[:300]}"
        return
    got = answer.json()[method]
    if got != expected and not (ulp and _near(got, expected, ulp)):
        yield f"{what}: {str(got)[:300]} instead of {str(expected)[:300]}"


def _near(got: Any, expected: Any, ulp: float) -> bool:
    try:
        left, right = np.asarray(got, float), np.asarray(expected, float)
    except (TypeError, ValueError):
        return (
            isinstance(got, list)
            and isinstance(expected, list)
            and len(got) == len(expected)
            and all(
                _near(one, other, ulp) if isinstance(one, list) else one == other
                for one, other in zip(got, expected, strict=True)
            )
        )
    if left.shape != right.shape or not left.size:
        return left.shape == right.shape
    largest = np.nanmax(np.abs(right), axis=-1, keepdims=True) if right.ndim else np.abs(right)
    return bool(np.all((np.abs(left - right) <= ulp * np.spacing(largest)) | (np.isnan(left) & np.isnan(right))))
