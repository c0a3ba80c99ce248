import contextlib
import gzip
import json
import math
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dataplane.collate import join
from gateway.errors import InvalidRequest, SchemaMismatch, UnknownMethod
from gateway.protocols.open_inference import OpenInference
from gateway.protocols.open_inference_models import VIEWS
from gateway.protocols.open_inference_stats import statistics
from gateway.types import Answer, Asked, Known, Output, Target
from registry.errors import CallerError, ModelNotFound
from tests.gateway.protocols.wire import NAMED, PLAIN, TEXT, array_of, call, columns_of, result, target, values_of

v2 = OpenInference()
IRIS = target(PLAIN, ("predict", "predict_proba"))
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3]]
LENGTH = b"inference-header-content-length"


def tensor(
    data: Any = ROWS, shape: Any = (2, 4), datatype: str = "FP64", name: str = "x", **more: Any
) -> dict[str, Any]:
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": data, **more}


def body(*inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"inputs": list(inputs) or [tensor()], **more}


def binary_call(head: dict[str, Any], *parts: bytes, headers: dict[bytes, bytes] | None = None) -> Any:
    text = json.dumps(head).encode()
    return call(text + b"".join(parts), headers={LENGTH: str(len(text)).encode(), **(headers or {})})


def answer(head: dict[str, Any], output: Output, whom: Target = IRIS, **more: Any) -> Answer:
    request = v2.parse(call(head, **more), whom)
    given = v2.format(request, result(output), whom)
    assert isinstance(given, Answer)
    return given


def test_nested_and_flat_data_are_the_same() -> None:
    flat = [value for row in ROWS for value in row]
    for data in (ROWS, flat):
        request = v2.parse(call(body(tensor(data)), headers={}), IRIS)
        assert request.method == "predict"
        assert array_of(request).tolist() == ROWS


def test_the_answer_is_flat_with_shape_and_the_id_comes_back() -> None:
    given = json.loads(answer(body(id="mine", outputs=[{"name": "predict_proba"}]), np.array([[0.25, 0.75]])).body)
    assert given == {
        "model_name": "iris",
        "model_version": "3",
        "id": "mine",
        "outputs": [{"name": "predict_proba", "shape": [1, 2], "datatype": "FP64", "data": [0.25, 0.75]}],
    }
    assert len(json.loads(answer(body(), np.array([1])).body)["id"]) == 36


@pytest.mark.parametrize(
    ("output", "datatype", "data"),
    [
        (np.array([1, 2]), "INT64", [1, 2]),
        (np.array([True]), "BOOL", [True]),
        (np.array([0.1], np.float32), "FP32", [float(np.float32(0.1))]),
        (np.array([0.5], np.float16), "FP32", [0.5]),
        (np.array(["ja", None], object), "BYTES", ["ja", ""]),
        (np.array([1, 2.5], object), "FP64", [1.0, 2.5]),
        (np.array([math.nan, math.inf]), "FP64", [None, None]),
        (np.array([1], ">i4"), "INT32", [1]),
        (np.array(["2026-01-01"], "datetime64[D]"), "BYTES", ["2026-01-01"]),
    ],
)
def test_datatypes_of_answers(output: Output, datatype: str, data: list[Any]) -> None:
    (given,) = json.loads(answer(body(), output).body)["outputs"]
    assert (given["datatype"], given["data"]) == (datatype, data)


def test_several_arrays_are_several_outputs() -> None:
    given = json.loads(answer(body(), (np.array([[0.5]]), np.array([[7]]))).body)["outputs"]
    assert [(one["name"], one["data"]) for one in given] == [("predict-0", [0.5]), ("predict-1", [7])]


