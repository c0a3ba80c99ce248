import json
from typing import Any

import openapi_schema_validator
import openapi_spec_validator
import pytest

from gateway.errors import SwaggerVersionNotFound, SwaggerVersionUnsupported
from gateway.http.openapi import gateway_openapi, service_input, swagger
from gateway.protocols.azure import Azure
from gateway.types import Target
from tests.gateway.protocols.wire import NAMED, PLAIN, TEXT, call, target

MODELS = {
    "plain": target(methods=("predict", "predict_proba", "decision_function", "kneighbors")),
    "named": target(NAMED),
    "text": target(TEXT, ("predict", "predict_proba")),
    "label": target({"kind": "list", "item": "label", "classes": ["a", "b"]}, ("transform", "inverse_transform")),
    "unknown": Target("new", 1, (), {}, None),
    "empty": target({}, ("predict",)),
    "with a sample": target(PLAIN, sample=("s.csv", b"a,b,c,d\n1,2,3,4.5\n")),
    "with a frame": target(NAMED, sample=("s.csv", b"age,income,town,member\n1,2,Bern,true\n,,,\n")),
    "with texts": target(TEXT, sample=("s.json", b'["buy", "sell"]')),
    "several outputs": target(PLAIN | {"classes": [[0, 1], ["a", "b"]], "n_outputs": 2}, ("predict", "predict_proba")),
    "names of numbers": target({"kind": "array", "feature_names": ["a", "b"]}),
    "names of numbers, with a sample": target(
        {"kind": "array", "feature_names": ["a", "b"]}, sample=("s.csv", b"a,b\n1,2\n,4\n")
    ),
    "10,000 columns": target({"kind": "columns", "feature_names": [f"x{i}" for i in range(10_000)]}),
}


