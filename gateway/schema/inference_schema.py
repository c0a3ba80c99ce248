"""The one place that uses inference-schema: documentation of a registered sample in Azure's words.

Its known defects are met here, before it is called: whole numbers go in as floats (it would document, and convert to, integers),
times as text with a format (its numpy type crashes on nanoseconds), booleans keep their own example (it writes "False" in quotes),
columns with missing values by their known type (it would say "object"), and nothing here validates, since it compares numbers of
columns, not their names.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gateway.schema.columns import Column
from gateway.schema.schema import ModelSchema
from registry.records import Json

_TYPED_VALUES: Mapping[str | None, Any] = {"string": "text", "boolean": True, "datetime": "text", None: 0.0}


def documented(schema: ModelSchema) -> dict[str, Json]:
    """The JSON schema (as Swagger 2 and OpenAPI 3 both take it) of ``data`` for a schema whose example is a sample's rows."""
    if schema.kind == "list":
        return _values(schema)
    if isinstance(schema.example[0], dict):
        return _frame(schema)
    if schema.numeric:
        return _array(schema)
    return _rows(schema)


def _array(schema: ModelSchema) -> dict[str, Json]:
    from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType

    rows = [[0.0 if value is None else float(value) for value in row] for row in schema.example]
    sample = np.array(rows, schema.dtype or np.float64)
    return _with_example(NumpyParameterType(sample).input_to_swagger(), schema)


def _frame(schema: ModelSchema) -> dict[str, Json]:
    import pandas
    from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType

    values = {column.name: [_value(column)] for column in schema.columns}
    document = PandasParameterType(pandas.DataFrame(values)).input_to_swagger()
    properties = document["items"]["properties"]
    for column in schema.columns:
        if column.type == "datetime":
            properties[column.name] = {"type": "string", "format": "date-time"}
    return _with_example(document, schema)


def _values(schema: ModelSchema) -> dict[str, Json]:
    from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType

    if schema.item != "text":  # records may each have other keys
        items: dict[str, Json] = {"type": "object"} if schema.item == "record" else {}
        return {"type": "array", "items": items, "example": list(schema.example)}
    return _with_example(StandardPythonParameterType(list(schema.example)).input_to_swagger(), schema)


def _rows(schema: ModelSchema) -> dict[str, Json]:
    """Rows of mixed values: its types have no word for them that Swagger 2 could say too."""
    return _with_example({"type": "array", "items": {"type": "array", "items": {}}, "format": "numpy.ndarray"}, schema)


def _value(column: Column) -> Any:
    return _TYPED_VALUES.get(column.type, 0.0)


def _with_example(document: Mapping[str, Json], schema: ModelSchema) -> dict[str, Json]:
    return {**document, "example": list(schema.example)}
