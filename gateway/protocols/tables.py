"""The ways in which JSON writes a table → one `ScoreRequest`, checked by name and by type against the model's schema.

Rows ``[[…], …]``, records ``[{…}, …]``, split ``{"columns": […], "data": [[…]]}``, columns ``{"a": […], …}``, and plain values
``["text", …]`` for models that take a list. All dialects come through here, so all check alike.
"""

import difflib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from gateway.errors import InvalidRequest, SchemaMismatch
from gateway.protocols.matrices import ListsWanted
from gateway.schema import columns as types
from gateway.schema.rows import listed, place, quoted
from gateway.schema.schema import FREE_METHODS, ModelSchema
from gateway.types import ArrayInput, ColumnsInput, Inputs, ListInput, RowsInput, ScoreRequest

_SPLIT = frozenset({"columns", "data", "index"})
OBJECT_BYTES = 64  # about what a Python value takes


def table_request(schema: ModelSchema, method: str, data: Any, what: str = "data", extra: Any = None) -> ScoreRequest:
    """The request that `data`, as JSON gave it, stands for.

    Args:
        what: what the caller calls `data`, for sentences.

    Raises:
        InvalidRequest: it is no table.
        SchemaMismatch: columns, widths or types are not the model's.
    """
    if type(data) is list and data:
        first = data[0]
        if type(first) is list:
            if schema.numeric and method not in FREE_METHODS:  # the common case: nothing else is looked at here
                reader = schema.rows
                nbytes = 8 * len(data) * len(first)
                key = (method, "rows", reader.checked)
                return ScoreRequest(method, RowsInput(data, reader), len(data), nbytes, key, reader.checked, extra)
            return _rows(schema, method, data, what, extra)
        if type(first) is dict and schema.kind != "list":
            names, rows = _records(schema, data)
            return named_request(schema, method, names, rows, extra)
        if (
            type(first) is dict and schema.item == "text" and len(first) == 1
        ):  # a table of one column, as in its other forms
            names, rows = _records(schema, data)
            return named_request(schema, method, names, rows, extra)
        return _values(schema, method, data, what, extra)
    if type(data) is dict:
        return _named_form(schema, method, data, what, extra)
    if isinstance(data, np.ndarray):
        return _matrix(schema, method, data, extra)
    if data == []:
        raise InvalidRequest(f"{what} holds no rows; send at least one")
    raise InvalidRequest(f"{what} must be a list of rows, not {types.described(data)}{_example(schema)}")


def named_request(
    schema: ModelSchema, method: str, names: Sequence[str], rows: list[list[Any]] | types.Array, extra: Any = None
) -> ScoreRequest:
    """Rows whose values are in the order of `names`.

    For a model that was fitted without names, and for a method that takes another one's output, the order is all that counts.

    Raises:
        SchemaMismatch: a column is missing, unknown or given twice.
    """
    if schema.names and method not in FREE_METHODS:
        if schema.blanks_as is not None:
            names = [name.replace(" ", schema.blanks_as) for name in names]
        if schema.unused is not None and tuple(names) != schema.names:
            return _needed_request(schema, method, names, rows, extra)
        order = column_order(schema, names)
        if order is not None:
            rows = _in_order(rows, len(names), order)
    elif schema.kind == "columns" and method not in FREE_METHODS:
        if isinstance(rows, np.ndarray):
            raise ListsWanted
        _check_lengths(rows, len(names))
        loose = ModelSchema(kind="columns", columns=tuple(types.Column(name) for name in names), width=len(names))
        return _rows(loose, method, rows, "data", extra)
    return (
        table_request(schema, method, rows, "data", extra)
        if schema.kind != "list"
        else _rows(schema, method, rows, "data", extra)
    )


def _needed_request(
    schema: ModelSchema, method: str, names: Sequence[str], rows: list[list[Any]] | types.Array, extra: Any
) -> ScoreRequest:
    """Rows for a model that looks at some columns and ignores all others.

    Raises:
        SchemaMismatch: a column that it looks at is missing, or one that it does not know looks like one that is missing.
    """
    if isinstance(rows, np.ndarray):
        raise ListsWanted
    needed = schema.needed
    check_needed(schema, names)
    places = {name: index for index, name in enumerate(names)}
    if len(places) != len(names):
        column_order(needed, names)
    return _rows(needed, method, _in_order(rows, len(names), [places[name] for name in needed.names]), "data", extra)


