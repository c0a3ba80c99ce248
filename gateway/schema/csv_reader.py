"""CSV text → names and columns of values, by the standard library: no pandas in a process that serves.

The one reader for `text/csv` over HTTP, samples, `fitserve score` and `Webservice.run`. Commas, semicolons (then also a decimal comma) or tabs;
double quotes; a header line or none. An empty field is a missing value. No row is ever left out in silence.
"""

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from gateway.errors import InvalidRequest
from gateway.schema.columns import Column, quick_numbers

#: Fields longer than this are refused; csv's own default, which is a global setting, is the same.
LONGEST_FIELD: Final = 131_072

_COMMA: Final = ","
_OTHERS: Final = ("\t", ";")
_LINES: Final = 100  # that are looked at for the delimiter
_DECIMAL_COMMA: Final = re.compile(r"\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*")
_NAME: Final = re.compile(r"[^\W\d][\w.-]{0,63}")
_MISSING: Final = frozenset({"", "nan", "NaN", "NAN", "null", "NULL", "None", "NA", "N/A"})
_TRUTH: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


@dataclass(frozen=True)
class Lines:
    """All lines as fields of text, each of one width."""

    fields: Sequence[Sequence[str]]
    delimiter: str = _COMMA


def read_csv(body: bytes, names: Collection[str] = (), width: int | None = None, delimiter: str | None = None) -> Lines:
    """
    Args:
        names: of the model's columns, and `width` how many it takes: where several delimiters are possible, the one that fits is taken.
        delimiter: where it is known.

    Raises:
        InvalidRequest: it is not UTF-8, not CSV, or its lines are of unequal length.
    """
    try:
        text = body.decode("utf-8-sig")
        mark = delimiter or _delimiter(text, names, width)
        lines = list(_lines(text, mark))
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the CSV is not UTF-8: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise InvalidRequest(f"the body is not CSV: {error}") from None
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise InvalidRequest("the CSV holds no lines")
    if max(map(len, lines)) > 1:  # in a table an empty line is none of its rows
        lines = [line for line in lines if line]
    width = len(lines[0])
    for number, line in enumerate(lines):
        if not line:
            raise InvalidRequest(f'line {number + 1} of the CSV is empty; a missing value is written as ""')
        if len(line) != width:
            raise InvalidRequest(f"line {number + 1} of the CSV has {len(line)} fields, line 1 has {width}")
    return Lines(lines, mark)


def table_of(
    lines: Lines,
    columns: Mapping[str, Column],
    positions: Sequence[Column] = (),
    header: bool | None = None,
) -> tuple[tuple[str, ...] | None, list[list[Any]]]:
    """The names in the header, or None, and the rows as JSON would have had them.

    Args:
        columns: of the model, by name.
        positions: of a model whose columns have no names.
        header: whether the first line is one, where that was said.

    Raises:
        InvalidRequest: there is nothing below the header.
    """
    names = header_of(lines.fields, list(columns)) if header is None else tuple(lines.fields[0]) if header else None
    rows = lines.fields if names is None else lines.fields[1:]
    if not rows:
        raise InvalidRequest("the CSV holds no rows but its header")
    known: Sequence[Column | None] = [*columns.values()] if columns else positions
    taken = known if names is None else [columns.get(name) for name in names]
    values = []
    for index, fields in enumerate(zip(*rows, strict=True)):
        column = taken[index] if index < len(taken) else None
        values.append(column_values(column, _with_points(column, fields) if lines.delimiter == ";" else fields))
    return names, [list(row) for row in zip(*values, strict=True)]


def header_of(lines: Sequence[Sequence[str]], names: Collection[str] = ()) -> tuple[str, ...] | None:
    """The first line, if it names columns: some are the model's, or it counts 0, 1, 2, … as pandas does, or all its fields are text and
    are not what the columns below hold."""
    first = tuple(lines[0])
    if (names and set(first) & set(names)) or first == tuple(str(index) for index in range(len(first))):
        return first
    if any(_is_number(field) for field in first if field not in _MISSING):
        return None
    if len(set(first)) != len(first) or "" in first:
        return None
    return first if names or not _only_texts(lines) or _like_names(lines) else None


def is_guessed(lines: Lines, names: Collection[str] = ()) -> bool:
    """Whether nothing but the look of the first line tells that it is a header, or a row."""
    first = set(lines.fields[0])
    return not first & set(names) and not any(_is_number(field) for field in first) and _only_texts(lines.fields)


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


def _lines(text: str, delimiter: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)


def _delimiter(text: str, names: Collection[str], width: int | None) -> str:
    """What separates the fields of the first lines: what gives the model's names, or its width, or else lines of one length."""
    possible = [mark for mark in _OTHERS if mark in text]
    if not possible or width == 1:
        return _COMMA
    found = {mark: start for mark in (_COMMA, *possible) if (start := _start(text, mark))}
    fitting = [mark for mark, lines in found.items() if len({len(line) for line in lines}) == 1 and len(lines[0]) > 1]
    for mark in found:
        if names and set(found[mark][0]) & set(names):
            return mark
    if width is not None and any(len(found[mark][0]) == width for mark in fitting):
        fitting = [mark for mark in fitting if len(found[mark][0]) == width]
    if fitting[:2] == [_COMMA, ";"] and all(
        _DECIMAL_COMMA.fullmatch(field) for line in found[";"] for field in line if _COMMA in field
    ):
        return ";"
    return fitting[0] if fitting else _COMMA


def _start(text: str, delimiter: str) -> list[list[str]]:
    """The first lines; none where that delimiter does not make CSV of them."""
    try:
        return [line for line in islice(_lines(text, delimiter), _LINES) if line]
    except csv.Error:
        return []


def _only_texts(lines: Sequence[Sequence[str]]) -> bool:
    """Whether no column below the first line holds numbers or truth values, which would tell the first line from the rest."""
    rows = lines[1:]
    return not any(
        all(field in _MISSING or field in _TRUTH or _is_number(field) for field in fields)
        for fields in zip(*rows, strict=True)
    )


def _like_names(lines: Sequence[Sequence[str]]) -> bool:
    """Whether the first line of a table of texts reads like names: single words, that their columns do not hold."""
    if not all(_NAME.fullmatch(field) for field in lines[0]):
        return False
    return not any(name in fields for name, *fields in zip(*lines, strict=True))


def _with_points(column: Column | None, fields: Sequence[str]) -> Sequence[str]:
    """A column of numbers that are written with a decimal comma, written with a point."""
    if column is not None and column.type not in ("number", None):
        return fields
    commas = [_DECIMAL_COMMA.fullmatch(field) is not None for field in fields]
    if not any(commas):
        return fields
    if not all(
        comma or field in _MISSING or _number(field) is not None for comma, field in zip(commas, fields, strict=True)
    ):
        return fields
    return [field.replace(",", ".") if comma else field for comma, field in zip(commas, fields, strict=True)]


def _plain_numbers(fields: Sequence[str]) -> list[float] | None:
    """The common case: all are finite numbers that float64 holds exactly."""
    try:
        numbers = [*map(float, fields)]
    except ValueError:
        return None
    if quick_numbers(numbers) is None or any("_" in field for field in fields):  # Python alone reads 1_000 as a number
        return None
    return numbers


def _is_number(field: str) -> bool:
    return _number(field) is not None or _DECIMAL_COMMA.fullmatch(field) is not None


def _number(field: str) -> int | float | None:
    if "_" in field:
        return None
    try:
        return int(field) if field.strip().lstrip("+-").isdigit() and len(field) < 300 else float(field)
    except ValueError:
        return None
