"""Scoring scripts of the user's own, through a real gateway: what `run` gets, what becomes of what it gives or raises."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import joblib
import pytest
from sklearn.linear_model import LinearRegression

from tests.e2e.gateway import Gateway, eventually, fitserve, serving

DECORATED = """
import os, joblib, numpy as np
from inference_schema.schema_decorators import input_schema, output_schema
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from helper import double

def init():
    global model
    model = joblib.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.joblib"))
    print("initialised", flush=True)

@input_schema("data", NumpyParameterType(np.array([[1.0, 2.0]]), enforce_shape=False))
@input_schema("factor", StandardPythonParameterType(2), optional=True)
@output_schema(NumpyParameterType(np.array([1.0])))
def run(data, factor=1, request_headers=None):
    if factor == 13:
        raise ValueError("secret")
    if factor == 14:
        return data
    if factor == 15:
        os._exit(3)
    if factor == 16:
        np.ones(2 * 2**27)
    if factor == 17:
        return float("nan")
    if factor == 18:
        return request_headers["X-Colour"]
    if factor == 19:
        return None
    return (double(model.predict(data)) * factor).tolist()
"""

PLAIN = """
def init():
    pass

def run(text):
    return text + "!"
"""

RAW = """
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse

def init():
    pass

@rawhttp
def run(request):
    if request.method == "GET":
        return AMLResponse(request.args["status"], int(request.args["status"]), {"X-Own": "yes", "X-Bad": "a\\r\\nb: c"})
    return AMLResponse(request.get_data()[::-1], 201, {"Content-Type": "application/octet-stream"})
"""

BROKEN = """
def init():
    raise RuntimeError("no weights")

def run(data):
    return data
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("scripts")
    joblib.dump(LinearRegression().fit([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]], [0.0, 2.0, 1.0]), folder / "model.joblib")
    (folder / "weights.bin").write_bytes(b"no model of scikit-learn's")
    for name, text in {"decorated": DECORATED, "plain": PLAIN, "raw": RAW, "broken": BROKEN}.items():
        (folder / name).mkdir()
        (folder / name / "score.py").write_text(text)
        (folder / name / "helper.py").write_text("def double(x):\n    return 2 * x\n")
        file = "model.joblib" if name == "decorated" else "weights.bin"
        script = str(folder / name / "score.py")
        done = fitserve(
            "register",
            str(folder / file),
            "--name",
            name,
            "--entry-script",
            script,
            "--memory",
            "0.4",
            workspace=folder / "ws",
        )
        assert done.returncode == 0, done.stderr
    with serving(folder / "ws") as running:
        for name in ("decorated", "plain", "raw"):
            running.wait_for(name)
        yield running


def message(answer: httpx.Response) -> str:
    return str(answer.json()["message"])


def test_a_decorated_script_gets_converted_arguments_and_its_model(gateway: Gateway) -> None:
    answer = gateway.score("decorated", [[1.0, 1.0], [0.0, 1.0]], ignored=1)
    assert answer.status_code == 200
    assert answer.json() == pytest.approx([4.0, 2.0])
    assert answer.headers["x-ms-run-function-failed"] == "False"
    assert float(answer.headers["x-ms-run-fn-exec-ms"]) > 0
    assert gateway.score("decorated", [[1.0, 1.0]], factor=3).json() == pytest.approx([12.0])
    documents = gateway.http.get("/models/decorated/swagger.json").json()["definitions"]
    assert set(documents["ServiceInput"]["properties"]) == {"data", "factor"}
    by_query = gateway.http.get("/models/decorated/score", params={"data": "[[1, 1]]", "factor": "2"})
    assert by_query.json() == pytest.approx([8.0])


def test_what_the_caller_did_wrong_is_a_400_with_the_reason(gateway: Gateway) -> None:
    url, json_type = "/models/decorated/score", {"content-type": "application/json"}
    cases: list[tuple[bytes, dict[str, str], int, str]] = [
        (b"{}", json_type, 400, "A value is not provided for the 'data' parameter."),
        (b"", json_type, 400, "POST body is empty. Expecting a JSON dictionary."),
        (b"[1]", json_type, 400, "POST body should be a JSON dictionary."),
        (b"{", json_type, 400, "POST body could not be decoded as JSON: "),
        (b"{}", {"content-type": "text/plain"}, 415, "Expects Content-Type to be application/json"),
        (b'{"data": "words"}', json_type, 400, ""),
        (b'{"data": [["a", "b"]]}', json_type, 400, "ValueError"),
    ]
    for body, headers, status, sentence in cases:
        answer = gateway.http.post(url, content=body, headers=headers)
        assert (answer.status_code, message(answer)[: len(sentence)]) == (status, sentence), body
        assert answer.headers["x-ms-run-function-failed"] == "False"