def check_needed(schema: ModelSchema, given: Collection[str]) -> None:
    """Raises SchemaMismatch unless `given` has what the model looks at, and nothing that may be a column misspelt."""
    missing = [name for name in schema.names if name not in given]
    unknown = [name for name in given if name not in schema.positions]
    candidates = [name for name in missing[:200] if len(name) <= 100]
    misspelt = [name for name in unknown if len(name) <= 100 and difflib.get_close_matches(name, candidates, 1)]
    missing = [name for name in missing if name not in (schema.unused or ())]
    if missing or misspelt:
        sentence = _difference(missing, misspelt or unknown, schema.names, candidates)
        raise SchemaMismatch(f"{sentence}; the model takes {listed(schema.needed.names)}")


def column_order(schema: ModelSchema, names: Sequence[str]) -> list[int] | None:
    """Where each column of the model is among `names`; None when they are in the model's order already.

    Raises:
        SchemaMismatch: names every column that is missing, unknown or given twice.
    """
    if tuple(names) == schema.names:
        return None
    found = {name: index for index, name in enumerate(names)}
    if len(found) != len(names):
        twice = sorted({name for name in names if list(names).count(name) > 1}) if len(names) <= 1_000 else []
        raise SchemaMismatch(f"columns are given more than once{': ' + listed(twice) if twice else ''}")
    if found.keys() != schema.positions.keys():
        raise SchemaMismatch(_names_sentence(schema, found.keys()))
    return [found[name] for name in schema.names]


def array_request(schema: ModelSchema, method: str, array: types.Array, extra: Any = None) -> ScoreRequest:
    """Rows that came as one array (n, …): from a binary tensor. Checked as JSON rows are."""
    if not array.shape or not array.shape[0]:
        raise InvalidRequest("the input holds no rows; send at least one")
    if not schema.numeric or array.dtype.kind not in "biuf" or method in FREE_METHODS:
        return table_request(schema, method, array.tolist(), "the input", extra)
    if array.ndim != 2 or (schema.width is not None and array.shape[1] != schema.width):
        if array.ndim == 1 and schema.flat:
            return array_request(schema, method, array.reshape(-1, 1), extra)
        if array.ndim == 1:
            raise InvalidRequest(_flat_sentence("the input", schema))
        schema.rows.check_widths(array[:1].tolist())
        raise SchemaMismatch(f"the input must have 2 dimensions, rows and columns; it has {array.ndim}")
    array = _in_schema_dtype(schema, array)
    if array.dtype.kind == "f":
        schema.rows.check_missing(array)
    return _array(method, array, schema.rows.checked and array.dtype == np.float64, extra)


def columns_request(
    schema: ModelSchema, method: str, names: Sequence[str], values: Sequence[Sequence[Any]], extra: Any = None
) -> ScoreRequest:
    """Columns of values, each with its name."""
    lengths = {len(column) for column in values}
    if len(lengths) != 1:
        each = ", ".join(f"'{name}' has {len(column):,}" for name, column in list(zip(names, values, strict=True))[:10])
        raise SchemaMismatch(
            f"all columns must have the same number of rows; {each}" if lengths else "no columns were sent"
        )
    if 0 in lengths:
        raise InvalidRequest("the columns hold no rows; send at least one")
    return named_request(schema, method, names, [list(row) for row in zip(*values, strict=True)], extra)


def _matrix(schema: ModelSchema, method: str, array: types.Array, extra: Any) -> ScoreRequest:
    """What the rows of `array` would give as lists: float64, finite, all of one width. Raises ListsWanted."""
    reader = schema.rows
    if array.ndim != 2 or not schema.numeric or method in FREE_METHODS or reader.width not in (None, array.shape[1]):
        raise ListsWanted
    rows = np.ascontiguousarray(array, reader.dtype or np.float64)
    key = (method, "array", rows.dtype.str, rows.shape[1:], reader.checked)
    return ScoreRequest(method, ArrayInput(rows), len(rows), 8 * rows.size, key, reader.checked, extra)


