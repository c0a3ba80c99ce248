"""Swagger 2, OpenAPI 3.0.3 and 3.1 of one model, in the shape that clients of Azure's service read; and one document for all.

Paths, operation ids and schema names (ServiceHealthCheck, RunMLService, GetSwaggerSpec; ServiceInput, ServiceOutput, ErrorResponse) are
Azure's. What is in them comes from the model's schema.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.errors import SwaggerVersionNotFound, SwaggerVersionUnsupported
from gateway.protocols import dialects
from gateway.protocols.script import is_script
from gateway.schema.columns import Column
from gateway.schema.methods import METHODS, default_method
from gateway.schema.schema import ANY, MANY, ModelSchema
from gateway.types import Dialect, Target
from registry.records import Json

#: What ``?version=`` takes → the version that the document names.
VERSIONS: Final = {"2": "2.0", "2.0": "2.0", "3": "3.0.3", "3.0": "3.0.3", "3.1": "3.1.0"}

_JSON: Final = "application/json"
_NUMBER: Final[dict[str, Json]] = {"type": "number", "format": "double"}
_TYPES: Final[dict[str | None, dict[str, Json]]] = {
    "number": _NUMBER,
    "integer": {"type": "integer", "format": "int64"},
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
    None: {},
}
_ERROR: Final[dict[str, Json]] = {
    "type": "object",
    "required": ["message"],
    "properties": {"message": {"type": "string", "description": "What is wrong, and what would be right."}},
    "example": {"message": "A value is not provided for the 'data' parameter."},
}


def swagger(target: Target, version: str = "2", prefix: str = "", scheme: str = "https") -> dict[str, Json]:
    """The document of one model for ``GET <prefix>/swagger.json?version=…``.

    Args:
        version: one of `VERSIONS`.
        prefix: of the paths: empty for the default service, ``/api/v1/service/<name>`` or ``/models/<name>``.
        scheme: how the gateway was reached, for Swagger 2's ``schemes``.

    Raises:
        SwaggerVersionNotFound
        SwaggerVersionUnsupported: a script's decorators cannot be said in that version.
    """
    named = VERSIONS.get(version)
    if named is None:
        raise SwaggerVersionNotFound(version)
    sayable = {VERSIONS.get(word) for word in target.description.get("swagger_versions", VERSIONS)}
    if named not in sayable:
        raise SwaggerVersionUnsupported(version, [word for word in ("2", "3", "3.1") if VERSIONS[word] in sayable])
    schemas = {
        "ServiceInput": service_input(target, named),
        "ServiceOutput": service_output(target, named),
        "ErrorResponse": _ERROR,
    }
    if named == "2.0":
        return _swagger_2(target, prefix, scheme, schemas)
    return _openapi_3(target, prefix, named, schemas)


def service_input(target: Target, version: str) -> dict[str, Json]:
    """The JSON schema of a scoring body."""
    if is_script(target):
        return _of_script(target, "input_schema")
    schema: ModelSchema = target.schema or ANY
    properties: dict[str, Json] = {"data": _data(schema, version) if target.schema else {"type": "array", "items": {}}}
    methods = [method for method in METHODS if method in target.methods]
    if methods:
        default = default_method(methods, "azure", target.settings.get("default_method"))
        properties["method"] = {
            "type": "string",
            "enum": methods,
            "default": default,
            "description": f"The model's method to call; {default} when none is named.",
        }
    document: dict[str, Json] = {"type": "object", "required": ["data"], "properties": properties}
    if schema.example:
        document["example"] = {"data": list(schema.example)}
    return document


def _of_script(target: Target, part: str) -> dict[str, Json]:
    """What its decorators say, or what Azure's server says of a script without."""
    documented: dict[str, Json] = target.description.get(part) or {"type": "object", "example": {}}
    return documented


def service_output(target: Target, version: str) -> dict[str, Json]:
    """The JSON schema of an answer: one key, named after the method that ran."""
    if is_script(target):
        return _of_script(target, "output_schema")
    properties: dict[str, Json] = {
        method: _answer(target, method, version) for method in METHODS if method in target.methods
    }
    document: dict[str, Json] = {"type": "object", "properties": properties}
    classes = target.description.get("classes")
    if isinstance(classes, list) and classes:
        properties["classes"] = {
            "type": "array",
            "items": {},
            "description": "With ?classes=1: the labels, in the order of the columns of predict_proba.",
            "example": classes[:MANY],
        }
    if "predict" in target.methods and isinstance(classes, list) and classes and not isinstance(classes[0], list):
        document["example"] = {"predict": classes[:1]}
    return document