def test_classes_come_on_request() -> None:
    for more in ({"include": ["classes"]}, {}):
        query = b"" if more else b"classes=1"
        given = json.loads(answer(body(**more), np.array([1]), query=query).body)["outputs"]
        assert given[1] == {"name": "classes", "shape": [3], "datatype": "INT64", "data": [0, 1, 2]}


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT64", "UINT8"])
def test_all_four_combinations_of_binary_and_json(binary_in: bool, binary_out: bool, datatype: str) -> None:
    dtype = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "UINT8": "|u1"}[datatype]
    rows = np.array([[5.1, 3.5, 1.4, 0.2]], dtype)
    outputs = [{"name": "predict", "parameters": {"binary_data": binary_out}}]
    if binary_in:
        spec = tensor(None, (1, 4), datatype, parameters={"binary_data_size": rows.nbytes})
        del spec["data"]
        request = v2.parse(binary_call(body(spec, outputs=outputs), rows.tobytes()), IRIS)
    else:
        request = v2.parse(call(body(tensor(rows.tolist(), (1, 4), datatype), outputs=outputs)), IRIS)
    array = array_of(request)
    assert array.dtype == np.float64
    assert array.tolist() == rows.astype(np.float64).tolist()
    given = v2.format(request, result(np.array([0.1, math.nan])), IRIS)
    if not binary_out:
        assert given.content_type == "application/json"
        assert json.loads(given.body)["outputs"][0]["data"] == [0.1, None]
        return
    assert given.content_type == "application/octet-stream"
    length = int(dict(given.headers)["Inference-Header-Content-Length"])
    head = json.loads(given.body[:length])
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert "data" not in head["outputs"][0]
    np.testing.assert_array_equal(np.frombuffer(given.body[length:], "<f8"), [0.1, math.nan])


def test_several_outputs_in_one_request_each_in_its_own_form_and_order() -> None:
    binary = {"parameters": {"binary_data": True}}
    outputs = [{"name": "predict_proba", **binary}, {"name": "classes"}, {"name": "predict"}]
    request = v2.parse(call(body(outputs=outputs)), IRIS)
    assert (request.method, request.key) == ("predict_proba,predict", None)  # one frame, shared with nobody
    assert array_of(request).tolist() == ROWS
    proba, labels = np.array([[0.5, 0.25, 0.25], [0, 0, 1]]), np.array([0, 2])
    given = v2.format(request, result((proba, labels)), IRIS)
    size = int(dict(given.headers)["Inference-Header-Content-Length"])
    first, classes, last = json.loads(given.body[:size])["outputs"]
    assert (first["name"], first["shape"]) == ("predict_proba", [2, 3])
    assert first["parameters"] == {"binary_data_size": len(given.body) - size}
    assert np.frombuffer(given.body[size:]).tolist() == proba.reshape(-1).tolist()
    assert (classes["name"], classes["data"]) == ("classes", [0, 1, 2])
    assert (last["name"], last["datatype"], last["data"]) == ("predict", "INT64", [0, 2])


def test_an_output_of_several_arrays_among_several_outputs() -> None:
    whom = target(PLAIN, ("predict", "kneighbors"))
    request = v2.parse(call(body(outputs=[{"name": "kneighbors"}, {"name": "predict"}])), whom)
    parts = ((np.array([[0.5]]), np.array([[7]])), np.array([1]))
    given = json.loads(v2.format(request, result(parts), whom).body)["outputs"]
    assert [(one["name"], one["data"]) for one in given] == [
        ("kneighbors-0", [0.5]),
        ("kneighbors-1", [7]),
        ("predict", [1]),
    ]


def test_inputs_of_another_kind_are_not_mixed() -> None:
    whom = target(PLAIN, ("transform", "inverse_transform"))
    with pytest.raises(InvalidRequest, match="'inverse_transform' takes other inputs than the rest: ask for it alone"):
        v2.parse(call(body(outputs=[{"name": "transform"}, {"name": "inverse_transform"}])), whom)


