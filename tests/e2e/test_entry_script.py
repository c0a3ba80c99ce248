"""Scoring scripts of the user's own, through a real gateway: what `run` gets, what becomes of what it gives or raises."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import joblib
import pytest
from sklearn.linear_model import LinearRegression

from registry import Workspace
from tests.e2e.gateway import Gateway, fitserve, serving
from tests.waiting import eventually
from trainer import Run

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
@input_schema("offset", StandardPythonParameterType(1))
@output_schema(NumpyParameterType(np.array([1.0])))
def run(data, factor=1, offset=0, request_headers=None):
    if factor == 13:
        raise ValueError("secret")
    if factor == 14:
        return {1.5, 2.5}
    if factor == 20:
        return {"rows": data, "sum": data.sum()}
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
    return (double(model.predict(data)) * factor + offset).tolist()
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
    if request.args.get("what") == "nothing":
        return AMLResponse(None, 200)
    if request.args.get("what") == "failed":
        return AMLResponse({"a": 1}, 400, {"x-own": "yes"}, json_str=True, run_function_failed=True)
    if request.method == "GET":
        return AMLResponse(request.args["status"], int(request.args["status"]), {"X-Own": "yes", "X-Bad": "a\\r\\nb: c"})
    return AMLResponse(request.get_data()[::-1], 201, {"Content-Type": "application/octet-stream"})
"""

# The part of Flask's request that scripts use, one look at a time.
LOOKING = """
import json
from azureml_inference_server_http.api.aml_request import rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse

def init():
    pass

@rawhttp
def run(request):
    looks = {
        "json": lambda: request.get_json(),
        "silent": lambda: request.get_json(force=True, silent=True),
        "text": lambda: request.get_data(as_text=True),
        "args": lambda: [request.args["n"], request.args.getlist("n"), request.args.get("n", type=int), request.args.get("x", 7)],
        "headers": lambda: [request.headers["x-colour"], request.headers.get("X-COLOUR"), "X-Colour" in request.headers],
        "address": lambda: [request.method, request.path, request.full_path, request.mimetype],
        "form": lambda: request.form.to_dict(flat=False),
        "files": lambda: {name: [file.filename, file.content_type, list(file.read())] for name, file in request.files.items()},
    }
    answer = AMLResponse(looks[request.args["look"]](), 200, {"X-Made": "by hand"}, json_str=True)
    answer.headers["x-later"] = "yes"
    return answer
"""

