"""What the trainer's tests share: a workspace, folders made of texts, runs that end with their test."""

import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.workspace import Workspace
from tests.waiting import eventually
from trainer import Experiment, Run, ScriptRunConfig
from trainer.history import TERMINAL
from trainer.variables import RPC_COMMAND

ROOT = Path(__file__).parent.parent.parent
SHIM = ROOT / "trainer" / "shim"


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace; what still runs in it is canceled at the end."""
    with Workspace.open(tmp_path / "workspace") as workspace:
        yield workspace
        for record in workspace.metadata.list_runs():
            if record.status not in TERMINAL and record.parent is None:
                run = Run.get(workspace, record.id)
                run.cancel()
                run.wait_for_completion(raise_on_error=False)


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Makes a source folder from texts: ``project({"train.py": "print(1)"})``."""

    def make(files: dict[str, str], name: str = "project") -> Path:
        for relative, text in files.items():
            path = tmp_path / name / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        return tmp_path / name

    return make


@pytest.fixture
def submit(workspace: Workspace, project: Callable[..., Path]) -> Callable[..., Run]:
    """Submits a script that is given as text: ``submit("print(1)", arguments=["--x", 1.0])``."""

    def go(text: str, files: dict[str, str] | None = None, **config: Any) -> Run:
        folder = project({"train.py": text, **(files or {})})
        return Experiment(workspace, "tests").submit(ScriptRunConfig(folder, "train.py", **config))

    return go


@pytest.fixture
def wait_for_line() -> Callable[[Run, str], None]:
    """Waits until a run has printed a line."""

    def wait(run: Run, line: str) -> None:
        eventually(lambda: line in run.log_path.read_text("utf-8", "replace").splitlines(), what=f"{line!r} in the log")

    return wait


@pytest.fixture
def azureml(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The shim importable as `azureml` in this process, outside of a run."""
    monkeypatch.syspath_prepend(str(SHIM))
    monkeypatch.delenv("FITSERVE_RUN_DIR", raising=False)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "azureml"]:
        del sys.modules[name]


@pytest.fixture
def run_dir(tmp_path: Path, azureml: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder, and this process inside that run."""
    folder = tmp_path / "runs" / "tests_1_00000000"
    (folder / "files").mkdir(parents=True)
    (folder / "snapshot").mkdir()
    facts = {"run_id": folder.name, "experiment": "tests", "number": 7, "tags": {"given": "yes"}, "properties": {}}
    (folder / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    monkeypatch.setenv("FITSERVE_RUN_DIR", str(folder))
    monkeypatch.setenv("AZUREML_RUN_ID", folder.name)
    return folder


@pytest.fixture
def ws(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, azureml: None) -> Iterator[Any]:
    """The test's workspace, as `azureml.core.Workspace`."""
    monkeypatch.setenv("FITSERVE_RPC", json.dumps(RPC_COMMAND))
    monkeypatch.setenv("FITSERVE_WORKSPACE", str(workspace.root))
    monkeypatch.chdir(tmp_path)
    from azureml._fitserve import client
    from azureml.core import Workspace as Theirs

    yield Theirs.from_config()
    client._close_all()