def gateway_openapi(targets: Iterable[Target], title: str, version: str, server: str = "/") -> dict[str, Json]:
    """One OpenAPI 3.1 document for all models: a path for each model's ``score`` and for each of its methods, and the paths of
    the other dialects once for all models.

    Args:
        targets: the version of each model that answers when none is named.
        version: of the gateway.
    """
    paths: dict[str, Json] = dict(_GATEWAY_PATHS)
    schemas: dict[str, Json] = {"ErrorResponse": _ERROR}
    for target in targets:
        name = target.model
        schemas[f"{name}.Input"] = service_input(target, "3.1.0")
        schemas[f"{name}.Output"] = service_output(target, "3.1.0")
        paths[f"/models/{name}/score"] = _scoring_path(target, name, None)
        for method in METHODS:
            if method in target.methods:
                paths[f"/models/{name}/{method}"] = _scoring_path(target, name, method)
    for dialect in dialects()[1:]:
        paths |= _dialect_paths(dialect)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": "Every registered model is an endpoint."},
        "servers": [{"url": server}],
        "paths": paths,
        "components": {"securitySchemes": {"Bearer": _BEARER_3}, "schemas": schemas},
        "security": [{}, {"Bearer": []}],
    }


def _dialect_paths(dialect: Dialect) -> dict[str, Json]:
    """Paths of a dialect, whose bodies its own specification describes."""
    paths: dict[str, Json] = {}
    asked = [(path, "POST", f"Scores rows; the body is as the {dialect.name} protocol says.") for path in dialect.paths]
    told = [(view.path, view.verb, (view.answer.__doc__ or "As the protocol says.").strip()) for view in dialect.views]
    for path, verb, text in asked + told:
        words = [dialect.name, verb.lower(), *(word for word in re.split(r"\W+", path) if word)]
        operation: dict[str, Json] = {
            "operationId": "_".join(words) + ("_" if path.endswith("/") else ""),
            "tags": [dialect.name],
            "description": text,
            "parameters": [_path_parameter(name) for name in re.findall(r"{(\w+)}", path)],
            "responses": {
                "200": {"description": "As the protocol says.", "content": {"*/*": {}}},
                "default": {"description": "It went wrong.", "content": {_JSON: {"schema": {"type": "object"}}}},
            },
        }
        if verb == "POST":
            operation["requestBody"] = {"content": {_JSON: {"schema": {"type": "object"}}}}
        paths.setdefault(path, {})[verb.lower()] = operation
    return paths