def _rows(schema: ModelSchema, method: str, rows: Any, what: str, extra: Any) -> ScoreRequest:
    """Rows for a model of mixed columns, of a DataFrame, or of which nothing is known."""
    if isinstance(rows, np.ndarray):
        raise ListsWanted
    if method in FREE_METHODS:
        return _array(method, _any_array(schema.free_rows.check_widths(rows), rows), False, extra)
    if schema.kind == "list":
        if schema.item == "text" or schema.item is None:
            flat = [row[0] for row in rows if type(row) is list and len(row) == 1 and type(row[0]) is str]
            if len(flat) == len(rows):  # a table of one column of text
                return _values(schema, method, flat, what, extra)
        return _values(schema, method, rows, what, extra)
    width = schema.rows.check_widths(rows)
    if not schema.columns:
        return _array(method, _any_array(width, rows), False, extra)
    names = schema.names
    arrays = [
        types.column_array(column, list(values), lambda row, at=index: place(row, at, names), schema.allows_nan)  # type: ignore[misc]
        for index, (column, values) in enumerate(zip(schema.columns, zip(*rows, strict=True), strict=True))
    ]
    if schema.kind == "array" or not names:
        mixed = np.empty((len(rows), width), object)
        for index, column in enumerate(arrays):
            mixed[:, index] = column
        return _array(method, mixed, False, extra)
    return _request(method, ColumnsInput(names, arrays), len(rows), sum(map(_nbytes, arrays)), extra)


def _values(schema: ModelSchema, method: str, values: list[Any], what: str, extra: Any) -> ScoreRequest:
    """One value a row: texts and dicts for a "list" model, labels for an `inverse_transform`."""
    if method in FREE_METHODS:
        whole = all(type(value) is int and types.LEAST <= value <= types.GREATEST for value in values)
        given = (
            np.array(values, np.int64)
            if whole
            else types.guessed(values, lambda index: f"value {index} (counted from 0)")
        )
        return _array(method, given, False, extra)  # encoded labels are positions
    if schema.kind != "list":
        if schema.columns and schema.width == 1 and schema.columns[0].type == "string":
            return _rows(schema, method, [[value] for value in values], what, extra)
        if schema.flat:
            return table_request(schema, method, [[value] for value in values], what, extra)
        raise InvalidRequest(_flat_sentence(what, schema, values))
    wanted = {"text": str, "record": dict}.get(schema.item or "")
    for index, value in enumerate(values) if wanted else ():
        if type(value) is not wanted:
            kind = "a string" if wanted is str else "an object"
            raise SchemaMismatch(f"row {index} (counted from 0): expected {kind}, got {types.described(value)}")
    nbytes = sum(len(value) if type(value) is str else OBJECT_BYTES for value in values)
    return _request(method, ListInput(values), len(values), nbytes, extra)


def _named_form(schema: ModelSchema, method: str, data: dict[str, Any], what: str, extra: Any) -> ScoreRequest:
    _check_split(schema, data, what)
    names, rows = data.get("columns"), data.get("data")
    if any(isinstance(part, np.ndarray) for part in data.values()):
        return _named_arrays(schema, method, data, extra)
    if type(names) is list and type(rows) is list:
        if not rows:
            raise InvalidRequest(f"{what} holds no rows; send at least one")
        return named_request(schema, method, [str(name) for name in names], rows, extra)
    if data and all(type(column) is list for column in data.values()):
        return columns_request(schema, method, list(data), list(data.values()), extra)
    if data and all(type(column) is dict for column in data.values()):  # DataFrame.to_dict(): {column: {index: value}}
        return columns_request(schema, method, list(data), [list(column.values()) for column in data.values()], extra)
    raise InvalidRequest(
        f"{what} must be rows [[…], …], records [{{…}}, …], columns {{name: […], …}} or "
        f'{{"columns": […], "data": [[…], …]}}, not a single object{_example(schema)}'
    )


