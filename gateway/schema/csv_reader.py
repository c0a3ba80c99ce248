"""CSV text → names and columns of values, by the standard library: no pandas in a process that serves.

The one reader for CSV over HTTP, samples, `fitserve score` and `Webservice.run`. Commas, semicolons (then a decimal comma is understood)
or tabs; double quotes; a header line or none. An empty field is a missing value.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.errors import InvalidRequest
from gateway.schema.columns import Column, quick_numbers

#: Fields longer than this are refused; csv's own default, which is a global setting, is the same.
LONGEST_FIELD: Final = 131_072

_LOOKED_AT: Final = 10_000  # characters, for the delimiter
_QUOTED: Final = re.compile(r'"[^"]*"')
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_MISSING: Final = frozenset({"", "nan", "NaN", "NAN", "null", "NULL", "None", "NA", "N/A"})
_TRUTH: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def read_csv(body: bytes) -> list[list[str]]:
    """All lines as fields of text; blank lines are left out.

    Raises:
        InvalidRequest: it is not UTF-8, not CSV, or its lines are of unequal length.
    """
    try:
        text = body.decode("utf-8-sig")
        delimiter = _delimiter(text)
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if line]
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the CSV is not UTF-8: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise InvalidRequest(f"the body is not CSV: {error}") from None
    if not lines:
        raise InvalidRequest("the CSV holds no lines")
    width = len(lines[0])
    for number, line in enumerate(lines):
        if len(line) != width:
            raise InvalidRequest(f"line {number + 1} of the CSV has {len(line)} fields, line 1 has {width}")
    if delimiter == ";" and any(_DECIMAL_COMMA.fullmatch(field) for line in lines for field in line):
        return [
            [field.replace(",", ".") if _DECIMAL_COMMA.fullmatch(field) else field for field in line] for line in lines
        ]
    return lines


def _delimiter(text: str) -> str:
    """What parts the fields: the same number of tabs or semicolons in each of the first lines, outside quotes; else the comma."""
    start = _QUOTED.sub("", text[:_LOOKED_AT])
    lines = [line for line in start.splitlines() if line.strip()]
    if len(lines) > 1 and len(text) > _LOOKED_AT:
        del lines[-1]  # cut off
    for mark in ("\t", ";"):
        counts = {line.count(mark) for line in lines}
        if len(counts) == 1 and counts != {0}:
            return mark
    return ","


def table_of(
    lines: Sequence[Sequence[str]], columns: Mapping[str, Column], positions: Sequence[Column] = ()
) -> tuple[tuple[str, ...] | None, list[list[Any]]]:
    """The names in the header, or None, and the rows as JSON would have had them.

    Args:
        columns: of the model, by name.
        positions: of a model whose columns have no names.

    Raises:
        InvalidRequest: there is nothing below the header.
    """
    names = header_of(lines, list(columns))
    rows = lines if names is None else lines[1:]
    if not rows:
        raise InvalidRequest("the CSV holds no rows but its header")
    known: Sequence[Column | None] = [*columns.values()] if columns else positions
    taken = known if names is None else [columns.get(name) for name in names]
    fields = list(zip(*rows, strict=True))
    values = [column_values(taken[i] if i < len(taken) else None, each) for i, each in enumerate(fields)]
    return names, [list(row) for row in zip(*values, strict=True)]


def header_of(lines: Sequence[Sequence[str]], names: Sequence[str] = ()) -> tuple[str, ...] | None:
    """The first line, if it names columns: some are the model's, all are text, or it counts 0, 1, 2, … as pandas does."""
    first = tuple(lines[0])
    if (names and set(first) & set(names)) or first == tuple(str(index) for index in range(len(first))):
        return first
    if any(_number(field) is not None for field in first if field not in _MISSING):
        return None
    return first if len(set(first)) == len(first) and "" not in first else None


def column_values(column: Column | None, fields: Sequence[str]) -> list[Any]:
    """The fields of one column as JSON would have had them: numbers where the column takes or, unknown, only holds numbers."""
    if column is not None and column.type in ("string", "datetime"):
        missing = _MISSING if column.type == "datetime" else ("",)
        return [None if field in missing else field for field in fields]
    plain = _plain_numbers(fields)
    if plain is not None:
        return plain
    numbers = [None if field in _MISSING else _number(field) for field in fields]
    if all(number is not None or field in _MISSING for number, field in zip(numbers, fields, strict=True)):
        return numbers
    truths = [_TRUTH.get(field) for field in fields]
    if all(truth is not None or field in _MISSING for truth, field in zip(truths, fields, strict=True)):
        return truths
    if column is not None and column.type is not None:  # the schema's check names the field that is no number
        return [
            field if number is None and field not in _MISSING else number
            for number, field in zip(numbers, fields, strict=True)
        ]
    return [field or None for field in fields]


def _plain_numbers(fields: Sequence[str]) -> list[float] | None:
    """The common case: all are finite numbers that float64 holds exactly."""
    try:
        numbers = [*map(float, fields)]
    except ValueError:
        return None
    if quick_numbers(numbers) is None or any("_" in field for field in fields):  # Python alone reads 1_000 as a number
        return None
    return numbers


def _number(field: str) -> int | float | None:
    if "_" in field:
        return None
    try:
        return int(field) if field.strip().lstrip("+-").isdigit() and len(field) < 300 else float(field)
    except ValueError:
        return None
