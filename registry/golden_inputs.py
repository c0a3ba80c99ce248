"""Inputs for golden rows: from a registered sample, else drawn from what the model says of itself."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from registry.errors import InvalidArgument, shown
from registry.records import Json
from registry.tensor_json import tensor_from_json, tensor_to_json

Array = NDArray[Any]

ROWS: Final = 8
SAMPLE_ROWS: Final = 20
_MOST_VALUES: Final = 1_000_000  # elements of one input; a model with a million columns gets one row
_TEXTS: Final = (
    "the quick brown fox jumps over the lazy dog",
    "free offer, call now",
    "minutes of the meeting on Tuesday",
    "graphics card and motor",
    "God, space and time",
    "a",
    "",
    "Grüße aus Köln 2024",
)
_DAYS: Final = (
    "2020-01-01",
    "2020-02-29",
    "2021-07-04",
    "2022-12-31",
    "1999-10-05",
    "2024-03-10",
    "2010-06-15",
    "2030-01-31",
)
_WORDS: Final = ("a", "b", "c", "other")


class SampleRows(Protocol):
    """A sample that was read: column names or None, rows of JSON values (a table), or plain values."""

    @property
    def names(self) -> Sequence[str] | None: ...
    @property
    def rows(self) -> Sequence[Any]: ...
    @property
    def table(self) -> bool: ...


@dataclass(frozen=True, eq=False)
class GoldenInput:
    """One input in the wire's three kinds: `array` of shape (rows, columns), `columns` of shape (rows,) beside their
    `names`, or a list of `values`."""

    kind: Literal["array", "columns", "list"]
    array: Array | None = None
    names: tuple[str, ...] = ()
    columns: tuple[Array, ...] = ()
    values: tuple[Any, ...] = ()

    @property
    def rows(self) -> int:
        if self.array is not None:
            return len(self.array)
        return len(self.columns[0]) if self.columns else len(self.values)

    def part(self, start: int, stop: int) -> "GoldenInput":
        """Rows from `start` to before `stop`."""
        return GoldenInput(
            self.kind,
            None if self.array is None else self.array[start:stop],
            self.names,
            tuple(column[start:stop] for column in self.columns),
            self.values[start:stop],
        )

    def to_json(self) -> dict[str, Json]:
        match self.kind:
            case "array":
                assert self.array is not None
                return {"kind": "array", "array": tensor_to_json(self.array)}
            case "columns":
                return {"kind": "columns", "names": [*self.names], "columns": [tensor_to_json(c) for c in self.columns]}
        return {"kind": "list", "values": list(self.values)}

    @classmethod
    def from_json(cls, form: Mapping[str, Json]) -> "GoldenInput":
        """
        Raises:
            ValueError, KeyError, TypeError: `form` is not what `to_json` gives.
        """
        match form["kind"]:
            case "array":
                return cls("array", tensor_from_json(form["array"]))
            case "columns":
                columns = tuple(tensor_from_json(column) for column in form["columns"])
                return cls("columns", names=tuple(form["names"]), columns=columns)
            case "list":
                return cls("list", values=tuple(form["values"]))
        raise ValueError(form["kind"])


def make_inputs(
    description: Mapping[str, Json], sample: SampleRows | None = None, *, seed: int = 0
) -> list[GoldenInput] | None:
    """Inputs to try, for a model with that description (of `gateway.worker.describe`); the same for the same arguments.

    With a sample: its first rows. Without: about 8 rows of several scales, and further inputs for models that take only
    non-negative or only small whole numbers, or that take missing values. Not every model takes every one of them.

    Returns:
        None where the model does not say enough to make any: nothing can be verified then.

    Raises:
        InvalidArgument: the sample has not the columns of the model; they are named.
    """
    if sample is not None and len(sample.rows):
        return [_from_sample(description, sample)]
    if description["kind"] == "list":
        values = _drawn_values(description)
        return [GoldenInput("list", values=tuple(values))] if values else None
    keys = _keys(description)
    if not keys:
        return None
    rows = max(1, min(ROWS, _MOST_VALUES // len(keys)))
    random = np.random.default_rng(seed)
    signed = _scaled(random.standard_normal((rows, len(keys))))
    numbers = [
        signed,
        np.abs(random.standard_normal((rows, len(keys)))),
        random.integers(0, 2, signed.shape).astype(float),
    ]
    if description.get("allows_nan"):
        numbers.append(_with_gaps(signed))
    drawn = [[_column(description, key, X[:, index], index) for index, key in enumerate(keys)] for X in numbers]
    if all(column.dtype.kind != "f" for column in drawn[0]):
        drawn = drawn[:1]  # the numbers are not used at all
    return [_packed(description, keys, columns) for columns in drawn]


def _keys(description: Mapping[str, Json]) -> list[str]:
    names = description.get("feature_names")
    return list(names) if names else [str(index) for index in range(description.get("n_features") or 0)]


def _scaled(rows: Array) -> Array:
    """Rows of three scales beside those around 1: a tree answers the same for all of one scale."""
    scales = np.ones(len(rows))
    scales[-3:] = (0.01, 10.0, 100.0)[-len(scales[-3:]) :]
    return np.asarray(rows * scales[:, None])


def _with_gaps(X: Array) -> Array:
    gaps = X.copy()
    gaps[np.arange(len(X)), np.arange(len(X)) % X.shape[1]] = np.nan
    return gaps


def _column(description: Mapping[str, Json], key: str, numbers: Array, index: int) -> Array:
    """One column of `numbers`, or what stands in for them in a column of another type."""
    rows = len(numbers)
    choices = (description.get("categories") or {}).get(key)
    kind = (description.get("column_types") or {}).get(key)
    if kind == "datetime" and not choices:
        return np.array([_DAYS[(row + index) % len(_DAYS)] for row in range(rows)], "datetime64[ns]")
    if choices:
        return _typed([choices[(row + index) % len(choices)] for row in range(rows)], kind)
    if kind == "string":
        return _typed([_WORDS[(row + index) % len(_WORDS)] for row in range(rows)], kind)
    if kind == "boolean":
        return np.array([(row + index) % 2 == 0 for row in range(rows)])
    return numbers


def _drawn_values(description: Mapping[str, Json]) -> list[Any]:
    match description.get("item"):
        case "label":
            return list(description.get("classes") or [])[:SAMPLE_ROWS]
        case "record":
            names = list(description.get("feature_names") or ["a", "b", "c"])[:20]
            return [{name: float(row + index) for index, name in enumerate(names)} for row in range(4)]
        case "text":
            return list(_TEXTS)
    return []


# from a sample


def _from_sample(description: Mapping[str, Json], sample: SampleRows) -> GoldenInput:
    rows = list(sample.rows[:SAMPLE_ROWS])
    if description["kind"] == "list":
        if sample.table:  # a file with one column
            rows = [row[0] for row in rows]
        return GoldenInput("list", values=tuple(rows))
    if not sample.table:
        rows = [[row] for row in rows]
    unused = description.get("unused") or ()
    keys = [key for key in _keys(description) if key not in unused or key in (sample.names or (key,))]
    keys = keys or list(sample.names or map(str, range(len(rows[0]))))
    positions = _positions(description, sample, keys, len(rows[0]))
    types = description.get("column_types") or {}
    columns = [_typed([row[at] for row in rows], types.get(key)) for key, at in zip(keys, positions, strict=True)]
    return _packed(description, keys, columns)


def _positions(description: Mapping[str, Json], sample: SampleRows, keys: list[str], width: int) -> list[int]:
    """Where in the sample each of the model's columns is: by name where both have names."""
    if sample.names and description.get("feature_names"):
        missing = [key for key in keys if key not in sample.names]
        if missing:
            some = ", ".join(shown(name) for name in missing[:5])
            raise InvalidArgument("sample", f"it has no column {some}, which the model takes")
        return [list(sample.names).index(key) for key in keys]
    if len(keys) != width:
        raise InvalidArgument("sample", f"it has {width} columns, and the model takes {len(keys)}")
    return list(range(width))


