"""Our own scoring paths: Azure's body, and beside it what the web pages and programs around a model send, wherever that is unambiguous.

One flat record ``{"rooms": 3, "area": 90}`` whose keys are the model's columns, one record under ``data``, form fields, CSV, and for a model of
texts ``{"text": "…"}`` or a bare JSON string. Azure's own path takes none of this.
"""

from typing import Any, Final

from gateway.errors import InvalidRequest
from gateway.protocols import forms
from gateway.protocols.azure import ABSENT, Azure
from gateway.protocols.body import JSON_TYPES, call_object, json_body, options
from gateway.protocols.mlflow import csv_request
from gateway.protocols.script import is_script
from gateway.schema.csv_reader import column_values
from gateway.schema.methods import check_method, default_method
from gateway.schema.schema import ANY, ModelSchema
from gateway.types import Call, ScoreRequest, Target

#: Keys of Azure's body that are not columns, unless the model has columns of that name.
_OURS: Final = frozenset({"data", "input_data", "method", "include", "params"})
_PLAIN: Final = (str, int, float, bool, type(None))


class Native(Azure):
    """As Azure's, on ``/score`` and below ``/models``."""

    name = "native"
    paths = (
        "/score",
        "/models/{model}/score",
        "/models/{model}/versions/{version}/score",
        "/models/{model}/{method}",
    )

    def parse(self, call: Call, target: Target) -> ScoreRequest:
        given = call.headers.get(b"content-type")
        if given in JSON_TYPES or given is None:
            return super().parse(call, target)
        kind = given.split(b";", 1)[0].strip().lower()
        if kind == b"text/csv" and call.verb == "POST" and not is_script(target):
            return csv_request(target.schema or ANY, self._method(call, target), bytes(call.body), options(call.query))
        if kind in forms.TYPES and call.verb == "POST" and not is_script(target):
            return self._form(call, target)
        return super().parse(call, target)

    def body_of(self, call: Call, target: Target) -> dict[str, Any]:
        schema = target.schema or ANY
        if schema.kind == "list" and call.json is None and bytes(call.body[:1]) == b'"':
            return {"data": [json_body(call.body)]}
        return call_object(call)

    def data_of(self, body: dict[str, Any], schema: ModelSchema) -> tuple[Any, str]:
        data, what = super().data_of(body, schema)
        if data is ABSENT or ("data" in schema.positions and type(data) in _PLAIN):
            record = {key: value for key, value in body.items() if key not in _OURS or key in schema.positions}
            one = _single(record, schema)
            return (ABSENT, what) if one is None else ([one], "the body")
        if type(data) is dict:
            one = _single(data, schema)
            return (data, what) if one is None else ([one], what)
        return data, what

    def _form(self, call: Call, target: Target) -> ScoreRequest:
        forms.check_origin(call.headers)
        fields, files = forms.fields_of(bytes(call.body), call.headers[b"content-type"])
        method, schema = self._method(call, target), target.schema or ANY
        if len(files) == 1:
            return csv_request(schema, method, files[0], options(call.query))
        if files:
            raise InvalidRequest(f"the form holds {len(files)} files; send one, a CSV")
        return self.request(_record_of(fields, schema), "the form", method, call, {}, target)

    def _method(self, call: Call, target: Target) -> str:
        if call.method is not None:
            return check_method(call.method, target.methods)
        return default_method(target.methods, "azure", target.settings.get("default_method"))


def _single(record: dict[str, Any], schema: ModelSchema) -> Any:
    """The one row that `record` stands for; None where it is something else."""
    if not record or not all(type(value) in _PLAIN for value in record.values()):
        return None
    if schema.names:
        return record if not schema.positions.keys().isdisjoint(record) else None
    if schema.kind == "list" and schema.item in ("text", None) and len(record) == 1:
        value = next(iter(record.values()))
        return value if type(value) is str else None
    return None


def _record_of(fields: list[tuple[str, str]], schema: ModelSchema) -> list[Any]:
    """One row of a form's fields. Of a field that is there twice, as a box to tick and its hidden other half, the last counts."""
    given = dict(fields)
    if schema.names:
        record = {}
        for name, column in zip(schema.names, schema.columns, strict=True):
            if name in given:
                record[name] = column_values(column, [given[name]])[0]
        if not record:
            raise InvalidRequest(
                f"none of the form's fields ({', '.join(list(given)[:10])}) is a column of the model ({', '.join(schema.names[:10])})"
            )
        return [record]
    if schema.kind == "list":
        if len(given) != 1:
            raise InvalidRequest(
                f"the model takes one text, and the form has {len(given)} fields: {', '.join(list(given)[:10])}"
            )
        return [next(iter(given.values()))]
    if schema.width not in (None, len(given)):
        raise InvalidRequest(f"the form has {len(given)} fields, and the model takes {schema.width} values")
    return [[column_values(None, [text])[0] for text in given.values()]]
