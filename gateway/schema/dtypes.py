"""The dtypes that a model was fitted on, as `gateway.worker.frames` and registered samples name them.

A `Spec` is JSON: {"dtype": what pandas calls it}, of a category with its "values", "ordered" and, where they are not JSON's, "of": the
dtype of the values. The model's process makes the column; here it is decided what callers send for it.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from gateway.schema.columns import Column, ColumnType
from gateway.schema.schema import OBJECT
from gateway.worker.frames import type_of
from registry.records import Json

_NUMBER: Final = re.compile(r"(u?int|float)\d+")
_TIME: Final = re.compile(r"datetime64\[(\w+)(, .+)?\]")


def with_dtype(column: Column, spec: Mapping[str, Json] | None) -> Column:
    """`column` with what callers send where the model was fitted on the dtype `spec`."""
    if spec is None:
        return column
    kind = cast("ColumnType | None", type_of(dict(spec)))
    word = spec.get("of") if "values" in spec else spec.get("dtype")
    word = word if isinstance(word, str) else ""
    if column.type is None and kind is not None:
        column = replace(column, type=kind)
    if (time := _TIME.fullmatch(word)) is not None:
        return replace(column, type="datetime", dtype=f"<M8[{time[1]}]", zoned=time[2] is not None)
    if _NUMBER.fullmatch(word) and "values" not in spec:
        return replace(column, dtype=None if word == "float64" else word)
    return replace(column, dtype=OBJECT) if column.type is None else column


def json_type(spec: Mapping[str, Any]) -> ColumnType | None:
    """What callers send for a column of the dtype `spec`; None where their values decide."""
    return cast("ColumnType | None", type_of(dict(spec)))
