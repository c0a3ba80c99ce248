"""`make conformance`: other people's clients and servers judge a gateway, each in an environment of its own.

python -m tests.conformance [FOLDER FOR ENVIRONMENTS] [JUDGE …]
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

#: name → (what is installed, arguments after the judge's file)
JUDGES: Final[dict[str, tuple[list[str], list[str]]]] = {
    "kserve": (["kserve"], ["{url}"]),
    "manifest": (["kserve", "kubernetes<34"], ["{manifest}"]),  # KServe's classes are of the client's older kind
    "triton": (["tritonclient[http]"], ["{url}"]),
    "mlflow": (["mlflow"], ["{url}"]),
    "azure": (
        ["azureml-inference-server-http", "inference-schema[numpy-support]"],
        ["{url}/models/script", "{script}"],
    ),
    "schemathesis": (["schemathesis"], []),
}


def environment(name: str, packages: list[str], folder: Path) -> Path:
    """The Python of an environment that holds `packages`; made once."""
    python = folder / name / "bin" / "python"
    if not (folder / name / ".ready").exists():
        uv = shutil.which("uv", path=Path(sys.executable).parent) or shutil.which("uv")
        if uv is None:
            raise SystemExit("make conformance needs uv: pip install 'fitserve[uv]'")
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, folder / name], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", python, *packages], check=True)
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


def main(folder: Path, names: list[str]) -> int:
    """How many judges are not content."""
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
                python = environment(name, JUDGES[name][0], folder)
                began = time.monotonic()
                code = subprocess.run(command(name, python, gateway, script), check=False, timeout=900).returncode
                failed += code != 0
                print(
                    f"{name}: {'content' if code == 0 else 'NOT CONTENT'} ({time.monotonic() - began:.1f} s)",
                    flush=True,
                )
    return failed


def _done(process: subprocess.CompletedProcess[str]) -> None:
    if process.returncode:
        raise SystemExit(process.stderr)


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else ".conformance").resolve()
    sys.exit(1 if main(place, sys.argv[2:] or list(JUDGES)) else 0)
