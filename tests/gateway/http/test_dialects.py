"""The other dialects over real sockets: one HTTP process, real children, a small supervisor."""

import gzip
import json
from typing import Any

import httpx
import numpy as np

from gateway.protocols import dialects
from tests.gateway.http.test_scoring import serving
from tests.gateway.supervisor.small_supervisor import HttpServer

LENGTH = "Inference-Header-Content-Length"


def tensor(**more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [1, 2, 3, 4]}], **more}


def test_open_inference_answers_in_json_and_in_binary() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        for path in ("/v2/models/m/infer", "/v2/models/m/versions/1/infer"):
            answer = await client.post(path, json=tensor(id="7"))
            assert answer.status_code == 200, answer.text
            assert answer.json() == {
                "model_name": "m",
                "model_version": "1",
                "id": "7",
                "outputs": [{"name": "predict", "shape": [2, 2], "datatype": "FP64", "data": [2, 5, 6, 9]}],
            }
        rows = np.array([[1.0, 2.0]])
        spec = {"name": "x", "shape": [1, 2], "datatype": "FP64", "parameters": {"binary_data_size": rows.nbytes}}
        head = json.dumps({"inputs": [spec], "parameters": {"binary_data_output": True}}).encode()
        headers = {LENGTH: str(len(head)), "content-type": "application/octet-stream"}
        binary = await client.post("/v2/models/m/infer", content=head + rows.tobytes(), headers=headers)
        assert binary.headers["content-type"] == "application/octet-stream"
        length = int(binary.headers[LENGTH])
        assert json.loads(binary.content[:length])["outputs"][0]["shape"] == [1, 2]
        assert np.frombuffer(binary.content[length:]).tolist() == [2.0, 5.0]

    serving(test)


def test_open_inference_tells_of_server_and_models() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        for path in ("/v2", "/v2/"):
            assert (await client.get(path)).json()["name"] == "fitserve"
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}
        assert (await client.get("/v2/models/m")).json()["versions"] == ["1"]
        assert (await client.get("/v2/models/m/versions/1/ready")).json() == {"name": "m", "ready": True}
        index = await client.post("/v2/repository/index")
        assert index.json() == [{"name": "m", "version": "1", "state": "READY", "reason": ""}]
        assert (await client.post("/v2/repository/models/m/load")).status_code == 200
        assert (await client.post("/v2/repository/models/m/load", json={"parameters": {}})).json() == {}

    serving(test)


