"""Rows of numbers → one array: the reader that the batcher uses once per frame (`gateway.types.RowReader`)."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.errors import SchemaMismatch
from gateway.schema import columns

Array = NDArray[Any]

MOST_DIMENSIONS = 32


class NumberRows:
    """Reads rows of `width` numbers each, as float64 or the narrower float `dtype`.

    Attributes:
        width: columns that the model takes; None takes any width, as long as all rows of a request have the same.
        names: for sentences; empty for a model without names.
        allows_nan: False refuses missing and infinite values, None (unknown) leaves that to the model.
        not_null: columns that must have a value where others need not.
        checked: True when an array from here has passed every check that the model would make of it.
    """

    __slots__ = ("allows_nan", "checked", "dtype", "names", "not_null", "width")

    def __init__(
        self,
        width: int | None,
        names: Sequence[str] = (),
        allows_nan: bool | None = None,
        dtype: str | None = None,
        not_null: Sequence[int] = (),
    ) -> None:
        self.width, self.names, self.allows_nan, self.not_null = width, tuple(names), allows_nan, tuple(not_null)
        self.dtype = None if dtype in (None, "<f8", "float64") else np.dtype(dtype)
        self.checked = width is not None and allows_nan is False

    def alone(self, rows: list[list[Any]]) -> Array:
        quick = self.together(rows)
        return self._carefully(rows) if quick is None else quick

    def together(self, rows: list[list[Any]]) -> Array | None:
        width = self.width
        try:
            if len(rows) == 1:
                row = rows[0]
                if type(row) is not list or (len(row) != width and (width is not None or not row)):
                    return None
                numbers = columns.quick_numbers(row)
            else:
                widths = {*map(len, rows)}
                if len(widths) != 1 or (width not in widths and width is not None) or 0 in widths:
                    return None
                numbers = columns.quick_numbers([*chain.from_iterable(rows)])
        except TypeError:  # something among the rows has no length
            return None
        if numbers is None:
            return None
        result = numbers.reshape(len(rows), -1)
        return result if self.dtype is None else result.astype(self.dtype)

    def _carefully(self, rows: list[list[Any]]) -> Array:
        """The slow path for unusual or wrong rows: the array, or an error with its place."""
        if self.width is None and type(rows[0]) is list and rows[0] and type(rows[0][0]) is list:
            return _nested(rows)
        width = self.check_widths(rows)

        def where(index: int) -> str:
            return place(*divmod(index, width), self.names)

        result = columns.numbers([*chain.from_iterable(rows)], where).reshape(len(rows), width)
        if result.dtype.kind == "i":
            return result
        self.check_missing(result)
        return result if self.dtype is None else result.astype(self.dtype)

    def check_missing(self, array: Array) -> None:
        """Raises SchemaMismatch if a value of `array` (floats, rows and columns) is missing where it must not be."""
        width = array.shape[1]
        if self.allows_nan is False:
            columns.refuse_missing(array.reshape(-1), lambda index: place(index // width, index % width, self.names))
        for column in self.not_null:
            columns.refuse_missing(array[:, column], lambda row, at=column: place(row, at, self.names))  # type: ignore[misc]

    def check_widths(self, rows: list[Any]) -> int:
        """The number of columns of all of `rows`.

        Raises:
            SchemaMismatch: a row is not a list, or has not as many values as the model takes.
        """
        width = self.width
        for index, row in enumerate(rows):
            if type(row) is not list:
                raise SchemaMismatch(
                    f"row {index} (counted from 0): expected a list of values, got {columns.described(row)}"
                )
            if width is None:
                width = len(row)
            if len(row) != width:
                raise SchemaMismatch(self._width_sentence(index, len(row), len(rows[0])))
        if not width:
            raise SchemaMismatch("row 0 (counted from 0) holds no values")
        return width

    def _width_sentence(self, index: int, got: int, first: int) -> str:
        if self.width is None:
            return f"row {index} (counted from 0) has {_values(got)}, row 0 has {first}: all rows must have the same number"
        names = f" ({listed(self.names)})" if self.names else ""
        return f"the model takes {_values(self.width)} a row{names}; row {index} (counted from 0) has {got}"


def _nested(rows: list[Any]) -> Array:
    """Rows that are matrices (images, patches), for a model whose input is unknown."""
    shape, level = [len(rows)], rows
    while type(level[0]) is list:
        width = len(level[0])
        if not all(type(part) is list and len(part) == width for part in level):
            raise SchemaMismatch(f"the rows are uneven: all lists at depth {len(shape)} must be of one length")
        if not width or len(shape) >= MOST_DIMENSIONS:
            raise SchemaMismatch("the rows are nested too deeply, or hold no values")
        shape.append(width)
        level = [*chain.from_iterable(level)]
    return columns.numbers(level, lambda index: f"value {index} of all (counted from 0)").reshape(shape)


def place(row: int, column: int, names: Sequence[str]) -> str:
    """The place of a value, for an error message."""
    name = f"'{names[column]}'" if column < len(names) else str(column)
    return f"row {row}, column {name} (counted from 0)"


def listed(names: Sequence[str], limit: int = 20) -> str:
    """The first `limit` names, for an error message."""
    more = f", and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(quoted(name) for name in names[:limit]) + more


def quoted(name: str) -> str:
    """A name from a caller, shortened for an error message."""
    return f"'{name}'" if len(name) <= 100 else f"'{name[:99]}…'"


def _values(count: int) -> str:
    return f"{count:,} value{'' if count == 1 else 's'}"