def _check_split(schema: ModelSchema, data: dict[str, Any], what: str) -> None:
    """``{"columns": …, "data": …}`` with one of them missing or misspelt is not a table of a column called "columns".

    Raises:
        InvalidRequest: it names the member that is missing or unknown.
    """
    if "columns" not in data or "columns" in schema.positions or (columns := data["columns"]) is None:
        return
    unknown = [key for key in data if key not in _SPLIT]
    if type(columns) is not list or not all(isinstance(name, str | int) for name in columns):
        return
    if "data" not in data:
        near = difflib.get_close_matches("data", unknown, 1)
        hint = f"; it has {quoted(near[0])}, did you mean 'data'?" if near else ""
        raise InvalidRequest(f'{what} has "columns" and no "data": send {{"columns": […], "data": [[…], …]}}{hint}')
    if unknown:
        raise InvalidRequest(f'{what} has the unknown member {quoted(unknown[0])} beside "columns" and "data"')


def _named_arrays(schema: ModelSchema, method: str, data: dict[str, Any], extra: Any) -> ScoreRequest:
    """`_named_form` of numbers that are arrays already. Raises ListsWanted."""
    names, rows = data.get("columns"), data.get("data")
    if type(names) is list and isinstance(rows, np.ndarray) and rows.ndim == 2:
        return named_request(schema, method, [str(name) for name in names], rows, extra)
    columns = list(data.values())
    shapes = {column.shape if isinstance(column, np.ndarray) else () for column in columns}
    if "columns" in data or len(shapes) != 1 or columns[0].ndim != 1:
        raise ListsWanted
    return named_request(schema, method, list(data), np.column_stack(columns), extra)


def _in_order(rows: list[list[Any]] | types.Array, width: int, order: Sequence[int]) -> list[list[Any]] | types.Array:
    if isinstance(rows, np.ndarray):
        if rows.shape[1:] != (width,):
            raise ListsWanted
        return rows[:, order]
    _check_lengths(rows, width)
    return [[row[index] for index in order] for row in rows]


def _records(schema: ModelSchema, records: list[Any]) -> tuple[Sequence[str], list[list[Any]]]:
    """Names and rows of records, in the model's order where it has names, else in that of the first record."""
    if schema.blanks_as is not None:
        records = [_as_fitted(schema, record) for record in records]
    names = tuple(records[0])
    if schema.unused is not None and {*names} != schema.positions.keys():
        return schema.needed.names, _needed_records(schema, records)
    if schema.names and names != schema.names:
        column_order(schema, names)
        names = schema.names
    count = len(names)
    rows = []
    for index, record in enumerate(records):
        if type(record) is not dict:
            raise SchemaMismatch(f"row {index} (counted from 0): expected an object, got {types.described(record)}")
        try:
            row = [record[name] for name in names]
        except KeyError:
            row = []
        if len(row) != count or len(record) != count:
            if schema.unused is not None:
                return schema.needed.names, _needed_records(schema, records)
            raise SchemaMismatch(f"row {index} (counted from 0): {_odd_record_sentence(names, record)}")
        if not schema.names and tuple(record) != names:
            raise SchemaMismatch(
                f"row {index} (counted from 0) has its keys in another order than row 0, and this model was fitted without "
                "names, so the order tells the columns"
            )
        rows.append(row)
    return names, rows


def _needed_records(schema: ModelSchema, records: list[Any]) -> list[list[Any]]:
    names, checked, rows = schema.needed.names, None, []
    for index, record in enumerate(records):
        if type(record) is not dict:
            raise SchemaMismatch(f"row {index} (counted from 0): expected an object, got {types.described(record)}")
        if record.keys() != checked:
            try:
                check_needed(schema, record)
            except SchemaMismatch as error:
                raise SchemaMismatch(f"row {index} (counted from 0): {error}") from None
            checked = record.keys()
        rows.append([record[name] for name in names])
    return rows


def _as_fitted(schema: ModelSchema, record: Any) -> Any:
    if type(record) is not dict or schema.blanks_as is None:
        return record
    renamed = {name.replace(" ", schema.blanks_as): value for name, value in record.items()}
    return renamed if len(renamed) == len(record) else record


