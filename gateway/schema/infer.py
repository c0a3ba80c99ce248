"""Infers the schema of a model from its description, completed by a registered sample."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from gateway.schema.columns import Column, ColumnType
from gateway.schema.dtypes import with_dtype
from gateway.schema.samples import read_sample, widened
from gateway.schema.schema import MANY, ModelSchema
from registry.records import Json


def schema_for(
    description: Mapping[str, Json], sample: bytes | None = None, sample_name: str | None = None
) -> dict[str, Json]:
    """The schema, as JSON, of a model that describes itself as `description` (see gateway.worker.describe).

    Args:
        sample: content of the sample file registered with the version (CSV, JSON, Parquet or .npy, by `sample_name`). Its
            names, types and rows widen the description; where they contradict it, the description is right.

    Raises:
        gateway.schema.samples.BadSample: the sample cannot be read or does not fit the model.
    """
    schema = _described(description)
    if sample is not None:
        schema = widened(schema, read_sample(sample, sample_name or "sample.json"))
    if any(column.type == "datetime" and column.dtype is None for column in schema.columns):
        schema = replace(schema, columns=tuple(_with_time_dtype(description, column) for column in schema.columns))
    if not schema.example:
        schema = replace(schema, example=_made_up(schema))
    return schema.to_json()


def _described(description: Mapping[str, Json]) -> ModelSchema:
    names: Sequence[str] = description.get("feature_names") or ()
    width = description.get("n_features")
    if width is None and names:
        width = len(names)
    columns: tuple[Column, ...] = ()
    if names or any(description.get(key) for key in ("column_types", "categories", "dtypes")):
        keys = list(names) or [str(index) for index in range(width or 0)]
        columns = tuple(_described_column(description, key, bool(names)) for key in keys)
    classes = description.get("classes")
    return ModelSchema(
        kind=description.get("kind") or "array",
        columns=columns,
        width=width,
        item=description.get("item"),
        allows_nan=description.get("allows_nan"),
        blanks_as=description.get("blanks_as"),
        classes=tuple(classes) if isinstance(classes, list) else None,
        unused=tuple(unused) if isinstance(unused := description.get("unused"), list) else None,
        flat=bool(description.get("flat")),
        n_outputs=description.get("n_outputs"),
        output_dtype=description.get("output_dtype"),
    )


def _described_column(description: Mapping[str, Json], key: str, named: bool) -> Column:
    kind = (description.get("column_types") or {}).get(key)
    categories = (description.get("categories") or {}).get(key) or None
    if kind is None and categories and all(isinstance(value, str) for value in categories):
        kind = "string"
    column = Column(
        key if named else None,
        cast("ColumnType | None", kind),
        None,
        tuple(categories) if categories else None,
        key in (description.get("closed_categories") or ()),
        (description.get("nullable") or {}).get(key),
    )
    return with_dtype(column, (description.get("dtypes") or {}).get(key))


def _with_time_dtype(description: Mapping[str, Json], column: Column) -> Column:
    """`column` of times, in the unit in which the pandas of the model's environment parses them."""
    dtype: str | None = description.get("time_dtype")
    return replace(column, dtype=dtype) if column.type == "datetime" and column.dtype is None else column


def _made_up(schema: ModelSchema) -> tuple[Any, ...]:
    """A made-up example row of the right form."""
    if schema.kind == "list":
        return (
            ("some text",)
            if schema.item == "text"
            else schema.classes[:1]
            if schema.item == "label" and schema.classes
            else ()
        )
    if schema.columns and len(schema.columns) <= MANY:
        row = [_made_up_value(column) for column in schema.columns]
        return (dict(zip(schema.names, row, strict=True)),) if schema.names else (row,)
    return ([0.0] * schema.width,) if schema.width and schema.width <= MANY else ()


def _made_up_value(column: Column) -> Any:
    if column.categories:
        return column.categories[0]
    made_up: dict[str | None, Any] = {
        "string": "text",
        "boolean": False,
        "datetime": "2026-01-01T00:00:00",
        "integer": 0,
    }
    return made_up.get(column.type, 0.0)
