"""`make conformance`: other people's clients and servers judge a gateway, each in an environment of its own.

python -m tests.conformance [--those-at-hand] [FOLDER FOR ENVIRONMENTS] [JUDGE …]

A judge whose environment cannot be made, since nothing can be downloaded or its releases do not fit each other, is an error; with
`--those-at-hand`, as CI asks, it is left out, aloud. A judge that is there and not content always is one.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import joblib
from sklearn.datasets import load_iris
from sklearn.svm import SVC

from tests.e2e.gateway import Gateway, fitserve, serving

HERE: Final = Path(__file__).parent
MAKING_S: Final = 300  # for one step of making an environment

#: name → (what is installed, arguments after the judge's file)
JUDGES: Final[dict[str, tuple[list[str], list[str]]]] = {
    "kserve": (["kserve==0.21.*"], ["{url}"]),
    "manifest": (
        ["kserve==0.21.*", "kubernetes<34"],
        ["{manifest}"],
    ),  # KServe's classes are of the client's older kind
    "triton": (["tritonclient[http]==2.73.*"], ["{url}"]),
    "mlflow": (["mlflow==3.17.*"], ["{url}"]),
    "azure": (
        ["azureml-inference-server-http==1.5.*", "inference-schema[numpy-support]"],
        ["{url}/models/script", "{script}"],
    ),
    "schemathesis": (["schemathesis==4.32.*"], []),
}
#: What each of them imports, to see that it can be.
MODULES: Final = {
    "kserve": "kserve",
    "manifest": "kserve",
    "triton": "tritonclient.http",
    "mlflow": "mlflow.pyfunc",
    "azure": "azureml_inference_server_http, inference_schema",
    "schemathesis": "schemathesis",
}


class NotAtHand(Exception):
    """An environment could not be made; the message says why."""


def environment(name: str, packages: list[str], folder: Path, module: str) -> Path:
    """The Python of an environment that holds `packages`; made once.

    Raises:
        NotAtHand: they cannot be had, or `module` cannot be imported from them.
    """
    python = folder / name / "bin" / "python"
    if not (folder / name / ".ready").exists():
        uv = shutil.which("uv", path=Path(sys.executable).parent) or shutil.which("uv")
        if uv is None:
            raise SystemExit("uv is needed for this: pip install uv")
        steps: list[list[str | Path]] = [
            [uv, "venv", "-q", "--clear", "--python", sys.executable, folder / name],
            [uv, "pip", "install", "-q", "--python", python, *packages],
            [python, "-c", f"import {module}"],
        ]
        for step in steps:
            try:
                subprocess.run(step, check=True, timeout=MAKING_S)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                raise NotAtHand(f"{' '.join(packages)}: {error}") from None
        (folder / name / ".ready").touch()
    return python


def command(name: str, python: Path, gateway: Gateway, script: Path) -> list[str]:
    if name == "schemathesis":
        checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
        options = ["--checks", checks, "--max-examples", "20", "--workers", "1", "--suppress-health-check", "all"]
        return [str(python.parent / "schemathesis"), "run", f"{gateway.url}/openapi.json", *options]
    manifest = script.parent / "package/kubernetes/kserve/inferenceservice.yaml"
    arguments = [argument.format(url=gateway.url, script=script, manifest=manifest) for argument in JUDGES[name][1]]
    return [str(python), str(HERE / f"judge_{name}.py"), *arguments]


def main(folder: Path, names: list[str], those_at_hand: bool) -> int:
    """How many judges are not content, or not there."""
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        iris = load_iris(return_X_y=True)
        joblib.dump(SVC().fit(*iris), work / "model.joblib")
        script = shutil.copytree(HERE / "script", work / "script")
        workspace = work / "ws"
        register = ("register", str(work / "model.joblib"), "--name")
        _done(fitserve(*register, "iris", "--default", workspace=workspace))
        _done(fitserve(*register, "script", "--entry-script", str(script / "score.py"), workspace=workspace))
        with serving(workspace) as gateway:
            gateway.wait_for("iris")
            gateway.wait_for("script")
            package = ("package", "iris", "-o", str(work / "package"), "--kubernetes")
            _done(fitserve(*package, workspace=workspace))
            for name in names:
                try:
                    python = environment(name, JUDGES[name][0], folder, MODULES[name])
                except NotAtHand as error:
                    failed += not those_at_hand
                    print(f"{name}: NOT ASKED, its environment cannot be made: {error}", flush=True)
                    continue
                began = time.monotonic()
                asked = command(name, python, gateway, script)
                heard = subprocess.run(asked, check=False, timeout=900, cwd=work, text=True, stdout=subprocess.PIPE)
                failed += heard.returncode != 0
                print(_told(name, heard), end="", flush=True)
                verdict = "content" if heard.returncode == 0 else "NOT CONTENT"
                print(f"{name}: {verdict} ({time.monotonic() - began:.1f} s)", flush=True)
    return failed


def _told(name: str, heard: subprocess.CompletedProcess[str]) -> str:
    """What is shown of a judge's report: all of it; of schemathesis' pages, where it is content, how much it asked.

    Its report closes as pytest's does, with the seconds alone: a reader of CI's log would take it for a suite without a test.
    """
    if name != "schemathesis" or heard.returncode:
        return heard.stdout
    lines = [line.strip() for line in heard.stdout.splitlines()]
    operations = [f"  operations {line.lower()}\n" for line in lines if line.startswith("Tested:")]
    return "".join(operations + [f"  requests: {line}\n" for line in lines if "generated," in line])


def _done(process: subprocess.CompletedProcess[str]) -> None:
    if process.returncode:
        raise SystemExit(process.stderr)


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--those-at-hand"]
    place = Path(words[0] if words else ".conformance").resolve()
    sys.exit(1 if main(place, words[1:] or list(JUDGES), "--those-at-hand" in sys.argv) else 0)