@pytest.mark.parametrize(
    ("classes", "expected"), [(["a", "b", "c"], ["0.500000:1:b", "0.400000:0:a"]), (None, ["0.500000:1", "0.400000:0"])]
)
def test_classification_gives_the_best_classes_of_each_row(classes: Any, expected: list[str]) -> None:
    whom = target({**PLAIN, "classes": classes}, ("predict", "predict_proba"))
    head = body(outputs=[{"name": "predict_proba", "parameters": {"classification": 2, "other": 1}}])
    given = v2.format(v2.parse(call(head), whom), result(np.array([[0.4, 0.5, 0.1]])), whom)
    (output,) = json.loads(given.body)["outputs"]
    assert output == {"name": "predict_proba", "shape": [1, 2], "datatype": "BYTES", "data": expected}
    with pytest.raises(InvalidRequest, match="no number for each class"):
        v2.format(v2.parse(call(head), whom), result(np.array([1])), whom)


def test_binary_output_for_all_and_the_outputs_own_word() -> None:
    everything = {"parameters": {"binary_data_output": True}}
    assert answer(body(**everything), np.array([1])).content_type == "application/octet-stream"
    own = body(outputs=[{"name": "predict", "parameters": {"binary_data": False}}], **everything)
    assert answer(own, np.array([1])).content_type == "application/json"


def test_binary_text_in_and_out() -> None:
    texts = ["buy", "", "näin 🦜"]
    data = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)
    spec = {"name": "x", "shape": [3], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    whom = target(TEXT)
    request = v2.parse(binary_call(body(spec, parameters={"binary_data_output": True}), data), whom)
    assert values_of(request) == texts
    given = v2.format(request, result(np.array(texts, object)), whom)
    length = int(dict(given.headers)["Inference-Header-Content-Length"])
    assert given.body[length:] == data


def test_text_models_take_columns_of_text_and_base64() -> None:
    whom = target(TEXT)
    assert values_of(v2.parse(call(body(tensor(["buy", "sell"], (2, 1), "BYTES"))), whom)) == ["buy", "sell"]
    coded = tensor(["YnV5"], (1,), "BYTES", parameters={"content_type": "base64"})
    assert values_of(v2.parse(call(body(coded)), whom)) == ["buy"]
    assert values_of(
        v2.parse(call(body(tensor(["YnV5"], (1,), "BYTES", parameters={"content_type": "str"}))), whom)
    ) == ["YnV5"]


def test_tensors_are_named_columns() -> None:
    columns = [
        tensor(["Rome", "Bern"], (2,), "BYTES", "town"),
        tensor([True, False], (2, 1), "BOOL", "member"),
        tensor([41, 7], (2,), "INT64", "age"),
        tensor([1.5, None], (2,), "FP64", "income"),
    ]
    for more in ({}, {"parameters": {"content_type": "pd"}}):
        found = columns_of(v2.parse(call(body(*columns, **more)), target(NAMED)))
        assert found["town"] == ["Rome", "Bern"]
        assert found["member"] == [True, False]
        assert found["age"] == [41.0, 7.0]
        assert found["income"][0] == 1.5
        assert math.isnan(found["income"][1])
    with pytest.raises(SchemaMismatch, match="missing column 'income'"):
        v2.parse(call(body(*columns[:3])), target(NAMED))


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ({}, "inputs must be a list of tensors"),
        ({"inputs": []}, "inputs must be a list of tensors"),
        (body(tensor(shape=[3, 4])), "input 'x' has 8 values; its shape asks for 12"),
        (body(tensor(shape=[-1, 4])), "the shape of input 'x' must be a list of sizes"),
        (body(tensor(shape=[])), "the shape of input 'x' must be a list of sizes"),
        (body(tensor(shape=[2**39, 2**39])), "input 'x' has 8 values"),
        (body(tensor(datatype="FP8")), "the datatype of input 'x' must be one of BOOL"),
        (body(tensor(datatype="FP16")), "input 'x': FP16 can be sent as binary data only"),
        (body(tensor("abc")), "input 'x' has no data"),
        (body(tensor([[1, 2, 3, 4], 5])), "row 1 (counted from 0): expected a list of values, got the number 5"),
        (
            body(tensor([[1, 2, 3, "4"]], [1, 4])),
            "row 0, column 3 (counted from 0): expected a number, got the string '4'",
        ),
        (
            body(tensor([[1, 2, 3, 4.5]], [1, 4], "INT64")),
            "input 'x', value 3 (counted from 0): the number 4.5 is no INT64",
        ),
        (
            body(tensor([[1, 2, 3, 256]], [1, 4], "UINT8")),
            "input 'x', value 3 (counted from 0): the number 256 is no UINT8",
        ),
        (body(tensor([[1, 2, 3, None]], [1, 4], "INT32")), "input 'x', value 3 (counted from 0): null is no INT32"),
        (body(tensor([[1, 2, 3]], [1, 3])), "the model takes 4 values a row; row 0 (counted from 0) has 3"),
        (body(tensor([1, 2, 3, 4], [4])), "the input must be a list of rows"),
        (body(tensor([[[1, 2, 3, 4]]], [1, 1, 4])), "the model takes 4 values a row"),
        (body(tensor([[1, 2, 3, None]], [1, 4])), "row 0, column 3 (counted from 0): the value is missing"),
        (body(tensor([], [0, 4])), "the input holds no rows"),
        (body(outputs=[{"name": "fit"}]), "the model has no method 'fit'; it has: predict, predict_proba"),
        (body(outputs=[{"name": "predict"}, {"name": "fit"}]), "the model has no method 'fit'"),
        (body(outputs=[{"name": "predict"}, {"name": "predict"}]), "output 'predict' is asked for twice"),
        (body(outputs=[{"name": "classes"}]), "output 'classes' comes beside that of a method: predict, predict_proba"),
        (body(outputs=[{"name": "predict", "parameters": {"classification": "3"}}]), "the parameter classification"),
        (body(tensor([[1, 2, 3, 4], 5], datatype="FP32")), "input 'x': data is nested unevenly"),
        (body(tensor([1, 2, 3, "4"], [1, 4], "FP32")), "input 'x', value 3 (counted from 0): expected a number"),
        (body(parameters=3), "parameters must be an object"),
        (body(tensor(datatype=["FP64"])), "the datatype of input 'x' must be one of"),
        (body(tensor(), tensor(name="y")), "input 'x' is one of several"),
    ],
)
def test_what_is_no_request_is_refused_with_the_reason(head: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CallerError) as caught:
        join([v2.parse(call(head), IRIS)])
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("length", [b"0", b"-1", b"x", b"99999"])
def test_a_wrong_header_length_is_refused(length: bytes) -> None:
    with pytest.raises(InvalidRequest, match="Inference-Header-Content-Length"):
        v2.parse(call(body(), headers={LENGTH: length}), IRIS)