def test_what_run_raises_stays_in_the_log(gateway: Gateway) -> None:
    answer = gateway.score("decorated", [[1.0, 1.0]], factor=13)
    assert answer.status_code == 500
    assert message(answer) == "An unexpected error occurred in scoring script. Check the logs for more info."
    assert answer.headers["x-ms-run-function-failed"] == "True"
    assert "x-ms-run-fn-exec-ms" not in answer.headers
    log = fitserve("logs", "decorated", workspace=gateway.workspace).stdout
    assert "initialised" in log
    assert "ValueError: secret" in log


def test_what_run_gives_is_json_or_an_error(gateway: Gateway) -> None:
    unusable = gateway.score("decorated", [[1.0, 1.0]], factor=14)
    assert unusable.status_code == 500
    assert message(unusable) == "An unexpected internal error occurred. Check the logs for more info."
    assert unusable.headers["x-ms-run-function-failed"] == "False"
    assert gateway.score("decorated", [[1.0, 1.0]], factor=17).text == "null"
    assert gateway.score("decorated", [[1.0, 1.0]], factor=19).json() == {}
    answer = gateway.http.post(
        "/models/decorated/score", json={"data": [[1.0, 1.0]], "factor": 18}, headers={"x-colour": "green"}
    )
    assert answer.json() == "green"


def test_a_death_is_told_and_nothing_is_asked_again(gateway: Gateway) -> None:
    for factor, words in ((15, "its process ended"), (16, "memory")):
        answer = gateway.score("decorated", [[1.0, 1.0]], factor=factor)
        assert answer.status_code == 503, answer.text
        assert words in message(answer)

        def again() -> Any:
            return gateway.score("decorated", [[1.0, 1.0]]).status_code

        eventually(again, lambda status: status == 200)
    log = fitserve("logs", "decorated", workspace=gateway.workspace).stdout
    assert log.count("initialised") == 3  # one start for each death: the request was not tried on the next child


def test_an_undecorated_script_gets_the_body_as_text(gateway: Gateway) -> None:
    assert gateway.http.post("/models/plain/score", content="größe".encode()).json() == "größe!"
    assert gateway.http.post("/models/plain/score", content=b"\xff").status_code == 400
    assert gateway.http.get("/models/plain/score", params={"a": "[1]", "b": "x"}).json() == '{"a": [1], "b": "x"}!'
    assert gateway.http.put("/models/plain/score", content=b"x").status_code == 405
    assert gateway.http.post("/models/plain/predict", json={"data": [[1]]}).status_code == 400
    assert gateway.http.post("/v1/models/plain:predict", json={"instances": [[1]]}).status_code == 400


def test_a_raw_script_has_request_and_answer_in_its_own_hands(gateway: Gateway) -> None:
    turned = gateway.http.post("/models/raw/score", content=b"\x00\x01\xff")
    assert (turned.status_code, turned.content) == (201, b"\xff\x01\x00")
    assert turned.headers["content-type"] == "application/octet-stream"
    failed = gateway.http.get("/models/raw/score", params={"status": "503"})
    assert (failed.status_code, failed.text) == (503, "503")
    assert failed.headers["x-own"] == "yes"
    assert failed.headers["x-ms-run-function-failed"] == "True"
    assert not {"x-bad", "b"} & set(failed.headers)
    assert (
        gateway.http.get("/models/raw/score", params={"status": "404"}).headers["x-ms-run-function-failed"] == "False"
    )


def test_a_script_that_cannot_start_says_why(gateway: Gateway) -> None:
    entry = gateway.wait_for("broken", state="failed")
    assert "init() of score.py raised RuntimeError: no weights" in entry["reason"]


def test_a_script_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"x")
    done = fitserve(
        "register",
        "weights.bin",
        "--name",
        "m",
        "--entry-script",
        "nowhere.py",
        workspace=tmp_path / "ws",
        cwd=tmp_path,
    )
    assert done.returncode != 0
    assert "nowhere.py" in done.stderr
