"""JSON values of one type → one array, exactly, or a sentence that names the value's row and column.

"Exactly" is the rule of the numbers: float64, or int64 when an integer is too large for float64 to hold; ``null`` and a bare
``NaN`` are missing; ``true`` is 1.0 as numpy has it; text is never a number. An integer that does not fit into 64 bits is read
as a float, which is what JSON readers do with it.
"""

import difflib
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from gateway.errors import SchemaMismatch
from registry.errors import shown

Array = NDArray[Any]
ColumnType = Literal["number", "integer", "string", "boolean", "datetime"]
Where = Callable[[int], str]

EXACT: Final = 2**53  # up to here float64 holds every integer
LEAST, GREATEST = -(2**63), 2**63 - 1  # of int64
_FINER: Final = re.compile(r"[.,]\d{6}(\d{1,3})")  # digits of nanoseconds, which `datetime` does not have
_FIRST, _LAST = np.datetime64("1678-01-01", "us"), np.datetime64("2261-12-31", "us")  # of nanoseconds in 64 bits
_FEW: Final = 32  # values that Python compares sooner than numpy has started

_EXPECTED: Final[dict[str, str]] = {
    "number": "a number",
    "integer": "a number",
    "string": "a string",
    "boolean": "true or false",
    "datetime": "a date and time as an ISO 8601 string",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column that a model takes.

    Attributes:
        name: None for a model that was fitted without names.
        type: None when neither the model nor a sample tells; then the values decide.
        dtype: of the sample, where numbers are no float64; of times, with their unit (None: microseconds); "object" where the model's
            process makes something else of the values.
        categories: the values seen at fitting.
        closed: whether the model refuses other values than `categories`.
        nullable: whether values may be missing, where that differs between the columns of a model.
        zoned: whether times have a zone, so that each must say its offset from UTC.
    """

    name: str | None = None
    type: ColumnType | None = None
    dtype: str | None = None
    categories: tuple[Any, ...] | None = None
    closed: bool = False
    nullable: bool | None = None
    zoned: bool = False


def quick_numbers(values: list[Any]) -> Array | None:
    """`values` as float64 (n,) when they are plain numbers, finite and small enough to be exact. Never raises.

    The common case, at the cost of one look at each value. None means that the values need a closer look.
    """
    try:
        # Unlike numpy, array.array takes no text, no null and no nested list, and cannot be made to allocate more.
        numbers = np.frombuffer(array("d", values))
    except (TypeError, OverflowError):
        return None
    if len(values) > _FEW:
        # NaN is neither.
        return numbers if numbers.max() < EXACT and numbers.min() > -EXACT else None
    for value in values:
        if not -EXACT < value < EXACT:
            return None
    return numbers


def numbers(values: list[Any], where: Where, allows_nan: bool | None = None) -> Array:
    """`values` as float64, or as int64 when an integer needs it.

    Args:
        where: names the row and column of an index, for sentences.
        allows_nan: False refuses missing and infinite values; None (unknown) leaves that to the model.

    Raises:
        SchemaMismatch
    """
    quick = quick_numbers(values)
    if quick is not None:
        return quick
    large: list[int] = []  # where the integers are that float64 may not hold
    fractions = False
    for index, value in enumerate(values):
        kind = type(value)
        if kind is float:
            fractions = fractions or not value.is_integer()  # so NaN and infinities count as fractions
        elif kind is int:
            if abs(value) > EXACT:
                large.append(index)
        elif value is None:
            fractions = True
        elif kind is not bool:
            raise SchemaMismatch(f"{where(index)}: expected a number, got {described(value)}")
    if large and not fractions and all(LEAST <= value <= GREATEST for value in values):
        return np.array([int(value) for value in values], np.int64)
    for index in large:
        _check_float_holds(values[index], where, index)
    result = np.array([np.nan if value is None else value for value in values], np.float64)
    if allows_nan is False:
        refuse_missing(result, where)
    return result


def refuse_missing(values: Array, where: Where) -> None:
    """Raises SchemaMismatch at the first of `values` (1-D floats) that is NaN or infinite."""
    finite = np.isfinite(values)
    if finite.all():
        return
    index = int(np.argmin(finite))
    if np.isnan(values[index]):
        raise SchemaMismatch(
            f"{where(index)}: the value is missing (null or NaN), and this model does not take missing values"
        )
    raise SchemaMismatch(f"{where(index)}: the value is infinite, and this model takes finite numbers only")


def column_array(column: Column, values: list[Any], where: Where, allows_nan: bool | None = None) -> Array:
    """The values of one named column as an array (n,) of the column's type.

    Missing values are NaN in numbers and in text (as pandas has them) and NaT in times. A time with an offset becomes UTC.

    Raises:
        SchemaMismatch
    """
    if column.nullable is not None:
        allows_nan = column.nullable
    if column.type in ("number", "integer"):
        result = numbers(values, where, allows_nan)
        if column.dtype:
            result = _as_fitted(result, np.dtype(column.dtype))
    elif column.type == "string":
        result = _objects(values, where, str, allows_nan)
    elif column.type == "boolean":
        result = _booleans(values, where, allows_nan)
    elif column.type == "datetime":
        result = _times(values, where, allows_nan, column.dtype, zoned=column.zoned)
    else:
        result = guessed(values, where)
    if column.closed and column.categories:
        _check_categories(column.categories, values, where)
    return result


def guessed(values: list[Any], where: Where) -> Array:
    """A column of unknown type: numbers if all values are numbers, booleans if all are booleans, else objects."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {int, float, bool}:
        return np.array(values, np.bool_) if kinds == {bool} and None not in values else numbers(values, where)
    for index, value in enumerate(values):
        if isinstance(value, list | dict):
            raise SchemaMismatch(f"{where(index)}: expected one value, got {described(value)}")
    return objects([np.nan if value is None else value for value in values])


def objects(values: Sequence[Any]) -> Array:
    """`values` as a 1-D object array, whatever they are (numpy alone would look into lists)."""
    result = np.empty(len(values), object)
    result[:] = values
    return result


def described(value: Any) -> str:
    """`value` for an error message: its JSON type, and the value itself if it is short."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"the string {shown(value, 40)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else f"the number {shown(value, 40)}"


def expected(column: Column) -> str:
    """What a column takes, for an error message."""
    return _EXPECTED[column.type] if column.type else "a value"


def _check_categories(known: tuple[Any, ...], values: list[Any], where: Where) -> None:
    """Raises SchemaMismatch at the first value that is not a known category; missing values are checked elsewhere."""
    try:
        strange = {*values} - {*known, None}
    except TypeError:  # something that is no single value has been refused already, or is the model's to refuse
        return
    strange = {value for value in strange if value == value}  # noqa: PLR0124 - NaN
    if not strange:
        return
    index = next(index for index, value in enumerate(values) if value in strange)
    given = values[index]
    words = [value for value in known if isinstance(value, str) and len(value) <= 100][:200]
    near = difflib.get_close_matches(given, words, 1) if isinstance(given, str) and len(given) <= 100 else []
    listed = ", ".join(repr(value) for value in known[:20]) + (
        f", and {len(known) - 20:,} more" if len(known) > 20 else ""
    )
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise SchemaMismatch(
        f"{where(index)}: {shown(given, 40)} is not a category that the model knows{hint}; it knows {listed}"
    )


def _check_float_holds(value: int, where: Where, index: int) -> None:
    try:
        lost = int(float(value)) != value
    except OverflowError:
        raise SchemaMismatch(f"{where(index)}: the number is too large") from None
    if lost and LEAST <= value <= GREATEST:
        raise SchemaMismatch(
            f"{where(index)}: the integer {value} cannot be held exactly beside fractions or missing values in one array of "
            "64-bit floats"
        )


def _as_fitted(values: Array, dtype: np.dtype[Any]) -> Array:
    """`values` in the dtype that the model was fitted on; fractions and what is too large for an integer stay floats."""
    if dtype.kind not in "iu":
        return values if dtype.kind == "O" else values.astype(dtype)
    if not np.isfinite(values).all():
        return values
    limits = np.iinfo(dtype)
    fits = values.min() >= limits.min and values.max() <= limits.max and (values == np.floor(values)).all()
    return values.astype(dtype) if fits else values


def _objects(values: list[Any], where: Where, kind: type, allows_nan: bool | None) -> Array:
    result = values
    if set(map(type, values)) != {kind}:
        result = list(values)
        for index, value in enumerate(values):
            if value is None or value != value:  # noqa: PLR0124 - NaN
                _missing(where, index, allows_nan)
                result[index] = np.nan
            elif type(value) is not kind:
                raise SchemaMismatch(f"{where(index)}: expected {_EXPECTED['string']}, got {described(value)}")
    return objects(result)


def _booleans(values: list[Any], where: Where, allows_nan: bool | None) -> Array:
    missing = False
    for index, value in enumerate(values):
        if value is None:
            _missing(where, index, allows_nan)
            missing = True
        elif type(value) is not bool and value not in (0, 1):
            raise SchemaMismatch(f"{where(index)}: expected {_EXPECTED['boolean']}, got {described(value)}")
    if missing:
        return objects([np.nan if value is None else bool(value) for value in values])
    return np.array(values, np.bool_)


def _times(values: list[Any], where: Where, allows_nan: bool | None, dtype: str | None, *, zoned: bool) -> Array:
    """Microseconds, or the unit of `dtype`: models that turn times into numbers answer by it."""
    result = np.empty(len(values), "datetime64[us]")
    nanoseconds = np.zeros(len(values), "timedelta64[ns]")
    for index, value in enumerate(values):
        if value is None:
            _missing(where, index, allows_nan)
            result[index] = "NaT"
            continue
        try:
            moment = datetime.fromisoformat(value)
            named = moment.tzinfo is not None
            if named:
                moment = moment.astimezone(UTC).replace(tzinfo=None)
        except (TypeError, ValueError, OverflowError):
            raise SchemaMismatch(f"{where(index)}: expected {_EXPECTED['datetime']}, got {described(value)}") from None
        if zoned and not named:
            raise SchemaMismatch(
                f"{where(index)}: the model's times have a zone, so their offset from UTC must be given, as in "
                f"2026-01-01T12:00:00+01:00; got {described(value)}"
            )
        result[index] = moment
        finer = _FINER.search(value)
        if finer is not None:
            nanoseconds[index] = int(finer[1].ljust(3, "0"))
    if dtype is None:
        return result
    if np.dtype(dtype) != "datetime64[ns]":
        return result.astype(dtype)
    outside = (result < _FIRST) | (result > _LAST)  # never true of NaT
    if outside.any():
        index = int(np.argmax(outside))
        raise SchemaMismatch(
            f"{where(index)}: the model's times reach from the year 1678 to 2261, not {described(values[index])}"
        )
    return result.astype(dtype) + nanoseconds


def _missing(where: Where, index: int, allows_nan: bool | None) -> None:
    if allows_nan is False:
        raise SchemaMismatch(
            f"{where(index)}: the value is missing (null or NaN), and this model does not take missing values"
        )