@pytest.mark.parametrize("version", ["2", "2.0", "3", "3.0", "3.1"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("prefix", ["", "/api/v1/service/iris"])
def test_every_document_is_valid(model: str, version: str, prefix: str) -> None:
    document = json.loads(json.dumps(swagger(MODELS[model], version, prefix)))
    openapi_spec_validator.validate(document)
    assert list(document["paths"]) == [f"{prefix}/", f"{prefix}/score", f"{prefix}/swagger.json"]
    operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert operations == ["ServiceHealthCheck", "RunMLService", "GetSwaggerSpec"]


def test_swagger_2_has_the_shape_that_azures_clients_read() -> None:
    document = swagger(MODELS["plain"])
    assert document["swagger"] == "2.0"
    assert document["schemes"] == ["https"]
    assert document["consumes"] == document["produces"] == ["application/json"]
    assert document["securityDefinitions"]["Bearer"]["name"] == "Authorization"
    assert set(document["definitions"]) == {"ServiceInput", "ServiceOutput", "ErrorResponse"}
    score = document["paths"]["/score"]["post"]
    assert score["parameters"][0]["name"] == "serviceInputPayload"
    assert score["parameters"][0]["schema"] == {"$ref": "#/definitions/ServiceInput"}
    assert score["responses"]["200"]["schema"] == {"$ref": "#/definitions/ServiceOutput"}
    assert score["responses"]["default"]["schema"] == {"$ref": "#/definitions/ErrorResponse"}


@pytest.mark.parametrize(("asked", "named"), [("3", "3.0.3"), ("3.0", "3.0.3"), ("3.1", "3.1.0")])
def test_openapi_3_names_its_version_and_the_same_schemas(asked: str, named: str) -> None:
    document = swagger(MODELS["plain"], asked)
    assert document["openapi"] == named
    assert set(document["components"]["schemas"]) == {"ServiceInput", "ServiceOutput", "ErrorResponse"}


@pytest.mark.parametrize("version", ["9", "", "2.1", "x" * 1000])
def test_another_version_gets_azures_sentence(version: str) -> None:
    with pytest.raises(SwaggerVersionNotFound) as caught:
        swagger(MODELS["plain"], version)
    assert str(caught.value) == f"Swagger version [{version[:20]}] is not valid. Supported versions: [2, 3, 3.1]."


def test_the_input_tells_columns_types_methods_and_an_example() -> None:
    document = swagger(MODELS["named"], "3.1")["components"]["schemas"]["ServiceInput"]
    items = document["properties"]["data"]["items"]
    assert items["required"] == ["age", "income", "town", "member"]
    assert items["properties"]["age"] == {"type": ["number", "null"], "format": "double"}
    assert items["properties"]["town"]["description"] == "Seen in training: Bern, Rome"
    assert document["example"] == {"data": [{"age": 0.0, "income": 0.0, "town": "Bern", "member": False}]}
    assert document["properties"]["method"]["enum"] == ["predict", "decision_function"]
    assert document["properties"]["method"]["default"] == "predict"


def test_a_sample_gives_the_example_and_inference_schemas_words() -> None:
    data = swagger(MODELS["with a frame"])["definitions"]["ServiceInput"]["properties"]["data"]
    assert data["format"] == "pandas.DataFrame:records"
    assert data["example"][0] == {"age": 1, "income": 2, "town": "Bern", "member": True}


def test_the_output_tells_methods_and_labels() -> None:
    output = swagger(MODELS["plain"])["definitions"]["ServiceOutput"]
    assert set(output["properties"]) == {"predict", "predict_proba", "decision_function", "kneighbors", "classes"}
    assert output["properties"]["classes"]["example"] == [0, 1, 2]


def test_one_document_for_the_gateway_is_valid_and_has_a_path_for_each_method() -> None:
    def renamed(name: str, one: Target) -> Target:
        return Target(name, one.version, one.methods, one.description, one.schema)

    targets = [renamed(name.replace(" ", "-").replace(",", "."), one) for name, one in MODELS.items()]
    document: Any = json.loads(json.dumps(gateway_openapi(targets, "fitserve", "0.1.0")))
    openapi_spec_validator.validate(document)
    assert "/models/plain/score" in document["paths"]
    assert "/models/plain/kneighbors" in document["paths"]
    assert "/models/plain/transform" not in document["paths"]
    assert "post" in document["paths"]["/v2/models/{model}/infer"]
    assert "get" in document["paths"]["/v1/models/{model}"]
    operations = [op["operationId"] for path in document["paths"].values() for op in path.values()]
    assert len(set(operations)) == len(operations)


def test_the_default_of_a_registration_is_documented() -> None:
    one = target(methods=("predict", "predict_proba"), settings={"default_method": "predict"})
    method = swagger(one)["definitions"]["ServiceInput"]["properties"]["method"]
    assert method["default"] == "predict"


def nulls_allowed(document: Any) -> Any:
    """Swagger 2's and OpenAPI 3.0's word for null, as JSON schema has it."""
    if isinstance(document, list):
        return [nulls_allowed(part) for part in document]
    if not isinstance(document, dict):
        return document
    found = {key: nulls_allowed(part) for key, part in document.items()}
    if found.pop("nullable", False) or found.pop("x-nullable", False):
        found["type"] = [found["type"], "null"]
    return found


@pytest.mark.parametrize("version", ["2", "3", "3.1"])
@pytest.mark.parametrize("model", MODELS)
def test_an_example_is_what_its_schema_says(model: str, version: str) -> None:
    document = json.loads(json.dumps(swagger(MODELS[model], version)))
    schemas = document["definitions"] if version == "2" else document["components"]["schemas"]
    schema = nulls_allowed(schemas["ServiceInput"])
    for example in [schema["example"]] if "example" in schema else []:
        openapi_schema_validator.OAS31Validator(schema).validate(example)
        assert Azure().parse(call(example), MODELS[model]).n_rows


def test_numbers_of_a_frame_are_documented_as_numbers() -> None:
    description = {"kind": "array", "feature_names": ["a", "b"], "allows_nan": False}
    data = swagger(target(description), "3.1")["components"]["schemas"]["ServiceInput"]["properties"]["data"]
    assert data["items"]["properties"]["a"] == {"type": "number", "format": "double"}


def test_what_the_model_refuses_is_not_documented_as_taken() -> None:
    encoder = {
        "kind": "columns",
        "feature_names": ["town"],
        "categories": {"town": ["Bern", "Rome"]},
        "closed_categories": ["town"],
        "allows_nan": False,
    }
    town = swagger(target(encoder), "3.1")["components"]["schemas"]["ServiceInput"]["properties"]["data"]["items"]
    assert town["properties"]["town"]["enum"] == ["Bern", "Rome"]
    for version in ("2", "3", "3.1"):
        openapi_spec_validator.validate(
            json.loads(json.dumps(swagger(target(encoder | {"allows_nan": True}), version)))
        )
    rows = service_input(MODELS["with a sample"], "3.1.0")["properties"]["data"]["items"]
    assert (rows["minItems"], rows["maxItems"]) == (4, 4)


def test_nothing_is_said_of_a_model_that_was_never_loaded() -> None:
    schema = swagger(MODELS["unknown"], "3.1")["components"]["schemas"]["ServiceInput"]
    assert schema["properties"] == {"data": {"type": "array", "items": {}}}
    assert "example" not in schema


def script(**described: Any) -> Target:
    return Target("mine", 1, ("run",), {"kind": "script", "class": "score.py", **described}, None)


def test_a_script_is_documented_by_its_decorators() -> None:
    given, gives = {"type": "object", "properties": {"a": {"type": "array"}}}, {"type": "object", "required": ["x"]}
    target = script(input_schema=given, output_schema=gives, swagger_versions=["3.0", "3.1"])
    schemas = swagger(target, "3")["components"]["schemas"]
    assert (schemas["ServiceInput"], schemas["ServiceOutput"]) == (given, gives)
    with pytest.raises(SwaggerVersionUnsupported, match=r"\[2\] is not supported for the scoring script.*\[3, 3\.1\]"):
        swagger(target, "2")
    openapi_spec_validator.validate(json.loads(json.dumps(gateway_openapi([target], "all", "1"))))


def test_a_script_without_decorators_is_documented_as_azure_does() -> None:
    definitions = swagger(script())["definitions"]
    assert definitions["ServiceInput"] == definitions["ServiceOutput"] == {"type": "object", "example": {}}
