"""Golden rows: inputs and the answers to them that were recorded once, to be replayed wherever the model is loaded again.

This module makes inputs, keeps recordings as JSON without losing a bit, and compares answers. It asks no model
itself: who records sends the inputs to a limited child, and drops those that the model does not take.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from registry.errors import InvalidArgument, shown
from registry.golden_inputs import GoldenInput, make_inputs
from registry.records import Json
from registry.tensor_json import tensor_from_json, tensor_to_json

__all__ = [
    "GoldenInput",
    "Recording",
    "Table",
    "answer_forms",
    "check_expected",
    "compare",
    "expected_answers",
    "make_inputs",
    "max_ulp_difference",
]

Array = NDArray[Any]

_FORMAT: Final = 1
_NOISE: Final = 1e-12  # of the largest value of the whole answer: what is below it is zero


class Table(NamedTuple):
    """A DataFrame that a model answered with; the shape of `gateway.worker.wire.Table`."""

    names: Sequence[str]
    array: Array


class _TableLike(Protocol):
    names: Sequence[str]
    array: Array


@dataclass(frozen=True, eq=False)
class Recording:
    """What was asked and answered. `answers[i]` maps each method to its answer for `inputs[i]`: an array, or a list, tuple or
    `Table` of such. `recorded_in` says with which Python and which releases."""

    recorded_in: Mapping[str, Json]
    inputs: tuple[GoldenInput, ...]
    answers: tuple[Mapping[str, Any], ...]

    def to_bytes(self) -> bytes:
        """UTF-8 JSON from which `from_bytes` makes the same bits.

        Raises:
            TypeError: an answer has no form in JSON.
        """
        form = {
            "format": _FORMAT,
            "recorded_in": dict(self.recorded_in),
            "inputs": [given.to_json() for given in self.inputs],
            "answers": [{method: _to_json(answer) for method, answer in answers.items()} for answers in self.answers],
        }
        return json.dumps(form, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Recording":
        """
        Raises:
            InvalidArgument: it is no recording.
        """
        try:
            form = json.loads(data)
            if form["format"] != _FORMAT:
                raise InvalidArgument(
                    "golden rows", f"they are of format {shown(form['format'])}, {_FORMAT} is expected"
                )
            recording = cls(
                form["recorded_in"],
                tuple(GoldenInput.from_json(given) for given in form["inputs"]),
                tuple({method: _from_json(answer) for method, answer in a.items()} for a in form["answers"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise InvalidArgument("golden rows", f"they are not a recording ({type(error).__name__})") from None
        if len(recording.inputs) != len(recording.answers):
            raise InvalidArgument("golden rows", "they hold another number of inputs than of answers")
        return recording


def answer_forms(recording: "Recording") -> dict[str, list[Json]]:
    """What the recorded answers look like, by method: ``[[dtype, shape], …]``, one for each array that the method gives.

    Of a shape -1 stands for the rows, and for what differed from one input to another; of a dtype "object" stands for that.
    """
    forms: dict[str, list[tuple[str, list[int]] | None]] = {}
    for answers in recording.answers:
        for method, answer in answers.items():
            seen = [_form_of(array) for array in _arrays_of(answer)]
            known = forms.setdefault(method, list(seen))
            forms[method] = [_joined(one, other) for one, other in zip(known, seen, strict=False)]
    return {method: [list(form) for form in found if form is not None] for method, found in forms.items()}


def _arrays_of(answer: Any) -> list[Array]:
    if _is_table(answer):
        return [answer.array]
    if isinstance(answer, list | tuple):
        return [array for part in answer for array in _arrays_of(part)]
    return [np.asarray(answer)]


def _form_of(array: Array) -> tuple[str, list[int]]:
    numbers = array.dtype == object and array.size and all(isinstance(value, int | float) for value in array.flat)
    return "<f8" if numbers else array.dtype.str, [-1, *array.shape[1:]]


def _joined(one: tuple[str, list[int]] | None, other: tuple[str, list[int]] | None) -> tuple[str, list[int]] | None:
    if one is None or other is None:
        return one or other
    dtype = one[0] if one[0] == other[0] else "|O" if "U" in one[0] + other[0] else "<f8"
    if len(one[1]) != len(other[1]):
        return dtype, [-1]
    return dtype, [a if a == b else -1 for a, b in zip(one[1], other[1], strict=True)]


def check_expected(data: bytes) -> dict[str, list[Any]]:
    """The content of a file of right answers: ``{"predict": [one per row of the sample], …}``, as `/score` answers them.

    Raises:
        InvalidArgument: it is something else.
    """
    problem = 'it must be JSON such as {"predict": [0, 2, 1]}, with one answer for each row of the sample'
    try:
        form = json.loads(data)
    except ValueError as error:
        raise InvalidArgument("expected", f"{problem} ({error})") from None
    if not isinstance(form, dict) or not form or not all(isinstance(v, list) and v for v in form.values()):
        raise InvalidArgument("expected", problem)
    return form


def expected_answers(data: bytes, given: GoldenInput) -> Recording:
    """A recording with answers that were known beforehand, as far as the input goes.

    Raises:
        InvalidArgument: they are not answers, or fewer than the rows of the input.
    """
    answers: dict[str, Any] = {}
    rows = given.rows
    for method, values in check_expected(data).items():
        if len(values) < rows:
            raise InvalidArgument("expected", f"{len(values)} answers of {method} do not suffice for {rows} rows")
        answers[method] = np.asarray(values[:rows], dtype=None if _numeric(values) else object)
    return Recording({"expected": "with the registration"}, (given,), (answers,))


def _numeric(values: Sequence[Any]) -> bool:
    parts = [part for value in values for part in (value if isinstance(value, list) else [value])]
    return all(isinstance(part, int | float) and not isinstance(part, bool) for part in parts)


def compare(expected: Any, got: Any, rtol: float = 1e-6) -> str | None:
    """None where `got` is the same answer as `expected`, else a sentence with the largest difference.

    Labels (text, whole numbers, booleans, times) must be equal. Floats may differ by `rtol` of the largest value in their row,
    or by 8 units in the last place of the narrower type. NaN equals NaN, and infinity itself.
    """
    if _is_table(expected) or _is_table(got):
        return _compare_tables(expected, got, rtol)
    if isinstance(expected, list | tuple) or isinstance(got, list | tuple):
        return _compare_sequences(expected, got, rtol)
    return _compare_arrays(np.asarray(expected), np.asarray(got), rtol)


def max_ulp_difference(a: Any, b: Any) -> float:
    """The largest difference of two answers in units in the last place of the largest value of its row.

    Equal labels are 0 apart; unequal ones, other shapes, or NaN against a number are infinitely far apart. Rows lie along
    the first axis. Batched and unbatched answers may differ by up to 4, since BLAS picks its kernels by the batch's size.
    """
    if _is_table(a) and _is_table(b):
        return max_ulp_difference(a.array, b.array) if list(a.names) == list(b.names) else np.inf
    if isinstance(a, list | tuple) or isinstance(b, list | tuple):
        if not isinstance(a, list | tuple) or not isinstance(b, list | tuple) or len(a) != len(b):
            return np.inf
        return max((max_ulp_difference(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    return _ulps(np.asarray(a), np.asarray(b))


def _ulps(a: Array, b: Array) -> float:
    if a.shape != b.shape or a.dtype.kind != b.dtype.kind:
        return np.inf
    if a.dtype.kind not in "fc":
        return np.inf if _unequal(a, b).any() else 0.0
    if not a.size:
        return 0.0
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if not np.array_equal(np.isfinite(a) | same, np.isfinite(b) | same) or not np.all(np.isfinite(a) | same):
        return np.inf
    narrow = min(a.dtype, b.dtype, key=lambda dtype: dtype.itemsize)
    largest = np.maximum(_row_largest(a), _row_largest(b)).astype(np.empty(0, narrow).real.dtype)
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(a - b))
    return float(np.max(apart / np.spacing(largest)))


# comparing


def _compare_tables(expected: Any, got: Any, rtol: float) -> str | None:
    if not (_is_table(expected) and _is_table(got)):
        return f"{_kind(got)} is answered where {_kind(expected)} was recorded"
    if list(expected.names) != list(got.names):
        return f"the columns {shown(list(got.names))} are answered where {shown(list(expected.names))} were recorded"
    return compare(expected.array, got.array, rtol)


def _compare_sequences(expected: Any, got: Any, rtol: float) -> str | None:
    if not (isinstance(expected, list | tuple) and isinstance(got, list | tuple)):
        return f"{_kind(got)} is answered where {_kind(expected)} was recorded"
    if len(expected) != len(got):
        return f"{len(got)} parts are answered where {len(expected)} were recorded"
    for index, (one, other) in enumerate(zip(expected, got, strict=True)):
        difference = compare(one, other, rtol)
        if difference:
            return f"part {index}: {difference}"
    return None


def _compare_arrays(expected: Array, got: Array, rtol: float) -> str | None:
    if expected.shape != got.shape:
        return f"the shape {got.shape} is answered where {expected.shape} was recorded"
    if expected.dtype.kind in "fc" and got.dtype.kind in "fc":
        return _compare_floats(expected, got, rtol)
    differ = _unequal(expected, got)
    if not differ.any():
        return None
    first = tuple(int(n) for n in np.argwhere(differ)[0])
    numbers = expected.dtype.kind in "iufb" and got.dtype.kind in "iufb"
    if numbers:
        apart = np.abs(expected.astype(float) - got.astype(float))
        first = tuple(int(n) for n in np.unravel_index(np.nanargmax(np.where(differ, apart, -1.0)), apart.shape))
    return _told(first, expected[first], got[first], int(differ.sum()), differ.size)


def _compare_floats(expected: Array, got: Array, rtol: float) -> str | None:
    if not expected.size:
        return None
    narrow = max(np.finfo(expected.dtype).eps, np.finfo(got.dtype).eps)
    same = (expected == got) | (np.isnan(expected) & np.isnan(got))
    finite = np.isfinite(expected) & np.isfinite(got)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.where(same, 0.0, np.where(finite, np.abs(expected - got), np.inf)).astype(np.float64)
    allowed = max(rtol, 8 * float(narrow)) * _row_largest(expected) + _NOISE * _largest(expected)
    differ = apart > allowed
    if not differ.any():
        return None
    at = tuple(int(n) for n in np.unravel_index(np.argmax(np.where(differ, apart, -1.0)), apart.shape))
    return _told(at, expected[at], got[at], int(differ.sum()), differ.size, float(apart[at]))


def _told(at: tuple[int, ...], expected: Any, got: Any, count: int, of: int, apart: float | None = None) -> str:
    where = ", ".join(f"{word} {n}" for word, n in zip(("row", "column", *("axis",) * len(at)), at, strict=False))
    largest = f", the largest difference, {apart:.3g}" if apart is not None else ""
    many = f"; {count} of {of} values differ" if of > 1 else ""
    return (
        f"{where + ': ' if where else ''}{_value(got)} is answered where {_value(expected)} was recorded{largest}{many}"
    )


def _value(value: Any) -> str:
    return shown(value.item() if isinstance(value, np.generic) else value)


def _unequal(expected: Array, got: Array) -> NDArray[np.bool_]:
    one, other = _comparable(expected), _comparable(got)
    if object not in (one.dtype, other.dtype):
        return np.asarray(one != other)
    differ = [
        not (a == b and isinstance(a, str) == isinstance(b, str)) and not (a != a and b != b)  # noqa: PLR0124 NaN
        for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)
    ]
    return np.array(differ, bool).reshape(expected.shape)


def _comparable(array: Array) -> Array:
    """Text as objects: fixed-width text of numpy compares with nothing else."""
    return array.astype(object) if array.dtype.kind in "USTmM" else array


def _row_largest(array: Array) -> Array:
    """Of each row the largest finite magnitude, shaped to go with `array`."""
    magnitudes = np.where(np.isfinite(array), np.abs(array), 0.0).astype(np.float64)
    if array.ndim < 2:
        return magnitudes
    rest = tuple(range(1, array.ndim))
    return np.asarray(np.max(magnitudes, axis=rest, keepdims=True, initial=0.0))


def _largest(array: Array) -> float:
    return float(np.max(np.where(np.isfinite(array), np.abs(array), 0.0)))


def _is_table(value: Any) -> bool:
    return hasattr(value, "names") and hasattr(value, "array")


def _kind(value: Any) -> str:
    if _is_table(value):
        return "a table"
    return {"list": "a list", "tuple": "a tuple"}.get(type(value).__name__, "an array")


# JSON


def _to_json(answer: Any) -> Json:
    if _is_table(answer):
        return {"columns": [str(name) for name in answer.names], "array": tensor_to_json(answer.array)}
    if isinstance(answer, list | tuple):
        return {"list" if isinstance(answer, list) else "tuple": [_to_json(part) for part in answer]}
    return tensor_to_json(np.asarray(answer))


def _from_json(form: Mapping[str, Json]) -> Any:
    if "columns" in form:
        return Table(tuple(form["columns"]), tensor_from_json(form["array"]))
    if "list" in form:
        return [_from_json(part) for part in form["list"]]
    if "tuple" in form:
        return tuple(_from_json(part) for part in form["tuple"])
    return tensor_from_json(form)
