import asyncio
import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.collate import join
from gateway.protocols.kserve_v1 import KServeV1
from gateway.types import Answer, Asked, Call, Known, ScoreRequest
from registry.errors import CallerError, ModelNotFound
from tests.gateway.protocols.wire import NAMED, PLAIN, array_of, call, columns_of, result, target

v1 = KServeV1()
IRIS = target(PLAIN, ("predict", "predict_proba"))
ROW = [5.1, 3.5, 1.4, 0.2]


def parsed(instances: Any, **more: Any) -> ScoreRequest:
    return v1.parse(call({"instances": instances, **more}, headers={}), IRIS)


def test_instances_become_predictions() -> None:
    request = parsed([ROW])
    assert request.method == "predict"
    assert array_of(request).tolist() == [ROW]
    assert json.loads(v1.format(request, result(np.array([2])), IRIS)) == {"predictions": [2]}


def test_classes_on_request() -> None:
    request = parsed([ROW], include=["classes"])
    assert json.loads(v1.format(request, result(np.array([2])), IRIS)) == {"predictions": [2], "classes": [0, 1, 2]}


@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [value]])
def test_records_values_may_be_lists(wrap: Any) -> None:
    record = {"town": "Rome", "member": True, "age": 41, "income": 1.5}
    instances = [{name: wrap(value) for name, value in record.items()}]
    found = columns_of(v1.parse(call({"instances": instances}), target(NAMED)))
    assert found == {"age": [41.0], "income": [1.5], "town": ["Rome"], "member": [True]}


def test_a_record_of_one_list_is_the_row() -> None:
    assert array_of(parsed([{"x": ROW}, {"x": ROW}])).tolist() == [ROW, ROW]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"rows": [ROW]}, "A value is not provided for the 'instances' parameter."),
        ({"inputs": [ROW], "instances": [ROW]}, "the body has both 'instances' and 'inputs'"),
        ({"instances": ROW}, "instances must be a list of rows"),
        ({"instances": []}, "instances holds no rows"),
        ({"instances": [[]]}, "the model takes 4 values a row"),
    ],
)
def test_what_is_no_request_is_refused(body: Any, sentence: str) -> None:
    with pytest.raises(CallerError) as caught:
        array_of(v1.parse(call(body), IRIS))
    assert str(caught.value).startswith(sentence)
    assert json.loads(v1.error(str(caught.value))) == {"error": str(caught.value)}


class Shelf:
    def __init__(self, ready: bool) -> None:
        self.ready = ready

    def names(self) -> list[str]:
        return ["iris"]

    def known(self, model: str, version: int | None = None) -> Known:
        if model != "iris":
            raise ModelNotFound(model, version)
        return Known(IRIS, self.ready, "live", None, (3,))


def look(path: str, ready: bool = True, **values: str) -> Answer:
    (view,) = [view for view in v1.views if view.path == path]
    shelf: Any = Shelf(ready)
    answering: Any = view.answer(shelf, Asked(values, {}))
    answer: Answer = asyncio.run(answering)
    return answer


def test_models_are_listed_and_tell_whether_they_are_ready() -> None:
    assert json.loads(look("/v1/models").body) == {"models": ["iris"]}
    assert json.loads(look("/v1/models/{model}", model="iris").body) == {"name": "iris", "ready": True}
    assert look("/v1/models/{model}", ready=False, model="iris").status == 503
    with pytest.raises(ModelNotFound):
        look("/v1/models/{model}", model="nobody")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(
    body=st.binary(max_size=60)
    | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    | JSON_VALUES.map(lambda value: json.dumps({"instances": value}).encode())
    | st.lists(st.dictionaries(st.sampled_from(["age", "income", "town", "member", "x"]), JSON_VALUES), max_size=3).map(
        lambda rows: json.dumps({"instances": rows}).encode()
    ),
    named=st.booleans(),
)
def test_any_body_becomes_a_request_or_a_callers_error(body: bytes, named: bool) -> None:
    whom = target(NAMED) if named else IRIS
    with contextlib.suppress(CallerError):  # anything else fails the test
        assert join([v1.parse(Call(body, {}), whom)]) is not None
