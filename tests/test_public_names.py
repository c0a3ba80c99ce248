"""The public surface is a list, and this is the list."""

import importlib
import subprocess
import sys

import pytest

PUBLIC = {
    "gateway": {"Webservice"},
    "registry": {"Environment", "Model", "ResourceConfiguration", "Workspace"},
    "trainer": {"Experiment", "Run", "ScriptRunConfig", "Sweep"},
}


@pytest.mark.parametrize("package", PUBLIC)
def test_the_public_names_are_these(package: str) -> None:
    module = importlib.import_module(package)
    assert PUBLIC[package] <= set(module.__all__)
    for name in module.__all__:
        assert getattr(module, name).__name__ == name


@pytest.mark.parametrize("package", PUBLIC)
def test_importing_a_package_does_not_import_its_heavy_parts(package: str) -> None:
    code = (
        f"import sys, {package}; print([m for m in ('sqlalchemy', 'alembic', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
