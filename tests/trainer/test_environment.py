"""Runs in an environment of their own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.environment import Environment
from registry.interpreters import find_pythons
from registry.records import TRAINED_IN
from registry.workspace import Workspace
from trainer import Experiment, Run, ScriptRunConfig
from trainer.errors import ActivityFailed

SCRIPTS = Path(__file__).parents[1] / "scripts"
Submit = Callable[..., Run]


def python_environment(version: str) -> Environment:
    environment = Environment("of-its-own")
    environment.python.conda_dependencies.set_python_version(version)
    environment.python.conda_dependencies.add_pip_package("azureml-defaults")
    environment.environment_variables = {"GREETING": "hello", "OMP_NUM_THREADS": "3"}
    return environment


@pytest.mark.parametrize("version", ["3.6", "3.13"])
def test_an_unmodified_script_in_an_interpreter_without_fitserve(workspace: Workspace, version: str) -> None:
    if not any(found.startswith(version + ".") for found, _ in find_pythons()):
        pytest.skip(f"no Python {version} was found on this machine")
    environment = python_environment(version)
    config = ScriptRunConfig(SCRIPTS / "own_registry", "train.py", ["--rate", 2.0], environment=environment)
    run = Experiment(workspace, "environments").submit(config)
    details = run.wait_for_completion()
    assert run.tags == {"python": version}
    assert run.get_metrics()["owner of registry"] == "user"
    assert run.get_metrics()["loss"] == [1.0, 0.5, 1 / 3]
    assert details["interpreter"]["python"].startswith(version)
    assert details["runDefinition"]["environment"] == {"name": "of-its-own", "digest": environment.digest}
    log = (run.log_path.parents[1] / "azureml-logs" / "20_image_build_log.txt").read_text()
    assert log.startswith("Building environment…\n")
    assert "azureml-defaults is not installed; fitserve's own azureml replaces it" in log


def test_variables_of_the_environment_reach_the_script(submit: Submit) -> None:
    environment = Environment("variables-only")
    environment.environment_variables = {"GREETING": "hello", "OMP_NUM_THREADS": "3"}
    run = submit("import os\nprint(os.environ['GREETING'], os.environ['OMP_NUM_THREADS'])", environment=environment)
    run.wait_for_completion()
    assert run.log_path.read_text() == "hello 3\n"


def test_an_environment_that_cannot_be_built_fails_the_run_with_the_reason(submit: Submit) -> None:
    environment = Environment("impossible")
    environment.python.conda_dependencies.set_python_version("3.99")
    run = submit("print('never')", environment=environment)
    with pytest.raises(ActivityFailed, match="environment 'impossible' could not be built") as caught:
        run.wait_for_completion()
    assert "3.99" in str(caught.value)
    assert run.log_path.read_text() == ""


def test_a_python_that_its_user_takes_care_of(
    workspace: Workspace, project: Callable[..., Path], tmp_path: Path
) -> None:
    """Its releases may be others tomorrow, so a model from it is served by what its file says."""
    theirs = tmp_path / "theirs"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", theirs], check=True)
    script = """
        import os, sys
        from azureml.core import Run
        os.makedirs("outputs", exist_ok=True)
        with open("outputs/model.txt", "w") as file:
            file.write(sys.prefix)
        Run.get_context().log("variable", os.environ.get("MINE"))
    """
    folder = project({"train.py": script})
    environment = Environment("theirs")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = str(theirs / "bin" / "python")
    for variables in ({}, {"MINE": "here"}):
        environment.environment_variables = dict(variables)
        config = ScriptRunConfig(folder, "train.py", environment=environment)
        run = Experiment(workspace, "tests").submit(config)
        details = run.wait_for_completion()
        assert (run.get_metrics()["variable"], "interpreter" in details) == (variables.get("MINE"), False)
        where = run.download_file("outputs/model.txt", tmp_path / "where.txt")
        assert Path(where.read_text()) == theirs
        model = run.register_model("m", "outputs/model.txt", model_framework="Custom", show_output=False)
        assert (model.record.environment, TRAINED_IN in model.record.facts) == (None, False)
    environment.python.interpreter_path = "/only/in/a/container/bin/python"
    assert environment.python.own_interpreter is None
