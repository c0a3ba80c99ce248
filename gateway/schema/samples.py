"""Registered sample inputs: CSV, JSON, JSON lines, Parquet and .npy files → names, types and example rows.

Reads bytes that the person who registered the model chose, in the supervisor: nothing here unpickles or runs anything.
"""

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import PurePath
from typing import Any, Final, cast

import numpy as np

from gateway.errors import InvalidRequest
from gateway.schema.columns import Column, ColumnType
from gateway.schema.csv_reader import read_csv, table_of
from gateway.schema.dtypes import json_type, with_dtype
from gateway.schema.inference_schema import documented
from gateway.schema.rows import listed
from gateway.schema.schema import OBJECT, ModelSchema
from gateway.types import plain
from registry.errors import MissingExtra, ModelError
from registry.records import Json
from registry.sample import frame_form

#: Rows that are shown as the example, and rows that types are read from.
EXAMPLE_ROWS: Final = 5
TYPED_ROWS: Final = 10_000

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")

_UNSURE: Final = (
    "the sample gives its times as text with an offset from UTC, which does not tell the zone that the model was fitted on, if it was "
    "fitted on times: register it with a sample that is a DataFrame or a Parquet file"
)

_OFFSET: Final = re.compile(r":\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$")
_ITEMS: Final[dict[str, type]] = {"text": str, "record": dict}


class BadSample(ModelError):
    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"the sample {name} cannot be used: {problem}")


@dataclass(frozen=True)
class Sample:
    """What a sample file holds.

    Attributes:
        names: of its columns, or None.
        rows: lists of JSON values, one a column; or plain values (texts, dicts) where `table` is False.
        dtype: of an array that was stored as floats narrower than 64 bits.
        dtypes: what the file tells of its columns' dtypes, by name (see gateway.schema.dtypes): a DataFrame's, or Parquet's.
    """

    name: str
    names: tuple[str, ...] | None
    rows: list[Any]
    table: bool = True
    dtype: str | None = None
    dtypes: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return len(self.rows[0])

    @property
    def flat(self) -> bool:
        """Whether its rows are single numbers: the model was fitted on an array of one dimension."""
        return not self.table and all(isinstance(value, int | float) for value in self.rows)

    def told(self) -> dict[str, Json]:
        """The facts for the model's process about the input at fitting; see `gateway.worker.describe.describe`."""
        return {"dtypes": {name: dict(spec) for name, spec in self.dtypes.items()}, "flat": self.flat}


def read_sample(content: bytes, name: str) -> Sample:
    """The sample in `content`; the suffix of `name` tells its format.

    Raises:
        BadSample: it is in no known format, empty, or ragged.
        MissingExtra: Parquet, without pyarrow.
    """
    reader = _READERS.get(PurePath(name).suffix.lower())
    if reader is None:
        raise BadSample(name, f"its name must end in one of {', '.join(_READERS)}")
    try:
        sample = reader(content, name)
    except BadSample:
        raise
    except (ValueError, RecursionError, InvalidRequest) as error:  # JSON, UTF-8, numpy and CSV all say it so
        raise BadSample(name, str(error)[:200]) from None
    if not sample.rows:
        raise BadSample(name, "it holds no rows")
    if sample.table and (not sample.width or any(len(row) != sample.width for row in sample.rows)):
        raise BadSample(name, "its rows are not all of one length")
    return _with_doubts(replace(sample, rows=sample.rows[:TYPED_ROWS]))


def _with_doubts(sample: Sample) -> Sample:
    """Text with an offset from UTC does not tell the zone of the column that the model was fitted on, if it was one of times."""
    if not sample.table or sample.names is None or sample.dtypes:
        return sample
    columns = zip(sample.names, zip(*sample.rows, strict=True), strict=True)
    return replace(sample, dtypes={name: {"unsure": _UNSURE} for name, values in columns if has_offsets(values)})


def has_offsets(values: Sequence[Any]) -> bool:
    """Whether all values that are not missing are times as text, some of them with an offset from UTC."""
    present = [value for value in values if value is not None]
    times = bool(present) and all(isinstance(value, str) and _TIME.fullmatch(value) for value in present)
    return times and any(_OFFSET.search(value) for value in present)