def _path_parameter(name: str) -> dict[str, Json]:
    schema = {"type": "integer", "minimum": 1} if name == "version" else {"type": "string"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


_BEARER_2: Final[dict[str, Json]] = {
    "type": "apiKey",
    "name": "Authorization",
    "in": "header",
    "description": "A key as it is shown by the gateway: Bearer <key>",
}
_BEARER_3: Final[dict[str, Json]] = {"type": "http", "scheme": "bearer"}


def _info(target: Target) -> dict[str, Json]:
    what = target.description.get("class")
    text = f"Scores rows with the model {target.model}" + (f", a {what}." if what else ".")
    if is_script(target):
        text = f"Runs the scoring script {what} of the model {target.model}."
    methods = [method for method in METHODS if method in target.methods]
    if methods:
        default = default_method(methods, "azure", target.settings.get("default_method"))
        text += f" When the body names no method, {default} runs; the model has: {', '.join(methods)}."
    return {"title": target.model, "description": text, "version": f"{target.version}"}


def _swagger_2(target: Target, prefix: str, scheme: str, schemas: Mapping[str, Json]) -> dict[str, Json]:
    failed = {"description": "It went wrong.", "schema": {"$ref": "#/definitions/ErrorResponse"}}
    return {
        "swagger": "2.0",
        "info": _info(target),
        "schemes": [scheme],
        "consumes": [_JSON],
        "produces": [_JSON],
        "securityDefinitions": {"Bearer": _BEARER_2},
        "paths": {
            f"{prefix}/": {
                "get": {
                    "operationId": "ServiceHealthCheck",
                    "description": "Tells whether the service is up.",
                    "responses": {
                        "200": {
                            "description": "It is; the body says Healthy.",
                            "schema": {"type": "string"},
                            "examples": {_JSON: "Healthy"},
                        },
                        "default": failed,
                    },
                }
            },
            f"{prefix}/score": {
                "post": {
                    "operationId": "RunMLService",
                    "description": "Calls a method of the model on the rows that are sent.",
                    "security": [{"Bearer": []}],
                    "parameters": [
                        {
                            "name": "serviceInputPayload",
                            "in": "body",
                            "description": "The rows, and the method.",
                            "required": True,
                            "schema": {"$ref": "#/definitions/ServiceInput"},
                        }
                    ],
                    "responses": {
                        "200": {
                            "description": "The method's answer, under its name.",
                            "schema": {"$ref": "#/definitions/ServiceOutput"},
                        },
                        "default": failed,
                    },
                }
            },
            f"{prefix}/swagger.json": {
                "get": {
                    "operationId": "GetSwaggerSpec",
                    "description": "This document.",
                    "parameters": [_VERSION_2],
                    "responses": {
                        "200": {"description": "The document.", "schema": {"type": "object"}},
                        "default": failed,
                    },
                }
            },
        },
        "definitions": dict(schemas),
    }


_VERSION_2: Final[dict[str, Json]] = {
    "name": "version",
    "in": "query",
    "description": "Of the specification; 2 when none is given.",
    "type": "string",
    "enum": list(VERSIONS),
}
_VERSION_3: Final[dict[str, Json]] = {
    "name": "version",
    "in": "query",
    "description": "Of the specification; 2 when none is given.",
    "schema": {"type": "string", "enum": list(VERSIONS)},
}


def _openapi_3(target: Target, prefix: str, version: str, schemas: Mapping[str, Json]) -> dict[str, Json]:
    return {
        "openapi": version,
        "info": _info(target),
        "servers": [{"url": "/"}],
        "paths": {
            f"{prefix}/": {
                "get": {
                    "operationId": "ServiceHealthCheck",
                    "description": "Tells whether the service is up.",
                    "responses": {"200": _healthy(), "default": _failed()},
                }
            },
            f"{prefix}/score": {
                "post": {
                    "operationId": "RunMLService",
                    "description": "Calls a method of the model on the rows that are sent.",
                    "security": [{"Bearer": []}],
                    "requestBody": {"required": True, "content": _content("ServiceInput")},
                    "responses": {
                        "200": {
                            "description": "The method's answer, under its name.",
                            "content": _content("ServiceOutput"),
                        },
                        "default": _failed(),
                    },
                }
            },
            f"{prefix}/swagger.json": {
                "get": {
                    "operationId": "GetSwaggerSpec",
                    "description": "This document.",
                    "parameters": [_VERSION_3],
                    "responses": {
                        "200": {"description": "The document.", "content": {_JSON: {"schema": {"type": "object"}}}},
                        "default": _failed(),
                    },
                }
            },
        },
        "components": {"securitySchemes": {"Bearer": _BEARER_3}, "schemas": dict(schemas)},
    }


def _scoring_path(target: Target, key: str, method: str | None) -> dict[str, Json]:
    what = f"Calls {method}" if method else "Calls the method that the body names, or the default one,"
    return {
        "post": {
            "operationId": f"{key}_{method or 'score'}",
            "tags": [target.model],
            "description": f"{what} on the rows that are sent.",
            "parameters": _OPTIONS_3,
            "requestBody": {"required": True, "content": _content(f"{key}.Input")},
            "responses": {
                "200": {"description": "The answer, under the method's name.", "content": _content(f"{key}.Output")},
                "default": _failed(),
            },
        }
    }


def _content(schema: str) -> dict[str, Json]:
    return {_JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _failed() -> dict[str, Json]:
    return {"description": "It went wrong.", "content": _content("ErrorResponse")}


def _healthy() -> dict[str, Json]:
    return {"description": "It is.", "content": {"text/html": {"schema": {"type": "string"}, "example": "Healthy"}}}


_OPTIONS_3: Final[list[Json]] = [
    {
        "name": "classes",
        "in": "query",
        "description": "1 adds the class labels.",
        "schema": {"type": "string", "enum": ["0", "1"]},
    },
    {
        "name": "nonfinite",
        "in": "query",
        "description": "How NaN and infinities are written.",
        "schema": {"type": "string", "enum": ["null", "string"], "default": "null"},
    },
]


def _data(schema: ModelSchema, version: str) -> dict[str, Json]:
    """``data`` as the model describes it, or the sample that was registered with it."""
    if schema.sample is not None:
        return _sampled(schema, schema.sample, version)
    missing = schema.allows_nan is not False
    if schema.kind == "list":
        items = {"text": _TYPES["string"], "record": {"type": "object"}}.get(schema.item or "", {})
        return {"type": "array", "items": items}
    if schema.names and len(schema.names) <= MANY:
        return {
            "type": "array",
            "format": "pandas.DataFrame:records",
            "items": {
                "type": "object",
                "required": list(schema.needed.names),
                "properties": {column.name: _column(column, schema, version) for column in schema.columns},
            },
        }
    value = {} if not schema.numeric or schema.width is None else _nullable(_NUMBER, version) if missing else _NUMBER
    row: dict[str, Json] = {"type": "array", "items": value}
    if schema.width is not None:
        row |= {"minItems": schema.width, "maxItems": schema.width}
    return {"type": "array", "format": "numpy.ndarray", "items": row}


def _sampled(schema: ModelSchema, sample: Mapping[str, Json], version: str) -> dict[str, Json]:
    """The sample's document, which does not know that values may be missing."""
    document: dict[str, Json] = dict(sample)
    row = document.get("items", {})
    if schema.names and "properties" in row:
        values = dict(row["properties"])
        for column in schema.columns:
            if column.name in values and _may_be_missing(column, schema):
                values[column.name] = _nullable(values[column.name], version)
        document["items"] = {**row, "properties": values}
    elif row.get("type") == "array":
        values = row["items"]
        if "type" in values and schema.allows_nan is not False:
            values = _nullable(values, version)
        document["items"] = {**row, "items": values, "minItems": schema.width, "maxItems": schema.width}
    return document


def _may_be_missing(column: Column, schema: ModelSchema) -> bool:
    return schema.allows_nan is not False if column.nullable is None else column.nullable


def _column(column: Column, schema: ModelSchema, version: str) -> dict[str, Json]:
    document = dict(_NUMBER if column.type is None and schema.numeric else _TYPES[column.type])
    if document and _may_be_missing(column, schema):
        document = _nullable(document, version)
    if column.categories:
        seen = ", ".join(str(value) for value in column.categories[:50])
        document["description"] = f"Seen in training: {seen}{', …' if len(column.categories) > 50 else ''}"
        if column.closed and len(column.categories) <= MANY:
            document["enum"] = [*column.categories, *([None] if _may_be_missing(column, schema) else [])]
    return document


def _nullable(document: Mapping[str, Json], version: str) -> dict[str, Json]:
    if version == "2.0":
        return {**document, "x-nullable": True}
    if version == "3.0.3":
        return {**document, "nullable": True}
    return {**document, "type": [document["type"], "null"]}


def _answer(target: Target, method: str, version: str) -> dict[str, Json]:
    """What a method gives, as far as it is sure: a model may answer with one value a row or with several."""
    value: dict[str, Json] = {}
    classes = target.description.get("classes")
    if method in ("predict_proba", "predict_log_proba") and isinstance(classes, list) and classes:
        several = isinstance(classes[0], list)
        if not several:
            value = {"type": "array", "items": _nullable(_NUMBER, version)}
    return {"type": "array", "items": value, "description": _ANSWERS.get(method, "One entry a row.")}


_ANSWERS: Final = {
    "predict": "One prediction a row, in the shape that the model gives.",
    "predict_proba": "One probability a class, a row. The order of classes: ?classes=1.",
    "kneighbors": "Two lists: distances and positions of the nearest neighbours, a row each.",
    "radius_neighbors": "Two lists: distances and positions of the neighbours, a row each.",
}


def _text_path(operation: str, text: str, kind: str = "text/plain") -> dict[str, Json]:
    content: Any = {kind: {"schema": {"type": "object"} if kind == _JSON else {"type": "string"}}}
    return {
        "get": {
            "operationId": operation,
            "tags": ["gateway"],
            "description": text,
            "responses": {"200": {"description": "As described.", "content": content}, "default": _failed()},
        }
    }


_GATEWAY_PATHS: Final[dict[str, Json]] = {
    "/": _text_path("ServiceHealthCheck", "Says Healthy while the gateway is up.", "text/html"),
    "/healthz": _text_path("healthz", "200 while the gateway is up.", _JSON),
    "/readyz": _text_path(
        "readyz", "200 when the gateway can start its models; with ?strict=1 when each of them answers.", _JSON
    ),
    "/models": _text_path("models", "All models with their versions and states.", _JSON),
    "/openapi.json": _text_path("openapi", "This document.", _JSON),
}
