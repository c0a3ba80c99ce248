"""What all JSON dialects do last: a model's answer as JSON, exactly.

float64 is written so that it reads back as the same number, float32 widened as `tolist` does, 64-bit integers exactly, times as
ISO 8601; NaN and infinities are ``null`` unless the caller asked for ``?nonfinite=string``.
"""

import json
import math
from typing import Any, Final

import numpy as np
import orjson

from gateway.types import ScoreResult

#: Arrays of these go into JSON without becoming lists first. Not float32: that would be written shorter than its widened value.
_DIRECT: Final = frozenset({"<f8", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1", "|b1"})
_MANY: Final = 64  # rows; fewer are quicker as lists


def json_answer(values: Any) -> bytes:
    """`values` (dicts, lists, numbers, arrays from `json_values`) as JSON."""
    try:
        return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        # Integers of more than 64 bits, or half of a surrogate pair, in a model's labels.
        return json.dumps(_finite(values), default=_plain, separators=(",", ":")).encode()


def json_values(result: ScoreResult, n_rows: int, nonfinite: bool = False) -> Any:
    """The `n_rows` rows of one caller, for `json_answer`. `nonfinite`: NaN and infinities as text."""
    if nonfinite:
        return _spelled(result.values())
    if n_rows >= _MANY:
        output = result.output
        if isinstance(output, np.ndarray) and output.dtype.str in _DIRECT and output.flags.c_contiguous:
            return output
    return result.values()


def _spelled(value: Any) -> Any:
    """NaN and infinities as the words that Python and JavaScript use for them."""
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else ("Infinity" if value > 0 else "-Infinity")  # noqa: PLR0124
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> str:
    return str(value)