def _packed(description: Mapping[str, Json], keys: list[str], columns: list[Array]) -> GoldenInput:
    if description["kind"] == "columns":
        return GoldenInput("columns", names=tuple(keys), columns=tuple(columns))
    if all(column.dtype.kind in "biuf" for column in columns):
        return GoldenInput("array", np.column_stack(columns).astype(np.float64))
    together = np.empty((len(columns[0]), len(columns)), object)
    for index, column in enumerate(columns):
        together[:, index] = column.astype(str) if column.dtype.kind == "M" else column.tolist()
    return GoldenInput("array", together)


def _typed(values: Sequence[Any], kind: str | None) -> Array:
    """JSON values as the column of that type; by the values where the type is not known. Missing ones are NaN, NaT or None."""
    present = [value for value in values if value is not None]
    if kind == "datetime":
        return np.array([_utc(value) for value in values], "datetime64[ns]")
    if all(isinstance(value, bool) for value in present) and len(present) == len(values):
        return np.array(values, bool)
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in present)
    if kind != "string" and numeric:
        return np.array([np.nan if value is None else value for value in values], np.float64)
    column = np.empty(len(values), object)
    column[:] = [math.nan if value is None else value for value in values]  # as callers' values reach the model
    return column


def _utc(value: Any) -> Any:
    """A time as numpy has it, which knows no zones."""
    if not isinstance(value, str):
        return np.datetime64("NaT")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:  # nanoseconds, as the categories of an encoder may have
        return np.datetime64(value)
    return np.datetime64(moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None))
