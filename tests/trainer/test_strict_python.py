"""How a program asks for exactly the Python that its environment names, and for larger snapshots."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.sdk.model import Model
from registry.sdk.workspace import Workspace
from tests.e2e.models import iris_svc
from trainer import Run, ScriptRunConfig


@pytest.mark.parametrize("how", ["config", "run_config", "environment", "variable", "nobody"])
def test_each_way_of_a_program_to_say_it(how: str, azureml: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from azureml.core import Environment, RunConfiguration
    from azureml.core import ScriptRunConfig as Theirs

    run_config = RunConfiguration()
    run_config.environment = Environment("env")
    run_config.strict_python = how == "run_config"
    run_config.environment.python.strict_python = how == "environment"
    if how == "variable":
        monkeypatch.setenv("FITSERVE_STRICT_PYTHON", "1")
    config = Theirs(".", "train.py", run_config=run_config, strict_python=how == "config")
    assert config._described()["strict_python"] is (how != "nobody")


def test_a_strict_run_fails_and_names_the_pythons(ws: Any, project: Callable[..., Path]) -> None:
    from azureml.core import Environment, Experiment
    from azureml.core import ScriptRunConfig as Theirs
    from azureml.exceptions import ActivityFailedException

    folder = project({"train.py": "print('never')"})
    environment = Environment("too-new")
    environment.python.conda_dependencies.set_python_version("3.99")
    run = Experiment(ws, "strict").submit(Theirs(str(folder), "train.py", environment=environment, strict_python=True))
    version = ".".join(map(str, sys.version_info[:3]))
    with pytest.raises(ActivityFailedException, match=r"asks for Python 3\.99; no such Python is installed") as failed:
        run.wait_for_completion()
    assert version in str(failed.value)


def test_a_model_of_a_strict_run_is_served_as_strictly(
    submit: Callable[..., Run], workspace: Workspace, tmp_path: Path
) -> None:
    model = iris_svc(tmp_path)
    code = f"import os, shutil\nos.makedirs('outputs', exist_ok=True)\nshutil.copy({str(model)!r}, 'outputs/m.joblib')"
    for strict in (True, False):
        run = submit(code, strict_python=strict)
        run.wait_for_completion()
        found: Model = run.register_model("m", "outputs/m.joblib")
        assert bool(found.record.settings.get("strict_python")) is strict


def test_azures_number_for_larger_snapshots_counts(
    ws: Any, project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import azureml._restclient.snapshots_client as client
    from azureml.core import Experiment
    from azureml.core import ScriptRunConfig as Theirs
    from azureml.exceptions import SnapshotException

    folder = project({"train.py": "print('there')"})
    (folder / "data.bin").write_bytes(bytes(3 * 2**20))
    monkeypatch.setattr(client, "SNAPSHOT_MAX_SIZE_BYTES", 2**20)
    with pytest.raises(SnapshotException, match="1"):
        Experiment(ws, "large").submit(Theirs(str(folder), "train.py"))
    monkeypatch.setattr(client, "SNAPSHOT_MAX_SIZE_BYTES", 8 * 2**20)
    Experiment(ws, "large").submit(Theirs(str(folder), "train.py")).wait_for_completion()


def test_our_own_config_has_it_too() -> None:
    assert not ScriptRunConfig(".", "train.py").strict_python
