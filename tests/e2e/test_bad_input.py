"""What bad input gets: a sentence that a tired person can act on, and nothing broken afterwards."""

import json
import os
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry import Workspace
from tests.e2e.gateway import ENVIRONMENT, FITSERVE, Gateway, fitserve, serving
from tests.e2e.models import SETOSA, big_model, code_model, diabetes_by_name, iris_probabilities, iris_svc


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("bad")
    with serving(folder / "ws") as gateway:
        for name, path in (
            ("iris", iris_svc(folder)),
            ("proba", iris_probabilities(folder)),
            ("diabetes", diabetes_by_name(folder)),
        ):
            done = fitserve("register", str(path), "--name", name, workspace=gateway.workspace)
            assert done.returncode == 0, done.stderr
        yield gateway


# Scripts and files, at the command line.


def script(folder: Path, text: str, name: str = "train.py") -> str:
    source = folder / "src"
    source.mkdir(exist_ok=True)
    (source / name).write_text(text)
    return str(source / name)


def test_a_missing_script_is_named_with_what_there_is(tmp_path: Path) -> None:
    near = script(tmp_path, "")
    done = fitserve("up", near.replace("train", "trian"), workspace=tmp_path / "ws")
    assert done.returncode == 2
    assert "does not exist" in done.stderr
    assert "train.py" in done.stderr


def test_a_script_that_exits_3_fails_with_its_last_lines(tmp_path: Path) -> None:
    path = script(tmp_path, "import sys\nprint('about to fail')\nsys.exit(3)\n")
    done = fitserve("train", path, workspace=tmp_path / "ws")
    assert done.returncode == 1
    assert "exited with code 3" in done.stderr
    assert "about to fail" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_script_that_writes_no_model_is_told_how(tmp_path: Path) -> None:
    path = script(tmp_path, "print('nothing to keep')\n")
    done = fitserve("up", path, "--port", "0", workspace=tmp_path / "ws")
    assert done.returncode == 1
    assert "its script saved no model, so there is nothing to serve" in done.stderr
    assert "joblib.dump(model, 'model.joblib')" in done.stderr


def test_options_of_the_script_are_told_where_they_belong(tmp_path: Path) -> None:
    path = script(tmp_path, "")
    for command in (["train"], ["up"], ["sweep", "--param", "kernel=rbf", "--metric", "a"]):
        done = fitserve(*command, path, "--C", "5", "-n", "3", workspace=tmp_path / "ws")
        assert done.returncode == 2
        example = " ".join(["fitserve", command[0], *command[1:], path, "--", "--C", "5", "-n", "3"])
        assert f"No such option '--C'; arguments for the script follow --, as in: {example}" in done.stderr
    done = fitserve("train", path, "--experimen", "x", workspace=tmp_path / "ws")
    assert "arguments for the script follow --" in done.stderr
    assert "Did you mean '--experiment'?" in done.stderr


def test_a_class_that_needs_the_script_to_run_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        "import os, joblib\n"
        "table = open(__file__).read()\n"
        "class Mine:\n    def predict(self, X): return [len(table)] * len(X)\n"
        "os.makedirs('outputs', exist_ok=True)\njoblib.dump(Mine(), 'outputs/model.joblib')\n",
    )
    done = fitserve("up", path, "--port", "0", workspace=tmp_path / "ws")
    assert done.returncode == 1
    assert "uses table, and only running the script gives table (line 2): keep it as an attribute" in done.stderr


@pytest.mark.parametrize("content", [b"", b"<html>not here</html>", b"\x80\x04corrupt", os.urandom(1000)])
def test_a_file_that_is_not_a_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    done = fitserve("register", str(path), "--name", "x", workspace=tmp_path / "ws")
    assert done.returncode == 1, done.stdout
    assert "model.pkl is not a model file" in done.stderr
    assert json.loads(fitserve("models", "--json", workspace=tmp_path / "ws").stdout) == []


@pytest.mark.parametrize("name", ["../../etc", "a..b", "a/b", "", "a\nb", "%2e%2e", "-x", "ü"])
def test_a_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    model = iris_svc(tmp_path)
    done = fitserve("register", str(model), f"--name={name}", workspace=tmp_path / "ws")
    assert done.returncode == 2
    assert "is not a name for a model" in done.stderr


@pytest.mark.parametrize(
    ("option", "value"), [("--cpu", "0"), ("--cpu", "-1"), ("--memory", "0"), ("--memory", "lots")]
)
def test_a_bad_limit_is_refused(tmp_path: Path, option: str, value: str) -> None:
    model = iris_svc(tmp_path)
    done = fitserve("register", str(model), "--name", "x", f"{option}={value}", workspace=tmp_path / "ws")
    assert done.returncode == 2
    assert "expected" in done.stderr