def test_binary_sizes_must_fit() -> None:
    def spec(size: Any) -> dict[str, Any]:
        return {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": size}}

    for size, parts, sentence in (
        (16, b"\0" * 12, "binary_data_size is larger"),
        (12, b"\0" * 12, "has 12 bytes of binary data; its shape and datatype ask for 16"),
        (16, b"\0" * 20, "4 bytes of binary data belong to no input"),
        ("16", b"\0" * 16, "binary_data_size is larger"),
    ):
        with pytest.raises(InvalidRequest, match=sentence):
            v2.parse(binary_call(body(spec(size)), parts), IRIS)
    text = {"name": "x", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}
    for parts in (b"\x03\0\0\0ab", b"\x01\0\0\0ab", b"\x02\0\0\0\xff\xfe"):
        with pytest.raises(InvalidRequest, match=r"does not hold 1 texts|is not UTF-8"):
            v2.parse(binary_call(body(text), parts), target(TEXT))


@pytest.mark.parametrize(
    ("asked", "unpack"),
    [
        (b"gzip, deflate", gzip.decompress),
        (b"deflate", zlib.decompress),
        (b"gzip;q=0, deflate;q=0.5", zlib.decompress),
        (b"GZIP; q=1.0, identity", gzip.decompress),
    ],
)
def test_answers_are_compressed_for_those_that_ask(asked: bytes, unpack: Any) -> None:
    long = np.arange(1000.0)
    given = answer(body(id="x"), long, headers={b"accept-encoding": asked})
    assert dict(given.headers)["Content-Encoding"] in asked.decode().lower()
    for refused in (b"gzip;q=0.0", b"identity", b"br, zstd"):
        assert answer(body(id="x"), long, headers={b"accept-encoding": refused}).headers == ()
    plain = answer(body(id="x"), long)
    assert plain.headers == ()
    assert unpack(given.body) == plain.body


def test_errors_are_an_error_key_and_unknown_models_begin_as_the_protocol_says() -> None:
    assert json.loads(v2.error("no")) == {"error": "no"}
    text = json.loads(v2.error("model 'x' is not registered", ModelNotFound("x")))["error"]
    assert text.startswith("Request for unknown model")


class Shelf:
    """A catalogue of one model."""

    loaded: tuple[str, ...] = ()

    def names(self) -> list[str]:
        return ["iris"]

    def default(self) -> str:
        return "iris"

    def known(self, model: str, version: int | None = None) -> Known:
        if model != "iris" or version not in (None, 2, 3):
            raise ModelNotFound(model, version)
        failed = version == 2
        return Known(IRIS, not failed, "failed" if failed else "live", "too large" if failed else None, (2, 3))

    async def unload(self, model: str) -> None:
        self.known(model)

    async def load(self, model: str) -> None:
        self.loaded += (model,)

    async def counted(self) -> dict[str, Any]:
        histograms = {"wait": [0.5, 2, 1], "compute": [0.25, 3], "batch": [4, 3]}
        return {"iris": {"failures": {"3 400": 2, "- 503": 1}, "versions": {"3": {"answers": 4, **histograms}}}}


def test_statistics_say_what_was_counted_as_triton_does() -> None:
    for path, values in {
        "/v2/models/{model}/stats": {"model": "iris"},
        "/v2/models/{model}/versions/{version}/stats": {"model": "iris", "version": "3"},
        "/v2/models/stats": {},
    }.items():
        (told,) = look(path, **values)[1]["model_stats"]
        assert (told["name"], told["version"]) == ("iris", "3")
        assert (told["inference_count"], told["execution_count"]) == (4, 3)
        of = told["inference_stats"]
        assert of["success"] == {"count": 4, "ns": 750_000_000}
        assert of["fail"]["count"] == 2
        assert of["queue"] == {"count": 3, "ns": 500_000_000}
        assert of["compute_infer"] == {"count": 3, "ns": 250_000_000}
    never = statistics("iris", 2, {})
    assert (never["inference_count"], never["execution_count"]) == (0, 0)


def look(path: str, verb: str = "GET", content: bytes = b"", **values: str) -> Any:
    import asyncio

    shelf = Shelf()
    (view,) = [view for view in VIEWS if (view.path, view.verb) == (path, verb)]
    answering: Any = view.answer(shelf, Asked(values, {}, content))
    given: Answer = asyncio.run(answering)
    return given.status, json.loads(given.body)


def test_metadata_health_and_repository() -> None:
    assert look("/v2")[1]["extensions"][0] == "binary_tensor_data"
    assert look("/v2/") == look("/v2")
    assert look("/v2/health/live") == (200, {"live": True})
    assert look("/v2/health/ready") == (200, {"ready": True})
    status, model = look("/v2/models/{model}", model="iris")
    assert (status, model["versions"]) == (200, ["2", "3"])
    assert model["inputs"] == [{"name": "input-0", "datatype": "FP64", "shape": [-1, 4]}]
    assert model["outputs"] == [
        {"name": "predict", "datatype": "INT64", "shape": [-1]},
        {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 3]},
    ]
    assert look("/v2/models/{model}/ready", model="iris") == (200, {"name": "iris", "ready": True})
    assert look("/v2/models/{model}/versions/{version}/ready", model="iris", version="2")[0] == 503
    assert look("/v2/models/{model}/config", model="iris")[1]["input"][0]["data_type"] == "TYPE_FP64"
    assert look("/v2/repository/models/{model}/load", "POST", model="iris") == (200, {})
    for content in (b"{}", b"null", b'{"parameters": null}', b'{"parameters": {"config": "{}"}}'):
        assert look("/v2/repository/models/{model}/load", "POST", content, model="iris") == (200, {})
    everything = look("/v2/repository/index", "POST")[1]
    assert [(entry["version"], entry["state"], entry["reason"]) for entry in everything] == [
        ("2", "UNAVAILABLE", "too large"),
        ("3", "READY", ""),
    ]
    assert len(look("/v2/repository/index", "POST", b'{"ready": true}')[1]) == 1
    assert look("/v2/repository/models/{model}/unload", "POST", model="iris") == (200, {})
    with pytest.raises(InvalidRequest):
        look("/v2/models/{model}/versions/{version}", model="iris", version="x")
    with pytest.raises(UnknownMethod):
        v2.parse(call(body(outputs=[{"name": 3}])), IRIS)


