"""Environments made by conda. None can be had in every place where these tests run, so they drive a stand-in: a program that takes
conda's arguments and really makes a Python at the prefix, with `conda-meta` as conda writes it, from an installed interpreter.
What a real conda resolves is not tested here."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from registry.environments.conda_tool import entry_of_python, find_conda, is_conda_release, left_to_pip
from registry.environments.interpreters import Frozen, interpreter_for
from registry.environments.pythons import installed_pythons, own_python
from registry.errors import EnvironmentBuildError
from registry.sdk.environment import Environment
from tests.registry.test_interpreters import asks, make_wheel

STAND_IN = """
import json, pathlib, subprocess, sys, zipfile
arguments = sys.argv[1:]
said = pathlib.Path(__file__).with_name("said.json")
said.write_text(json.dumps(arguments))
assert arguments[:3] == ["create", "--yes", "--prefix"], arguments
prefix, rest = pathlib.Path(arguments[3]), arguments[4:]
while rest and rest[0].startswith("--"):
    rest = rest[1:] if rest[0] == "--override-channels" else rest[2:]
pythons, wheels = PYTHONS, WHEELS
wanted = next(entry for entry in rest if entry.startswith("python")).removeprefix("python=")
version = next((v for v in pythons if v.startswith(".".join(wanted.split(".")[:2]) + ".")), None)
if version is None:
    print("Collecting package metadata: failed")
    print()
    print("PackagesNotFoundError: The following packages are not available from current channels:")
    print()
    print("  - python=" + wanted)
    sys.exit(1)
python, venv = str(prefix / "bin" / "python"), [pythons[version], "-m", "venv", "--copies", str(prefix)]
subprocess.run([*venv, "--without-pip", "--system-site-packages"], check=True)
if subprocess.run([python, "-c", "import pip"], check=False).returncode:
    subprocess.run([*venv, "--clear"], check=True)
site = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, stdout=-1)
meta = prefix / "conda-meta"
meta.mkdir()
for entry in [f"python={version}", *(e for e in rest if not e.startswith(("python", "pip")))]:
    name, _, number = entry.partition("::")[2].partition("=") if "::" in entry else entry.partition("=")
    if name != "python" and name != "cudatoolkit":
        (wheel,) = pathlib.Path(wheels).glob(f"{name}-*.whl")
        zipfile.ZipFile(wheel).extractall(site.stdout.decode().strip())
    record = {"name": name, "version": number.partition("=")[0] or "1.0", "build": "py_0"}
    (meta / f"{name}-1.json").write_text(json.dumps(record))
"""


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    make_wheel(folder)
    make_wheel(folder, "from_pip", "2.0")
    return folder


@pytest.fixture
def stand_in(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for micromamba on the PATH; gives the file with what it was asked."""
    return put_on_path(tmp_path / "bin", wheels, monkeypatch, {str(p): str(p.path) for p in installed_pythons()})