@pytest.mark.parametrize("arguments", [["models", b"\xff"], ["logs", b"\xff\xfe"], ["score", "x", b"\xff"], [b"\xff"]])
def test_arguments_that_are_no_text_get_a_sentence(tmp_path: Path, arguments: list[str | bytes]) -> None:
    workspace = tmp_path / "ws"
    Workspace.open(workspace).close()
    done = subprocess.run(
        [*FITSERVE, "--workspace", str(workspace), *arguments], capture_output=True, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 2, done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stderr


# The machine and the workspace.


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null/ws", "/etc/hostname"])
def test_a_workspace_that_cannot_be_made_is_named(tmp_path: Path, place: str) -> None:
    done = fitserve("register", str(iris_svc(tmp_path)), "--name", "x", workspace=Path(place))
    assert done.returncode in {2, 3}
    assert len(done.stderr.splitlines()) == 1
    assert place in done.stderr or str(Path(place).parent) in done.stderr


@pytest.mark.parametrize("key", ["", " ", "short"])
def test_a_key_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    done = fitserve("serve", "--port", "0", workspace=tmp_path / "ws", env={"FITSERVE_KEY": key})
    assert (done.returncode, "is refused" in done.stderr) == (2, True), done.stderr


def test_a_port_in_use_is_named_before_the_training(tmp_path: Path) -> None:
    path = script(tmp_path, "print('trained')\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for command in (["serve"], ["up", path]):
            done = fitserve(*command, "--port", port, workspace=tmp_path / "ws")
            assert done.returncode == 3
            assert f"port {port}" in done.stderr
            assert "in use" in done.stderr
            assert "trained" not in done.stdout
            assert len(done.stderr.strip().splitlines()) == 1


def test_a_second_gateway_is_told_of_the_first(gateway: Gateway) -> None:
    done = fitserve("serve", "--port", "0", workspace=gateway.workspace)
    assert done.returncode == 3
    assert gateway.url in done.stderr


def test_a_corrupt_database_is_named(tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    assert fitserve("register", str(iris_svc(tmp_path)), "--name", "x", workspace=workspace).returncode == 0
    for rest in workspace.glob("fitserve.db-*"):
        rest.unlink()
    (workspace / "fitserve.db").write_bytes(b"this is not a database, and long enough to be read as one" * 100)
    done = fitserve("models", workspace=workspace)
    assert done.returncode == 3
    assert "damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_locked_workspace_says_so(tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    model = iris_svc(tmp_path)
    assert fitserve("register", str(model), "--name", "x", workspace=workspace).returncode == 0
    holder = sqlite3.connect(workspace / "fitserve.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        done = fitserve("register", str(model), "--name", "x", workspace=workspace)
    finally:
        holder.close()
    assert done.returncode == 3
    assert "locked" in done.stderr


def test_more_memory_than_the_machine_has_is_refused_with_numbers(gateway: Gateway, tmp_path: Path) -> None:
    model = iris_svc(tmp_path)
    done = fitserve("register", str(model), "--name", "huge", "--memory", "100000", workspace=gateway.workspace)
    assert done.returncode == 1
    assert "100000 GB" in done.stderr
    assert gateway.score("iris", [SETOSA]).status_code == 200


def test_a_file_larger_than_its_limit_is_failed_with_both_numbers(gateway: Gateway, tmp_path: Path) -> None:
    model = big_model(tmp_path, megabytes=64)
    done = fitserve("register", str(model), "--name", "big", "--memory", "32Mi", workspace=gateway.workspace)
    assert done.returncode == 1
    assert "64 MiB" in done.stderr
    assert "32 MiB" in done.stderr
    assert gateway.version("big", 1)["state"] == "failed"
    answer = gateway.score("big", [[1.0]])
    assert answer.status_code == 503
    assert "32 MiB" in answer.json()["message"]


def test_bytes_that_changed_on_disk_are_not_served(tmp_path: Path) -> None:
    """R10."""
    workspace = tmp_path / "ws"
    assert fitserve("register", str(iris_svc(tmp_path)), "--name", "iris", workspace=workspace).returncode == 0
    for blob in (workspace / "artifacts").rglob("*"):
        if blob.is_file():
            blob.chmod(0o600)
            data = bytearray(blob.read_bytes())
            data[-20] ^= 1
            blob.write_bytes(data)
    with serving(workspace) as gateway:
        entry = gateway.wait_for("iris", state="failed")
        assert "changed on disk" in entry["reason"]
        assert gateway.score("iris", [SETOSA]).status_code == 503


def test_a_missing_module_is_named(gateway: Gateway, tmp_path: Path) -> None:
    path, _ = code_model(tmp_path, "return np.zeros(len(X))", name="nowhere")
    done = fitserve("register", str(path), "--name", "nowhere", workspace=gateway.workspace)
    assert done.returncode == 1
    assert "nowhere_model" in done.stderr


# Bodies.


@pytest.mark.parametrize(
    ("model", "body", "said"),
    [
        ("iris", b"", "POST body is empty"),
        ("iris", b"{", "POST body could not be decoded as JSON"),
        ("iris", b"\xff\xfe", "POST body could not be decoded as JSON"),
        ("iris", b"[1]", "POST body should be a JSON dictionary."),
        ("iris", b"{}", "A value is not provided for the 'data' parameter."),
        ("iris", b'{"data": [[1, 2]]}', "4"),
        ("iris", b'{"data": [1, 2, 3, 4]}', "rows"),
        ("iris", b'{"data": []}', "row"),
        ("iris", b'{"data": [[1, 2, 3, 4], [1, 2]]}', "row"),
        ("iris", b'{"data": [[1, 2, "x", 4]]}', "x"),
        ("iris", b'{"data": [[1, 2, null, 4]]}', "missing"),
        ("iris", b'{"data": [[1, 2, NaN, 4]]}', "missing"),
        ("iris", b'{"data": [[1, 2, 1e999, 4]]}', ""),
        ("iris", b'{"data": {"a": 1}}', ""),
        ("iris", b'{"data": [[1, 2, 3, 4]], "method": "predict_proba"}', "predict"),
        ("iris", b'{"data": [[1, 2, 3, 4]], "method": "__init__"}', "predict"),
        ("iris", b'{"data": [[1, 2, 3, 4]], "method": ["fit"]}', "predict"),
        ("diabetes", b'{"data": [{"age": 1}]}', "sex"),
        ("diabetes", b'{"data": {"columns": ["agge"], "data": [[1]]}}', "agge"),
    ],
)
def test_a_wrong_body_is_a_400_that_says_what_is_expected(gateway: Gateway, model: str, body: bytes, said: str) -> None:
    """R16."""
    answer = gateway.http.post(f"/models/{model}/score", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    message = answer.json()["message"]
    assert said in message
    assert answer.headers["x-ms-run-function-failed"] == "False"
    assert answer.headers["x-request-id"]
    for secret in ("/", "Traceback", "pid", ".sock"):
        assert secret not in message.replace("and/or", "")


def test_wrong_width_names_the_expected_columns(gateway: Gateway) -> None:
    message = gateway.score("diabetes", [[1.0, 2.0]]).json()["message"]
    assert "10" in message
    assert "bmi" in message


def test_a_100_mb_body_is_refused_with_and_without_a_length(gateway: Gateway) -> None:
    """R12."""

    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 2**20

    headers = {"content-type": "application/json"}
    for content in (b" " * (100 * 2**20), chunks()):
        try:
            answer = gateway.http.post("/models/iris/score", content=content, headers=headers)
        except Exception as error:  # the gateway may hang up on the sender, whose write then fails
            assert type(error).__name__ in {"WriteError", "RemoteProtocolError", "ReadError"}  # noqa: PT017
            continue
        assert answer.status_code == 413
        assert "limit" in answer.json()["message"]
    assert gateway.score("iris", [SETOSA]).status_code == 200


def test_other_content_types_verbs_and_paths(gateway: Gateway) -> None:
    form = gateway.http.post("/models/iris/score", content=b"a=1", headers={"content-type": "text/html"})
    assert form.status_code == 415
    assert form.json()["message"].startswith("Expects Content-Type to be application/json")
    assert gateway.http.put("/models/iris/score", content=b"{}").status_code == 405
    assert gateway.http.get("/nothing/here").status_code == 404
    assert gateway.http.post("/models/nobody/score", json={"data": [[1]]}).status_code == 404
    assert gateway.http.post("/models/iris/versions/99/score", json={"data": [[1]]}).status_code == 404
    long_id = gateway.http.post("/models/iris/score", json={"data": [SETOSA]}, headers={"x-request-id": "x" * 101})
    assert long_id.status_code == 431


def test_curl_reads_the_refusal_of_a_large_body(gateway: Gateway, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b" " * (100 * 2**20))
    done = subprocess.run(
        [
            *("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json"),
            *("--data-binary", f"@{body}", f"{gateway.url}/models/iris/score"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "413"