def widened(schema: ModelSchema, sample: Sample) -> ModelSchema:
    """`schema` with the names, types and rows of `sample` where the model itself tells nothing.

    Raises:
        BadSample: its columns are not those of the model.
    """
    if schema.kind == "list":
        return _widened_list(schema, sample)
    if not sample.table:
        if schema.width is None and not schema.columns and all(isinstance(value, str) for value in sample.rows):
            return _widened_list(replace(schema, kind="list"), sample)
        if schema.width not in (None, 1):
            raise BadSample(sample.name, "it holds single values, and the model takes rows")
        sample = replace(sample, rows=[[value] for value in sample.rows], table=True)
    sample = _in_order(schema, sample)
    names = schema.names or sample.names
    described = schema.columns or (Column(),) * sample.width
    columns = tuple(
        _widened_column(column, names[index] if names else None, [row[index] for row in sample.rows], sample.dtypes)
        for index, column in enumerate(described)
    )
    if not names and not schema.columns and all(column.type in ("number", None) for column in columns):
        columns = ()
    named = bool(names) and (schema.kind == "columns" or bool(schema.names))
    example = [dict(zip(names or (), row, strict=True)) if named else row for row in sample.rows[:EXAMPLE_ROWS]]
    wider = replace(
        schema,
        columns=columns,
        width=sample.width,
        dtype=sample.dtype if schema.kind == "array" else None,
        example=tuple(example),
    )
    return replace(wider, sample=documented(wider))


def _widened_column(
    column: Column, name: str | None, values: Sequence[Any], dtypes: Mapping[str, Mapping[str, Json]]
) -> Column:
    """With the type that the sample gives it, where the model knows none."""
    spec = dtypes.get(name or "")
    if column.type is not None or column.dtype == OBJECT:
        kind = column.type
    elif spec is not None:
        kind = json_type(spec) or ("string" if _type_of(values) == "datetime" else _type_of(values))
    else:
        kind = _type_of(values)
    wider = replace(column, name=name, type=kind)
    return with_dtype(wider, spec) if kind == "datetime" and column.dtype is None else wider


def _widened_list(schema: ModelSchema, sample: Sample) -> ModelSchema:
    values = sample.rows
    if sample.table and sample.names is not None and schema.item == "record":
        values = [dict(zip(sample.names, row, strict=True)) for row in sample.rows]
    elif sample.table and sample.width == 1:
        values = [row[0] for row in sample.rows]
    item = schema.item or next(
        (item for item, kind in _ITEMS.items() if all(type(value) is kind for value in values)), None
    )
    if item in _ITEMS and not all(type(value) is _ITEMS[item] for value in values):
        raise BadSample(sample.name, f"the model takes a list of {item}s")
    wider = replace(schema, item=item, example=tuple(values[:EXAMPLE_ROWS]))
    return replace(wider, sample=documented(wider))


def _in_order(schema: ModelSchema, sample: Sample) -> Sample:
    """The sample's columns in the model's order."""
    if schema.unused is not None and sample.names is not None:
        sample = _as_needed(schema, sample)
    if schema.width is not None and sample.width != schema.width:
        raise BadSample(sample.name, f"it has {sample.width} columns, and the model takes {schema.width}")
    if schema.blanks_as is not None and sample.names is not None:
        sample = replace(sample, names=tuple(name.replace(" ", schema.blanks_as) for name in sample.names))
    if not schema.names or sample.names is None or sample.names == schema.names:
        return sample
    if set(sample.names) != set(schema.names):
        raise BadSample(
            sample.name, f"its columns are {listed(sample.names)}, and the model takes {listed(schema.names)}"
        )
    order = [sample.names.index(name) for name in schema.names]
    return replace(sample, names=schema.names, rows=[[row[index] for index in order] for row in sample.rows])


def _as_needed(schema: ModelSchema, sample: Sample) -> Sample:
    """Without the columns that the model ignores, and with null in those that it does not look at."""
    places = {name: index for index, name in enumerate(sample.names or ())}
    names = tuple(name for name in schema.names if name in places or name in (schema.unused or ()))
    rows = [[row[places[name]] if name in places else None for name in names] for row in sample.rows]
    return replace(sample, names=names, rows=rows)