def test_a_load_that_brings_a_file_is_refused() -> None:
    for name in ("file:1/model.joblib", "file:"):
        content = json.dumps({"parameters": {"config": "{}", name: "AAAA"}}).encode()
        with pytest.raises(InvalidRequest, match="registered, not uploaded"):
            look("/v2/repository/models/{model}/load", "POST", content, model="iris")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "age", "town", 3]),
        "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON_VALUES,
        "datatype": st.sampled_from(["FP64", "FP32", "FP16", "INT64", "UINT64", "UINT8", "BOOL", "BYTES", "?"])
        | JSON_VALUES,
        "data": JSON_VALUES,
        "parameters": st.none()
        | st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 30), "content_type": JSON_VALUES}),
    },
)
BODIES = st.fixed_dictionaries(
    {"inputs": st.lists(SPECS, max_size=3) | JSON_VALUES},
    optional={"id": JSON_VALUES, "outputs": JSON_VALUES, "parameters": JSON_VALUES, "include": JSON_VALUES},
)


@settings(max_examples=500, deadline=None)
@given(
    whom=st.sampled_from([IRIS, target(NAMED), target(TEXT), target({}, ("predict",))]),
    head=BODIES,
    tail=st.binary(max_size=40),
    binary=st.booleans(),
)
def test_any_request_is_read_or_refused(whom: Target, head: Any, tail: bytes, binary: bool) -> None:
    with contextlib.suppress(CallerError):
        request = v2.parse(binary_call(head, tail) if binary else call(head), whom)
        join([request])
        v2.format(request, result(np.array([1.5])), whom)


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=100), length=st.none() | st.integers(-5, 200))
def test_any_bytes_are_read_or_refused(body: bytes, length: int | None) -> None:
    headers = {} if length is None else {LENGTH: str(length).encode()}
    with contextlib.suppress(CallerError):
        v2.parse(call(body, headers=headers), IRIS)


def test_metadata_is_what_recorded_answers_have() -> None:
    from dataclasses import replace

    from gateway.protocols.open_inference_models import outputs_of

    seen = {"predict": [["<U1", [-1]]], "kneighbors": [["<f8", [-1, 5]], ["<i8", [-1, 5]]]}
    known = replace(
        target(PLAIN),
        methods=("predict", "transform", "kneighbors", "inverse_transform"),
        description={"answers": seen},
    )
    assert outputs_of(known) == [
        {"name": "predict", "datatype": "BYTES", "shape": [-1]},
        {"name": "kneighbors-0", "datatype": "FP64", "shape": [-1, 5]},
        {"name": "kneighbors-1", "datatype": "INT64", "shape": [-1, 5]},
    ]