def _odd_record_sentence(names: Sequence[str], record: dict[str, Any]) -> str:
    missing = [name for name in names if name not in record]
    known = set(names)
    unknown = [name for name in record if name not in known]
    return _difference(missing, unknown, names)


def _names_sentence(schema: ModelSchema, given: Any) -> str:
    missing = [name for name in schema.names if name not in given]
    unknown = [name for name in given if name not in schema.positions]
    return f"{_difference(missing, unknown, schema.names)}; the model takes {listed(schema.names)}"


def _difference(
    missing: Sequence[str], unknown: Sequence[str], names: Sequence[str], candidates: list[str] | None = None
) -> str:
    parts = []
    if missing:
        parts.append(f"missing column{'s' if len(missing) > 1 else ''} {listed(missing)}")
    if unknown:
        if candidates is None:
            candidates = [name for name in (missing or names)[:200] if len(name) <= 100]
        hints = [_with_hint(name, candidates) for name in unknown[:5]]
        more = f", and {len(unknown) - 5:,} more" if len(unknown) > 5 else ""
        parts.append(f"unknown column{'s' if len(unknown) > 1 else ''} {', '.join(hints)}{more}")
    return "; ".join(parts)


def _with_hint(name: str, candidates: list[str]) -> str:
    near = difflib.get_close_matches(name, candidates, 1) if len(name) <= 100 else []
    return quoted(name) + (f" (did you mean '{near[0]}'?)" if near else "")


def _check_lengths(rows: list[Any], width: int) -> None:
    for index, row in enumerate(rows):
        if type(row) is not list:
            raise SchemaMismatch(f"row {index} (counted from 0): expected a list of values, got {types.described(row)}")
        if len(row) != width:
            raise SchemaMismatch(f"row {index} (counted from 0) has {len(row):,} values for {width:,} columns")


def _flat_sentence(what: str, schema: ModelSchema, values: Sequence[Any] = ()) -> str:
    shown = ""
    if values and len(values) <= 10 and all(isinstance(value, int | float) for value in values):
        one_each = schema.width == 1
        shown = f": [[{('], [' if one_each else ', ').join(map(repr, values))}]]"
    return f"{what} must be a list of rows, each a list of values{shown or _example(schema)}"


def _example(schema: ModelSchema) -> str:
    if schema.kind == "list":
        return ', such as ["first text", "second text"]' if schema.item in ("text", None) else ""
    return f", such as [[{', '.join(['0.0'] * schema.width)}]]" if schema.width and schema.width <= 10 else ""


def _any_array(width: int, rows: list[list[Any]]) -> types.Array:
    """Rows of which nothing is known: numbers if all values are, else objects."""
    flat = [value for row in rows for value in row]
    return types.guessed(flat, lambda index: f"row {index // width}, column {index % width} (counted from 0)").reshape(
        len(rows), width
    )


def _in_schema_dtype(schema: ModelSchema, array: types.Array) -> types.Array:
    large = array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size
    if large and (int(array.max()) > types.EXACT or int(array.min()) < -types.EXACT):
        return np.ascontiguousarray(array)  # as in JSON: integers that float64 cannot hold stay integers
    return np.ascontiguousarray(array, schema.dtype or np.float64)


def _array(method: str, array: types.Array, checked: bool, extra: Any) -> ScoreRequest:
    key = (method, "array", array.dtype.str, array.shape[1:], checked)
    return ScoreRequest(method, ArrayInput(array), len(array), _nbytes(array), key, checked, extra)


def _request(method: str, inputs: Inputs, n_rows: int, nbytes: int, extra: Any) -> ScoreRequest:
    key: tuple[Any, ...] = (method, "list")
    if isinstance(inputs, ColumnsInput):
        key = (method, inputs.names, tuple(column.dtype.str for column in inputs.columns))
    return ScoreRequest(method, inputs, n_rows, nbytes, key, False, extra)


def _nbytes(array: types.Array) -> int:
    return array.nbytes if array.dtype.kind != "O" else array.size * OBJECT_BYTES
