"""A packaged service: built and run without a network, without the workspace it came from."""

import json
from pathlib import Path

from tests.container.engine import build, running
from tests.e2e.gateway import fitserve, serving
from tests.e2e.models import SETOSA, iris_svc


def test_a_packaged_service_answers_its_golden_rows(image: str, tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    done = fitserve("register", str(iris_svc(tmp_path)), "--name", "iris", "--cpu", "0.5", workspace=workspace)
    assert done.returncode == 0, done.stderr
    with serving(workspace) as gateway:
        gateway.wait_for("iris")
    made = fitserve("package", "iris", "-o", str(tmp_path / "p"), "--base", image, workspace=workspace)
    assert made.returncode == 0, made.stderr
    packaged = build(str(tmp_path / "p"), "localhost/fitserve-test-iris:1", network="none")
    flags = ("--network", "none", "--read-only", "--memory", "896m", "-e", "FITSERVE_RESERVE_GB=0.375")
    with running(packaged, flags=(*flags, "-e", "FITSERVE_KEY=0123456789"), publish=False) as container:
        ready = container.wait_until_ready()
        ask = (
            "import json, urllib.request as u; h = {'authorization': 'Bearer 0123456789'};"
            "print(u.urlopen(u.Request('http://127.0.0.1:8080/models/iris', headers=h)).read().decode())"
        )
        status = container.exec("python", "-c", ask)
        assert '"difference":null' in status
        assert '"unverified":null' in status
        assert json.loads(container.exec("fitserve", "score", "iris", str([SETOSA]))) == {"predict": [0]}
        print(f"\nstart until ready: {ready:.1f} s")
        took, code = container.stop(10)
        assert (code, took < 10) == (0, True)