def _type_of(values: Sequence[Any]) -> ColumnType | None:
    """Whole numbers are "number" too: a sample of 1, 2, 3 does not promise that 1.5 will not come.

    Text that is a time in every row is taken for one; a model that knows the column as categories has said so itself.
    """
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return None
    if kinds == {bool}:
        return "boolean"
    if kinds <= {int, float, bool}:
        return "number"
    if kinds != {str}:
        return None
    if has_offsets(values):
        return "string"
    return "datetime" if all(value is None or _TIME.fullmatch(value) for value in values) else "string"


def _read_csv(content: bytes, name: str) -> Sample:
    header, rows = table_of(read_csv(content), {})
    return Sample(name, header, rows)


def _read_json(content: bytes, name: str) -> Sample:
    return _from_json(json.loads(content.decode("utf-8-sig")), name)


def _read_json_lines(content: bytes, name: str) -> Sample:
    return _from_json([json.loads(line) for line in content.decode("utf-8-sig").splitlines() if line.strip()], name)


def _from_json(value: Any, name: str) -> Sample:
    if isinstance(value, dict) and len(value) <= 4 and not isinstance(value.get("columns"), list):
        value = value.get("data", value.get("input_data", value))  # a whole request body
    if isinstance(value, dict):
        names, rows = value.get("columns"), value.get("data")
        if isinstance(names, list) and isinstance(rows, list):
            if not all(isinstance(row, list) for row in rows):
                raise BadSample(name, "its data is not a list of rows")
            dtypes = value.get("dtypes")
            return Sample(name, tuple(map(str, names)), rows, dtypes=dtypes if isinstance(dtypes, dict) else {})
        if value and all(isinstance(column, list) for column in value.values()):
            return Sample(name, tuple(value), [list(row) for row in zip(*value.values(), strict=True)])
    if isinstance(value, list) and value:
        if all(isinstance(row, list) for row in value):
            return Sample(name, None, value)
        if all(isinstance(row, dict) for row in value):
            return _from_records(value, name)
        return Sample(name, None, value, table=False)
    raise BadSample(name, "it must hold rows [[…], …], records [{…}, …], or columns {name: […], …}")


def _from_records(records: list[Mapping[str, Any]], name: str) -> Sample:
    names = tuple(records[0])
    if any(record.keys() != records[0].keys() for record in records):
        return Sample(name, None, records, table=False)
    return Sample(name, names, [[record[key] for key in names] for record in records])


def _read_npy(content: bytes, name: str) -> Sample:
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufUM":
        raise BadSample(name, "it must hold one array of numbers, text or times")
    if array.ndim == 1:
        return Sample(name, None, cast("list[Any]", plain(array[:TYPED_ROWS])), table=False)
    if array.ndim != 2:
        raise BadSample(name, f"it must have 2 dimensions, rows and columns, and has {array.ndim}")
    narrow = array.dtype.newbyteorder("<").str if array.dtype.kind == "f" and array.dtype.itemsize < 8 else None
    return Sample(name, None, cast("list[Any]", plain(array[:TYPED_ROWS])), dtype=narrow)


def _read_parquet(content: bytes, name: str) -> Sample:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise MissingExtra("pyarrow", "parquet", f"the sample {name}") from None
    try:
        table = parquet.read_table(io.BytesIO(content))
        form = frame_form(table.slice(0, TYPED_ROWS).to_pandas())
    except arrow.ArrowException as error:
        raise BadSample(name, str(error)[:200]) from None
    for column in (table.schema.pandas_metadata or {}).get("columns") or ():
        if column.get("name") in form["dtypes"]:
            form["dtypes"][column["name"]] = _as_it_was(form["dtypes"][column["name"]], column)
    return _from_json(form, name)


def _as_it_was(spec: dict[str, Json], column: Mapping[str, Any]) -> dict[str, Json]:
    """The dtype of a column before pandas wrote it: Parquet has no seconds and few categories, and text is text."""
    before = column.get("numpy_type") or ""
    if column.get("pandas_type") == "categorical" and "values" not in spec:
        return {
            "refused": "the sample, a Parquet file, does not keep the categories of this column: register a DataFrame"
        }
    if before.startswith("datetime64[") and spec.get("dtype", "").startswith("datetime64["):
        return {**spec, "dtype": re.sub(r"\[\w+", before[10:-1], spec["dtype"])}
    return {**spec, "dtype": "object"} if before == "object" and spec.get("dtype") in ("str", "string") else spec


_READERS: Final[dict[str, Callable[[bytes, str], Sample]]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
    ".npy": _read_npy,
}
