"""The main job as a newcomer sees it: a script goes in, a limited endpoint comes out."""

import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.gateway import ENVIRONMENT, FITSERVE, fitserve, serving
from tests.e2e.models import SETOSA
from tests.waiting import eventually

ROOT = Path(__file__).parent.parent.parent
IRIS = str(ROOT / "examples" / "train_iris.py")


def curl(line: str) -> str:
    """Run the curl line that was printed."""
    words = shlex.split(line)
    assert words[0] == "curl"
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


def test_up_trains_registers_serves_and_stays(tmp_path: Path) -> None:
    """Lesson: slow and opaque deployment."""
    workspace, output = tmp_path / "ws", tmp_path / "out"
    with output.open("w") as file:
        process = subprocess.Popen(
            [*FITSERVE, "--workspace", str(workspace), "up", IRIS, "--name", "iris", "--port", "0"],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
        )
    try:
        text = eventually(output.read_text, lambda t: "foreground" in t or process.poll() is not None, "up")
        assert process.poll() is None, text
        line = next(line for line in text.splitlines() if line.startswith("curl "))
        assert json.loads(curl(line)) == {"predict": [0]}
        assert "Accuracy" in text or "accuracy" in text

        again = fitserve("up", IRIS, "--name", "iris", "--arg=--kernel", "--arg=rbf", workspace=workspace)
        assert again.returncode == 0, again.stderr
        assert "iris:2 is live" in again.stdout
        assert '{"predict":[0]}' in again.stdout
        assert process.poll() is None

        runs = json.loads(fitserve("runs", "--json", workspace=workspace).stdout)
        assert [run["status"] for run in runs] == ["Completed", "Completed"]
        shown = json.loads(fitserve("runs", runs[0]["id"], "--json", workspace=workspace).stdout)
        assert shown["metrics"]["Kernel type"] == "rbf"
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert not (workspace / "gateway.json").exists()


@pytest.mark.parametrize(("example", "width"), [("train_diabetes.py", 10), ("train_digits.py", 64)])
def test_the_other_examples_answer_too(tmp_path: Path, example: str, width: int) -> None:
    with serving(tmp_path / "ws") as gateway:
        done = fitserve("up", str(ROOT / "examples" / example), workspace=gateway.workspace)
        assert done.returncode == 0, done.stdout + done.stderr
        name = re.sub(r"^train_|\.py$", "", example)
        answer = gateway.score(name, [[0.01] * width], method="predict")
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["predict"]) == 1


def test_a_model_saved_beside_the_script_is_found_and_named(tmp_path: Path) -> None:
    source = tmp_path / "train_svc.py"
    source.write_text(
        "import joblib\nfrom sklearn.svm import SVC\njoblib.dump(SVC().fit([[0.0], [1.0]], [0, 1]), 'final.joblib')\n"
    )
    with serving(tmp_path / "ws") as gateway:
        for version, given in ((1, []), (2, ["--model-path", "final.joblib"])):
            done = fitserve("up", str(source), *given, workspace=gateway.workspace)
            assert done.returncode == 0, done.stdout + done.stderr
            assert f"registered svc:{version} from final.joblib" in done.stdout
            assert f"svc:{version} is live" in done.stdout
        trained = fitserve("train", str(source), workspace=gateway.workspace)
        assert "final.joblib --name NAME" in trained.stdout


def test_score_from_the_shell(tmp_path: Path) -> None:
    from tests.e2e.models import iris_svc

    with serving(tmp_path / "ws") as gateway:
        model = iris_svc(tmp_path)
        done = fitserve("register", str(model), "--name", "iris", workspace=gateway.workspace)
        assert done.returncode == 0, done.stderr
        assert "iris:1 is live" in done.stdout
        rows = tmp_path / "rows.csv"
        rows.write_text("a,b,c,d\n5.1,3.5,1.4,0.2\n6.7,3.0,5.2,2.3\n")
        for data in (f"[{SETOSA}]", f'{{"data": [{SETOSA}]}}'):
            scored = fitserve("score", "iris", data, workspace=gateway.workspace)
            assert json.loads(scored.stdout) == {"predict": [0]}, scored.stderr
        wrong = fitserve("score", "iris", "[[1,2]]", workspace=gateway.workspace)
        assert wrong.returncode != 0
        assert "4" in wrong.stderr


def test_keys_are_on_for_other_addresses_and_shown_once(tmp_path: Path) -> None:
    """R1."""
    workspace = tmp_path / "ws"
    with serving(workspace, "--host", "0.0.0.0") as gateway:
        key = re.search(r"key[^\n]*?([A-Za-z0-9_\-]{40,})", gateway.log)
        assert key, gateway.log
        assert gateway.http.get("/models").status_code == 401
        assert gateway.http.get("/").text == "Healthy"
        ok = gateway.http.get("/models", headers={"Authorization": f"Bearer {key[1]}"})
        assert ok.status_code == 200
        stored = b"".join(file.read_bytes() for file in workspace.rglob("*") if file.is_file())
        assert key[1].encode() not in stored
    with serving(workspace, "--host", "0.0.0.0") as gateway:
        assert key[1] not in gateway.log
        assert gateway.http.get("/models", headers={"Authorization": f"Bearer {key[1]}"}).status_code == 200
        assert gateway.http.get("/models", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_killed_gateway_leaves_no_process_and_the_next_start_is_clean(tmp_path: Path) -> None:
    from tests.e2e.models import iris_svc

    workspace = tmp_path / "ws"
    model = iris_svc(tmp_path)
    assert fitserve("register", str(model), "--name", "iris", workspace=workspace).returncode == 0
    with serving(workspace) as gateway:
        pids = gateway.wait_for("iris")["pids"]
        assert pids
        gateway.process.kill()
        gateway.process.wait()
        eventually(lambda: [pid for pid in pids if _alive(pid)], lambda left: not left, "the children's end")
    with serving(workspace) as gateway:
        gateway.wait_for("iris")
        assert gateway.score("iris", [SETOSA]).json() == {"predict": [0]}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