# As the SDK's generated drivers: the module that was named stands behind this one. The model is a folder.
DRIVEN = """
import types

def _init():
    pass

def _run(raw_data):
    import os
    folder = os.environ["AZUREML_MODEL_DIR"]
    return sorted(os.path.join(at, name)[len(folder):] for at, _, names in os.walk(folder) for name in names)

driver_module = types.SimpleNamespace(init=_init, run=_run)
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
    (folder / "weights" / "deep").mkdir(parents=True)
    (folder / "weights" / "a.bin").write_bytes(b"a")
    (folder / "weights" / "deep" / "b.bin").write_bytes(b"b")
    models = {"decorated": "model.joblib", "driven": "weights"}
    scripts = {
        "decorated": DECORATED,
        "plain": PLAIN,
        "raw": RAW,
        "looking": LOOKING,
        "driven": DRIVEN,
        "broken": BROKEN,
    }
    for name, text in scripts.items():
        (folder / name).mkdir()
        (folder / name / "score.py").write_text(text)
        (folder / name / "helper.py").write_text("def double(x):\n    return 2 * x\n")
        file = models.get(name, "weights.bin")
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
        for name in scripts.keys() - {"broken"}:
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
    # A parameter with a default may be left out although its decorator does not say that it is optional.
    assert gateway.score("decorated", [[1.0, 1.0]], offset=3).json() == pytest.approx([7.0])
    documents = gateway.http.get("/models/decorated/swagger.json").json()["definitions"]
    assert set(documents["ServiceInput"]["properties"]) == {"data", "factor", "offset"}
    assert documents["ServiceOutput"]["type"] == "array"
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
        (b'{"data": [["a", "b"]]}', json_type, 400, "the parameter 'data'"),
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
    assert gateway.score("decorated", [[1.0, 2.0]], factor=20).json() == {"rows": [[1.0, 2.0]], "sum": 3.0}
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
    assert failed.headers["content-type"] == "text/html; charset=utf-8"
    assert failed.headers["x-own"] == "yes"
    assert failed.headers["x-ms-run-function-failed"] == "True"
    assert not {"x-bad", "b"} & set(failed.headers)
    assert (
        gateway.http.get("/models/raw/score", params={"status": "404"}).headers["x-ms-run-function-failed"] == "False"
    )


def test_what_azures_response_class_makes_of_its_arguments(gateway: Gateway) -> None:
    nothing = gateway.http.get("/models/raw/score", params={"what": "nothing"})
    assert (nothing.text, nothing.headers["content-type"]) == ("{}", "application/json")
    failed = gateway.http.get("/models/raw/score", params={"what": "failed"})
    assert (failed.status_code, failed.json(), failed.headers["x-own"]) == (400, {"a": 1}, "yes")
    assert failed.headers.get_list("x-ms-run-function-failed") == ["True"]


def test_an_answer_without_a_body_does_not_run_into_the_next_one(gateway: Gateway) -> None:
    for status in (204, 205, 304):
        empty = gateway.http.get("/models/raw/score", params={"status": str(status)})
        assert (empty.status_code, empty.content) == (status, b"")
        after = gateway.http.get("/models/raw/score", params={"status": "418"})  # on the same connection
        assert (after.status_code, after.text) == (418, "418")


def test_only_azures_paths_reach_a_script(gateway: Gateway) -> None:
    for path, body in (
        ("/v1/models/plain:predict", {"instances": [[1]]}),
        ("/models/plain/invocations", {"inputs": [[1]]}),
    ):
        answer = gateway.http.post(path, json=body)
        assert (answer.status_code, answer.headers["x-ms-run-function-failed"]) == (400, "False")
        assert "scoring script answers at /score" in answer.text


def look(gateway: Gateway, what: str, **more: Any) -> Any:
    answer = gateway.http.post(f"/models/looking/score?look={what}&n=1&n=2", **more)
    assert answer.status_code == 200, answer.text
    assert (answer.headers["x-made"], answer.headers["x-later"]) == ("by hand", "yes")
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_a_raw_request_is_as_flasks(gateway: Gateway) -> None:
    assert look(gateway, "json", json={"a": [1]}) == {"a": [1]}
    assert look(gateway, "json", content=b'{"a": 1}', headers={"content-type": "text/plain"}) == {}  # None
    assert look(gateway, "silent", content=b"{") == {}
    assert look(gateway, "text", content="größe".encode()) == "größe"
    assert look(gateway, "args") == ["1", ["1", "2"], 1, 7]
    assert look(gateway, "headers", headers={"x-colour": "green"}) == ["green", "green", True]
    assert look(gateway, "address", json={}) == [
        "POST",
        "/score",
        "/score?look=address&n=1&n=2",
        "application/json",
    ]
    assert look(gateway, "form", data={"a": ["1", "ü"], "b": ""}) == {"a": ["1", "ü"], "b": [""]}
    picture = bytes(range(256)) + b"\r\n--no boundary\r\n"
    several = {"data": {"title": "ü"}, "files": {"image": ("a.png", picture, "image/png")}}
    assert look(gateway, "files", **several) == {"image": ["a.png", "image/png", list(picture)]}
    assert look(gateway, "form", **several) == {"title": ["ü"]}
    broken = {"content": b"--x\r\nno head", "headers": {"content-type": "multipart/form-data; boundary=x"}}
    assert look(gateway, "files", **broken) == look(gateway, "form", **broken) == {}
    failed = gateway.http.post(
        "/models/looking/score?look=json", content=b"{", headers={"content-type": "application/json"}
    )
    assert failed.status_code == 500  # get_json raises, as Flask's does behind Azure's server


def test_a_driver_stands_before_its_module_and_a_folder_is_the_model(gateway: Gateway) -> None:
    answer = gateway.http.post("/models/driven/score", content=b"")
    assert answer.json() == ["/weights/a.bin", "/weights/deep/b.bin"]


def test_a_runs_own_script_answers_for_its_model(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text("import os\nos.makedirs('outputs')\nopen('outputs/weights.txt', 'w').write('7')\n")
    (folder / "factor.py").write_text("FACTOR = 6\n")
    (folder / "score.py").write_text(
        "import os, factor\n"
        "def init():\n"
        "    global weight\n"
        "    weight = int(open(os.path.join(os.environ['AZUREML_MODEL_DIR'], 'weights.txt')).read())\n"
        "def run(text):\n"
        "    return weight * factor.FACTOR\n"
    )
    workspace = tmp_path / "ws"
    trained = fitserve("train", str(folder / "train.py"), workspace=workspace)
    assert trained.returncode == 0, trained.stderr
    run_id = json.loads(fitserve("runs", "--json", workspace=workspace).stdout)[0]["id"]
    register = ("register", "outputs/weights.txt", "--run", run_id, "--entry-script", "score.py", "--name")
    by_command = fitserve(*register, "by-command", workspace=workspace, cwd=tmp_path)
    assert by_command.returncode == 0, by_command.stderr
    missing = fitserve(*register[:-2], "nowhere.py", "--name", "missing", workspace=workspace, cwd=tmp_path)
    assert missing.returncode != 0
    assert "nowhere.py" in missing.stderr
    with Workspace.open(workspace) as opened:
        run = Run.get(opened, run_id)
        run.register_model("by-program", "outputs/weights.txt", settings={"entry_script": "score.py"})
    with serving(workspace) as gateway:
        for name in ("by-command", "by-program"):
            gateway.wait_for(name)
            assert gateway.http.post(f"/models/{name}/score", content=b"").json() == 42


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
