"""What a model takes and gives.

The supervisor makes it once a version (`gateway.schema.infer`), it travels as JSON in the routing table, and HTTP processes compile it
(`ModelSchema.from_json`). Checking requests against it is `gateway.protocols.tables`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Literal

from gateway.schema.columns import Column
from gateway.schema.rows import NumberRows
from registry.records import Json

Kind = Literal["array", "columns", "list"]

#: Methods whose input is another one's output, of which a model does not tell the width.
FREE_METHODS: Final = frozenset({"inverse_transform"})

#: The dtype of columns of which the model's process makes something else than numbers, text or times.
OBJECT: Final = "object"

#: More columns than this are not listed one by one in documentation and examples.
MANY: Final = 1_000


@dataclass(frozen=True)
class ModelSchema:
    """Input and output of one version.

    Attributes:
        kind: an array (n, width), a DataFrame of `columns`, or a list of values (texts, dicts).
        columns: in the order of fitting; empty where nothing is known of them but the `width`.
        width: values a row; None where any is taken.
        item: of a "list": "text", "record", "label" or None for any.
        allows_nan: whether missing values are taken; None: the model does not tell.
        blanks_as: what stands for blanks in the names that the model knows, where it changed them; None: nothing.
        classes: labels in the order of `predict_proba`'s columns; of a multi-output model a list of such lists.
        example: a few rows to be sent as ``data``, records where the model knows names; empty where none can be made.
        unused: columns that may be absent, where columns beyond the model's are ignored too; None: all are wanted, and no others.
        flat: whether rows are single values, in an array of one dimension.
        sample: the documentation of the registered sample's rows by inference-schema, or None.
    """

    kind: Kind = "array"
    columns: tuple[Column, ...] = ()
    width: int | None = None
    item: str | None = None
    allows_nan: bool | None = None
    blanks_as: str | None = None
    dtype: str | None = None
    classes: tuple[Any, ...] | None = None
    n_outputs: int | None = None
    output_dtype: str | None = None
    example: tuple[Any, ...] = ()
    unused: tuple[str, ...] | None = None
    flat: bool = False
    sample: Mapping[str, Json] | None = field(default=None, hash=False)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names in order; empty for a model that was fitted without names."""
        return tuple(column.name for column in self.columns if column.name is not None)

    @cached_property
    def positions(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    @cached_property
    def numeric(self) -> bool:
        """True when rows are plain numbers that travel as one array: the fast path. In an array, true is 1.0.

        A DataFrame of float64 columns is made of such an array by the child.
        """
        if self.kind == "columns" and not self.columns:
            return True  # rows without names: nothing is known of them
        if self.kind == "array":
            return not any(column.type in ("string", "datetime") or column.dtype == OBJECT for column in self.columns)
        return (
            self.kind == "columns"
            and bool(self.names)
            and all(
                column.type in ("number", "integer") and column.dtype is None and not column.closed
                for column in self.columns
            )
        )

    @cached_property
    def needed(self) -> "ModelSchema":
        """The same without the columns that may be absent."""
        columns = tuple(column for column in self.columns if column.name not in (self.unused or ()))
        return replace(self, columns=columns, width=len(columns), unused=None)

    @cached_property
    def rows(self) -> NumberRows:
        """Reader of rows of numbers. For a model of other columns it checks widths only."""
        not_null = [index for index, column in enumerate(self.columns) if column.nullable is False]
        return NumberRows(self.width, self.names, self.allows_nan, self.dtype, not_null)

    @cached_property
    def free_rows(self) -> NumberRows:
        return NumberRows(None)

    def to_json(self) -> dict[str, Json]:
        """Only what differs from the defaults, so that a plain model's schema is a few bytes in each routing table."""
        data: dict[str, Json] = {"kind": self.kind}
        if self.columns:
            data["columns"] = [_column_json(column) for column in self.columns]
        for key in ("width", "item", "allows_nan", "blanks_as", "dtype", "n_outputs", "output_dtype"):
            if getattr(self, key) is not None:
                data[key] = getattr(self, key)
        if self.classes is not None:
            data["classes"] = list(self.classes)
        if self.unused is not None:
            data["unused"] = list(self.unused)
        if self.flat:
            data["flat"] = True
        if self.example:
            data["example"] = list(self.example)
        if self.sample is not None:
            data["sample"] = dict(self.sample)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> "ModelSchema":
        values: dict[str, Any] = dict(data)
        values["columns"] = tuple(
            Column(
                column.get("name"),
                column.get("type"),
                column.get("dtype"),
                tuple(column["categories"]) if "categories" in column else None,
                column.get("closed", False),
                column.get("nullable"),
                column.get("zoned", False),
            )
            for column in values.get("columns", ())
        )
        if values.get("unused") is not None:
            values["unused"] = tuple(values["unused"])
        values["example"] = tuple(values.get("example", ()))
        if values.get("classes") is not None:
            values["classes"] = tuple(values["classes"])
        return cls(**values)


#: For a version of which nothing is known yet.
ANY: Final = ModelSchema()


def _column_json(column: Column) -> dict[str, Json]:
    data: dict[str, Json] = {}
    for key in ("name", "type", "dtype", "nullable"):
        if getattr(column, key) is not None:
            data[key] = getattr(column, key)
    for key in ("closed", "zoned"):
        if getattr(column, key):
            data[key] = True
    if column.categories is not None:
        data["categories"] = list(column.categories)
    return data