def test_an_unloaded_model_answers_nowhere_and_keeps_nobody_waiting() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        assert (await client.post("/v2/repository/models/nobody/unload")).status_code == 404
        unloaded = await client.post("/v2/repository/models/m/unload", json={"parameters": {"unload_dependents": True}})
        assert (unloaded.status_code, unloaded.json()) == (200, {})
        ready = await client.get("/v2/models/m/ready")
        assert (ready.status_code, ready.json()) == (404, {"name": "m", "ready": False})
        for path in ("/v1/models/m", "/models/m/ready"):
            assert (await client.get(path)).status_code == 404
        for path in ("/readyz", "/v2/health/ready", "/ping"):  # what should not answer keeps nobody from being ready
            assert (await client.get(path)).status_code == 200
        index = (await client.post("/v2/repository/index")).json()
        assert index == [{"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "until load"}]
        assert (await client.post("/v2/repository/index", json={"ready": True})).json() == []
        for path in (
            "/v2/models/m/infer",
            "/score",
            "/models/m/versions/1/score",
            "/v1/models/m:predict",
            "/invocations",
        ):
            answer = await client.post(path, json=tensor() | {"data": [[1, 2]], "instances": [[1, 2]]})
            assert answer.status_code == 404, path
            assert "model m is unloaded; " in answer.text
        infer = await client.post("/v2/models/m/infer", json=tensor())
        assert infer.json()["error"].startswith("Request for unknown model")

    serving(test)


def test_errors_are_in_the_words_of_the_path() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        for path in ("/v2/models/nobody/infer", "/v2/models/m/versions/9/infer"):
            answer = await client.post(path, json=tensor())
            assert answer.status_code == 404
            assert answer.json()["error"].startswith("Request for unknown model")
        assert (await client.get("/v2/models/nobody")).json()["error"].startswith("Request for unknown model")
        for path in (
            "/v2/models/m/versions/x/infer",
            "/v1/models/m/versions/x:predict",
            "/models/m/versions/x/invocations",
        ):
            answer = await client.post(path, json=tensor())
            assert (answer.status_code, "whole number" in answer.text) == (400, True), path
        wrong = await client.post("/v2/models/m/infer", json=tensor(outputs=[{"name": "fit"}]))
        assert wrong.status_code == 400
        assert wrong.json() == {"error": "the model has no method 'fit'; it has: predict, transform, kneighbors"}
        nowhere = await client.get("/v2/nowhere")
        assert (nowhere.status_code, list(nowhere.json())) == (404, ["error"])
        assert list((await client.delete("/v2/models")).json()) == ["error"]
        unknown = await client.post("/v1/models/nobody:predict", json={"instances": [[1, 2]]})
        assert (unknown.status_code, list(unknown.json())) == (404, ["error"])
        mlflow = await client.post("/invocations", json={})
        assert (mlflow.status_code, mlflow.json()["error_code"]) == (400, "BAD_REQUEST")
        mlflow = await client.post("/models/nobody/invocations", json={"inputs": [[1, 2]]})
        assert (mlflow.status_code, mlflow.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
        assert "x-request-id" in nowhere.headers

    serving(test)


def test_kserve_v1_and_mlflow_answer() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        v1 = await client.post("/v1/models/m:predict", json={"instances": [[1, 2]]})
        assert v1.json() == {"predictions": [[2, 5]]}
        assert (await client.get("/v1/models")).json() == {"models": ["m"]}
        assert (await client.get("/v1/models/m")).json() == {"name": "m", "ready": True}
        for path in ("/invocations", "/models/m/invocations", "/models/m/versions/1/invocations"):
            rows = await client.post(path, json={"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}})
            assert rows.json() == {"predictions": [[2, 5]]}
            csv = await client.post(path, content=b"a,b\n1,2\n", headers={"content-type": "text/csv"})
            assert csv.json() == {"predictions": [[2, 5]]}
        assert (await client.get("/ping")).status_code == 200
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/version")).text

    serving(test)


def test_compressed_bodies_are_read_by_every_dialect() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        for path, body in (
            ("/score", {"data": [[1, 2]]}),
            ("/v2/models/m/infer", tensor()),
            ("/v1/models/m:predict", {"instances": [[1, 2]]}),
            ("/invocations", {"inputs": [[1, 2]]}),
        ):
            packed = gzip.compress(json.dumps(body).encode())
            headers = {"content-encoding": "gzip", "content-type": "application/json"}
            answer = await client.post(path, content=packed, headers=headers)
            assert answer.status_code == 200, answer.text

    serving(test)


def test_no_dialect_falls_over_what_is_no_request() -> None:
    async def test(server: HttpServer, client: httpx.AsyncClient) -> None:
        paths = [path.format(model="m", version=1, method="predict") for one in dialects() for path in one.paths]
        for path in paths:
            for body in (
                b"",
                b"{",
                b"[]",
                b'{"data": {}}',
                b'{"inputs": [{}]}',
                b"\xff",
                b"[" * 100_000,
                b'{"inputs": 1e999}',
            ):
                for kind in ("application/json", "text/csv", "application/octet-stream"):
                    answer = await client.post(path, content=body, headers={"content-type": kind})
                    assert 400 <= answer.status_code < 500, (path, body[:20], kind, answer.text)
                    assert answer.json()

    serving(test)