def put_on_path(folder: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch, pythons: dict[str, str]) -> Path:
    folder.mkdir()
    program = folder / "micromamba"
    text = STAND_IN.replace("PYTHONS", repr(pythons)).replace("WHEELS", repr(str(wheels)))
    program.write_text(f"#!{sys.executable}\n{text}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.delenv("FITSERVE_CONDA", raising=False)
    return folder / "said.json"


def conda_spec(folder: Path, wheels: Path, python: str, *, pip: str = "from_pip") -> dict[str, Any]:
    file = folder / "environment.yml"
    file.write_text(
        textwrap.dedent(f"""
        channels: [conda-forge, defaults]
        dependencies:
        - python={python}
        - conda-forge::tiny_pkg=1.0
        - cudatoolkit
        - pip:
          - --no-index
          - --find-links {wheels}
          - {pip}
          - azureml-defaults
        """)
    )
    return Environment.from_conda_specification("env", file).spec()


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Python but our own is found without conda, and none may be downloaded."""
    monkeypatch.setattr("registry.environments.interpreters.installed_pythons", lambda: [own_python()])
    monkeypatch.setenv("FITSERVE_PYTHON_DOWNLOADS", "never")


def old_python() -> str:
    """The oldest installed Python."""
    oldest = installed_pythons()[0]
    if oldest.minor == own_python().minor:
        pytest.skip("there is no other Python on this machine")
    return ".".join(map(str, oldest.minor))


@pytest.mark.slow
def test_a_stand_in_for_micromamba_makes_the_python_and_its_packages_and_pip_the_rest(
    tmp_path: Path, wheels: Path, stand_in: Path, hidden: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    python, lines = old_python(), list[str]()
    spec = conda_spec(tmp_path, wheels, python)
    built = interpreter_for(spec, tmp_path / "root", progress=lines.append, strict=True)
    asked = json.loads(stand_in.read_text())
    assert asked[4:9] == ["--override-channels", "--channel", "conda-forge", "--channel", "defaults"]
    assert asked[9:] == [f"python={python}", "pip", "conda-forge::tiny_pkg=1.0", "cudatoolkit"]
    assert built.version.startswith(python + ".")
    assert built.made_by == "micromamba"
    assert built.warnings == ()
    assert asks(built, "import tiny_pkg, from_pip; print(tiny_pkg.VERSION, from_pip.VERSION)") == "1.0 2.0"
    assert {"from_pip==2.0", "tiny_pkg==1.0"} <= {release.replace("-", "_") for release in built.frozen}
    assert [release for release in built.frozen if is_conda_release(release)] == [
        "cudatoolkit=1.0=py_0",
        "tiny_pkg=1.0=py_0",
    ]
    assert "building environment" in lines[0]
    assert "(micromamba)" in lines[0]
    assert interpreter_for(spec, tmp_path / "root") == built
    # again from what was frozen, elsewhere by conda and on a machine without one
    frozen = Frozen(built.version, built.frozen)
    assert interpreter_for(spec, tmp_path / "root", frozen=frozen) == built
    again = interpreter_for(spec, tmp_path / "elsewhere", frozen=frozen)
    assert json.loads(stand_in.read_text())[9:] == [
        f"python={built.version}",
        "pip",
        "cudatoolkit=1.0=py_0",
        "tiny_pkg=1.0=py_0",
    ]
    assert set(again.frozen) == set(built.frozen)
    monkeypatch.setenv("FITSERVE_CONDA", "never")  # another machine, without conda
    monkeypatch.setattr("registry.environments.interpreters.installed_pythons", installed_pythons)
    there = interpreter_for(spec, tmp_path / "there", frozen=frozen)
    assert asks(there, "import tiny_pkg, from_pip; print(tiny_pkg.VERSION, from_pip.VERSION)") == "1.0 2.0"


def test_only_the_python_is_a_stand_in_s_where_the_file_is_not_conda_s(
    tmp_path: Path, wheels: Path, stand_in: Path, hidden: None
) -> None:
    python = old_python()
    spec = {"python": python, "pip": ["tiny_pkg"], "options": ["--no-index", f"--find-links {wheels}"]}
    built = interpreter_for(spec, tmp_path / "root")
    assert json.loads(stand_in.read_text())[4:] == [f"python={python}", "pip"]
    assert built.version.startswith(python)
    assert asks(built, "import tiny_pkg; print(tiny_pkg.VERSION)") == "1.0"
    stand_in.unlink()
    with pytest.raises(EnvironmentBuildError, match="no-such-package==9"):
        interpreter_for({**spec, "pip": ["no-such-package==9"]}, tmp_path / "lacking")
    assert [path.suffix for path in (tmp_path / "lacking").iterdir()] == [".lock"]
    stand_in.unlink()
    own = {"python": ".".join(map(str, own_python().minor)), "pip": ["tiny_pkg"], "options": spec["options"]}
    assert interpreter_for(own, tmp_path / "root").made_by in ("uv", "pip")
    assert not stand_in.exists()


def test_a_conda_that_fails_is_told_and_the_rest_is_tried(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch, hidden: None
) -> None:
    put_on_path(tmp_path / "bin", wheels, monkeypatch, {})
    lines: list[str] = []
    spec = conda_spec(tmp_path, wheels, "3.6.2")
    built = interpreter_for(spec, tmp_path / "root", progress=lines.append)
    reason = (
        "micromamba could not make the environment (PackagesNotFoundError: The following packages are not available from "
        "current channels: - python=3.6.2)"
    )
    assert built.warnings[0] == f"{reason}; its packages were taken from PyPI"
    assert built.warnings[1].startswith("Python 3.6.2 is not installed")
    assert f"warning: {reason}" in lines
    assert asks(built, "import tiny_pkg, from_pip; print(1)") == "1"
    with pytest.raises(EnvironmentBuildError) as refused:
        interpreter_for(spec, tmp_path / "strict", strict=True)
    assert "it asks for Python 3.6.2; no such Python is installed" in str(refused.value)
    assert "FITSERVE_PYTHON_DOWNLOADS forbids a download" in str(refused.value)
    assert reason in str(refused.value)


def test_which_conda_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("FITSERVE_CONDA", "CONDA_EXE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_conda() is None
    for name in ("conda", "mamba"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    found = find_conda()
    assert found is not None
    assert found.name == "mamba"
    monkeypatch.setenv("FITSERVE_CONDA", str(tmp_path / "conda"))
    named = find_conda()
    assert named is not None
    assert named.name == "conda"
    monkeypatch.setenv("FITSERVE_CONDA", "never")
    assert find_conda() is None


def test_the_words_of_conda() -> None:
    assert entry_of_python("3.6.2") == "python=3.6.2"
    assert entry_of_python(">=3.8,<3.11") == "python>=3.8,<3.11"
    assert entry_of_python(None) == "python"
    assert left_to_pip(["numpy==1.16.*", "torch", "joblib"], ["numpy=1.16", "pytorch", "cudatoolkit"]) == ["joblib"]
    assert is_conda_release("numpy=1.13.1=py36_0")
    assert not any(map(is_conda_release, ("numpy==1.13.1", "mine @ https://example.org/a=b=c.whl", "numpy===1")))


def test_uv_is_asked_for_a_python_that_is_not_installed_and_may_fail(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A uv that has no network: what it says is told, and the nearest newer Python is taken."""
    from registry.environments import installers

    real = installers.find_uv()
    uv = tmp_path / "uv"
    told = "error: client error (Connect): dns error"
    otherwise = f'exec {real} "$@"' if real else "exit 2"
    uv.write_text(
        f'#!/bin/sh\nif [ "$1" = python ]; then echo "$@" >> {tmp_path}/asked; echo "{told}"; exit 2; fi\n{otherwise}\n'
    )
    uv.chmod(0o755)
    monkeypatch.setattr(installers, "find_uv", lambda: uv)
    monkeypatch.setattr("registry.environments.interpreters.installed_pythons", lambda: [own_python()])
    monkeypatch.setenv("FITSERVE_CONDA", "never")
    for variable in ("FITSERVE_PYTHON_DOWNLOADS", "UV_PYTHON_DOWNLOADS"):
        monkeypatch.delenv(variable, raising=False)
    lines: list[str] = []
    spec = {"python": "3.7", "pip": ["tiny_pkg"], "options": ["--no-index", f"--find-links {wheels}"]}
    built = interpreter_for(spec, tmp_path / "root", progress=lines.append)
    assert "Python 3.7: uv could not download it: client error (Connect): dns error" in lines
    assert "3.7 is not installed" in built.warnings[0]
    assert (tmp_path / "asked").read_text().splitlines()[0] == "python install 3.7"
    with pytest.raises(EnvironmentBuildError, match=r"asks for Python 3\.7; no such .*; uv could not download it"):
        interpreter_for(spec, tmp_path / "strict", strict=True)
    (tmp_path / "asked").unlink()
    monkeypatch.setenv("FITSERVE_PYTHON_DOWNLOADS", "never")
    assert "3.7 is not installed" in interpreter_for(spec, tmp_path / "forbidden").warnings[0]
    assert not (tmp_path / "asked").exists()


def test_a_python_that_uv_has_downloaded_is_taken(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A uv that really puts a Python where it keeps them: one of this machine's."""
    from registry.environments import installers

    other = next((p for p in installed_pythons() if p.minor not in ((3, 6), own_python().minor)), None)
    real = installers.find_uv()
    if other is None or real is None:
        pytest.skip("this takes uv and another Python")
    managed = tmp_path / "managed"
    folder = managed / f"cpython-{other}-linux"
    uv = tmp_path / "uv"
    uv.write_text(
        f'#!/bin/sh\nif [ "$1" = python ]; then /bin/mkdir -p {managed}; /bin/ln -s {other.path.parents[1]} {folder}; exit 0; fi\n'
        f'exec {real} "$@"\n'
    )
    uv.chmod(0o755)
    monkeypatch.setattr(installers, "find_uv", lambda: uv)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(managed))
    for variable in ("FITSERVE_PYTHON_DOWNLOADS", "UV_PYTHON_DOWNLOADS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("FITSERVE_CONDA", "never")
    asked = ".".join(map(str, other.minor))
    spec = {"python": asked, "pip": ["tiny_pkg"], "options": ["--no-index", f"--find-links {wheels}"]}
    lines: list[str] = []
    built = interpreter_for(spec, tmp_path / "root", progress=lines.append, strict=True)
    assert lines[0] == f"Python {asked} is not installed; asking uv to download it"
    assert (built.version, built.warnings) == (str(other), ())
    assert subprocess.run([built.python, "-c", "import tiny_pkg"], check=False).returncode == 0
