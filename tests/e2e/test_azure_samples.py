"""Programs after Azure's public samples, started by `fitserve exec`: run history, logging, services."""

import sys
from pathlib import Path

import pytest

from registry.environments.interpreters import find_pythons
from tests.e2e.test_azure_client import project, run_command

__all__ = ["project"]  # a fixture


def oldest_python() -> str:
    found = [(tuple(map(int, version.split(".")[:2])), path) for version, path in find_pythons()]
    return str(min(found)[1])


def check(folder: Path, python: str, program: str) -> str:
    done = run_command(folder, "exec", python, program)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all well" in done.stdout
    return done.stdout


@pytest.mark.timeout(120)
@pytest.mark.parametrize("project", ["azure_samples"], indirect=True)
def test_all_that_can_be_logged(project: Path) -> None:
    check(project, oldest_python(), "logging_api.py")
    listed = run_command(project, "runs").stdout
    for status in ("Completed", "Failed", "Canceled"):
        assert status in listed


@pytest.mark.timeout(120)
@pytest.mark.parametrize("project", ["azure_samples"], indirect=True)
@pytest.mark.parametrize("program", ["train_within_notebook.py", "services.py"])
def test_models_that_the_program_itself_has_fitted(project: Path, program: str) -> None:
    check(project, sys.executable, program)
