"""Interpreters: which Python an environment gets, and building it once, whatever happens in between.

Most builds install a tiny wheel from a folder, so that they need no network.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from registry import installers
from registry.errors import DiskFull, EnvironmentBuildError
from registry.installers import InstallerName, Wanted, choose_installer, find_uv
from registry.interpreters import Interpreter, find_pythons, interpreter_for, interpreter_key
from registry.pip_settings import PipSettings
from registry.pythons import NoPython, Python, PythonRange, choose_python, own_python, pythons_at_hand
from registry.tool_process import InstallFailed, run_tool

OWN_MINOR = ".".join(map(str, sys.version_info[:2]))


def make_wheel(folder: Path, name: str = "tiny_pkg", version: str = "1.0", requires: str = "") -> None:
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        needed = f"Requires-Dist: {requires}\n" if requires else ""
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    make_wheel(folder)
    return folder


def offline(wheels: Path, *packages: str, python: str | None = None) -> dict[str, Any]:
    return {
        "python": python,
        "pip": list(packages),
        "options": ["--no-index", f"--find-links {wheels}"],
        "variables": {},
    }


def asks(interpreter: Interpreter, code: str) -> str:
    return subprocess.run([interpreter.python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def uv() -> InstallerName:
    if find_uv() is None:
        pytest.skip("uv is not installed")
    return "uv"


# building


def test_an_environment_that_asks_for_nothing_is_our_own_python(tmp_path: Path) -> None:
    for spec in (None, {}, {"python": None, "pip": [], "variables": {"A": "b"}, "shimmed": ["azureml-core"]}):
        own = interpreter_for(spec, tmp_path / "none")
        assert (own.python, own.digest) == (Path(sys.executable), "own")
        assert any(line.startswith("scikit-learn==") for line in own.frozen)
    assert not (tmp_path / "none").exists()


def test_it_is_built_once_and_then_found_in_milliseconds(tmp_path: Path, wheels: Path, uv: InstallerName) -> None:
    lines: list[str] = []
    spec = offline(wheels, "tiny_pkg==1.0")
    built = interpreter_for(spec, tmp_path / "root", progress=lines.append, installer=uv)
    check_tiny(built)
    assert built.digest == interpreter_key(spec)
    assert "building environment" in lines[0]
    assert "(uv)" in lines[0]
    assert "is ready" in lines[-1]
    lines.clear()
    started = time.perf_counter()
    assert interpreter_for(spec, tmp_path / "root", progress=lines.append) == built
    assert time.perf_counter() - started < 0.2  # takes about 0.3 ms
    assert lines == []


def check_tiny(built: Interpreter) -> None:
    assert asks(built, "import tiny_pkg; print(tiny_pkg.VERSION)") == "1.0"
    assert "tiny_pkg==1.0" in [line.replace("-", "_") for line in built.frozen]
    assert [line for line in built.frozen if "==" not in line and " @ " not in line] == []
    assert built.version == str(own_python())


@pytest.mark.slow
def test_venv_and_pip_do_it_where_uv_does_not_take_the_python(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv(tmp_path, monkeypatch, "echo 'error: unsupported Python'; exit 2")
    lines: list[str] = []
    spec = offline(wheels, "tiny_pkg==1.0")
    built = interpreter_for(spec, tmp_path / "root", progress=lines.append)
    check_tiny(built)
    assert "uv does not take this Python; venv and pip do" in lines
    assert interpreter_for(spec, tmp_path / "root", installer="pip") == built
    lacking = Wanted(["no-such-package==9"], spec["options"])
    with pytest.raises(InstallFailed, match="No matching distribution found for no-such-package==9"):
        choose_installer("pip").install(built.python, lacking, tmp_path, lines.append)


@pytest.mark.slow
def test_a_scikit_learn_of_another_version(tmp_path: Path, uv: InstallerName) -> None:
    spec = {"python": OWN_MINOR, "pip": ["scikit-learn==1.5.2", "numpy<2", "joblib"], "variables": {}}
    try:
        built = interpreter_for(spec, tmp_path, installer=uv)
    except EnvironmentBuildError as error:
        if any(
            word in str(error) for word in ("fetch", "connect", "resolve host", "timed out", "not found in the cache")
        ):
            pytest.skip(f"no package index can be reached: {error}")
        raise
    told = asks(built, "import sklearn, numpy; print(sklearn.__version__, numpy.__version__)").split()
    assert told[0] == "1.5.2"
    assert told[1].startswith("1.")
    assert f"numpy=={told[1]}" in built.frozen


def test_specs_that_differ_in_variables_only_share_an_interpreter() -> None:
    one = {"python": "3.11", "pip": ["a"], "variables": {}}
    assert interpreter_key(one) == interpreter_key({**one, "variables": {"A": "1"}, "shimmed": ["azureml-core"]})
    assert interpreter_key(one) != interpreter_key({**one, "python": "3.12"})
    assert interpreter_key(one) != interpreter_key({**one, "pip": ["a", "b"]})
    assert interpreter_key(one) != interpreter_key({**one, "options": ["--pre"]})


def test_the_python_of_the_caller_does_not_reach_into_a_build(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch, uv: InstallerName
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "poison"))
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "other"))
    monkeypatch.setenv("UV_SYSTEM_PYTHON", "1")
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    built = interpreter_for(offline(wheels, "tiny_pkg"), tmp_path / "root", installer=uv)
    assert any("tiny" in line for line in built.frozen)
    assert not (tmp_path / "elsewhere").exists()


def test_an_interpreter_whose_python_is_gone_is_built_anew(tmp_path: Path, wheels: Path, uv: InstallerName) -> None:
    spec = offline(wheels, "tiny_pkg")
    first = interpreter_for(spec, tmp_path / "root", installer=uv)
    first.python.unlink()
    second = interpreter_for(spec, tmp_path / "root", installer=uv)
    assert second.python != first.python
    assert asks(second, "print(1)") == "1"
    assert not first.python.parent.exists()


# failures


def test_a_package_that_is_nowhere_is_named(tmp_path: Path, wheels: Path, uv: InstallerName) -> None:
    with pytest.raises(EnvironmentBuildError, match="no-such-package") as error:
        interpreter_for(offline(wheels, "no-such-package==9"), tmp_path / "root", installer=uv, name="mine")
    assert str(error.value).startswith("environment 'mine' could not be built: ")
    assert "\n" not in str(error.value)
    assert [path.suffix for path in (tmp_path / "root").iterdir()] == [".lock"]  # nothing half-built stays


def test_requirements_that_contradict_each_other_are_named(tmp_path: Path, wheels: Path, uv: InstallerName) -> None:
    make_wheel(wheels, "other", requires="tiny_pkg>=2")
    with pytest.raises(EnvironmentBuildError, match=r"other depends? on tiny-pkg>=2"):
        interpreter_for(offline(wheels, "tiny_pkg==1.0", "other"), tmp_path / "root", installer=uv)


def fake_uv(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    path = folder / "uv"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(installers, "find_uv", lambda: path)


def test_a_full_disk_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_uv(tmp_path, monkeypatch, "echo 'error: failed to write: No space left on device (os error 28)' >&2; exit 2")
    with pytest.raises(DiskFull):
        interpreter_for({"pip": ["a"]}, tmp_path / "root", installer="uv")


def test_credentials_in_an_index_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_uv(
        tmp_path,
        monkeypatch,
        'test "$1" = venv && mkdir "$5" && exit 0; echo "error: cannot fetch https://me:secret@index.example/simple/a/"; exit 1',
    )
    lines: list[str] = []
    with pytest.raises(EnvironmentBuildError, match=r"https://index\.example/simple/a/") as error:
        interpreter_for({"pip": ["a"]}, tmp_path / "root", installer="uv", progress=lines.append)
    assert "secret" not in str(error.value) + "".join(lines)


# what a build that failed looks like in the output of uv and of pip, shortened
UV_BUILD = """
   Building scikit-learn==0.24.2
error: Failed to build `scikit-learn==0.24.2`
  cause: The build backend returned an error
  cause: Call to `setuptools.build_meta` failed (exit status: 1)
         [stderr]
         Traceback (most recent call last):
           File "<string>", line 17, in <module>
         ModuleNotFoundError: No module named 'pkg_resources'
hint: This error likely indicates that
"""
UV_TREE = """
  × No solution found when resolving dependencies:
  ╰─▶ Because nothing was not found in the package registry and you require
      nothing, we can conclude that your requirements are unsatisfiable.
"""
UV_CONFLICT = """
error: No solution found when resolving dependencies
  cause: Because scikit-learn>=1.9.1 depends on numpy>=1.24.1 and you require numpy==1.23, we can conclude that your
         requirements and scikit-learn>=1.9.1 are incompatible.
         And because you require scikit-learn==1.9.1, we can conclude that your requirements are unsatisfiable.
"""
PIP_CONFLICT = """
ERROR: Cannot install -r r.txt (line 3) and numpy==1.23 because these package versions have conflicting dependencies.

The conflict is caused by:
    The user requested numpy==1.23
    scikit-learn 1.9.1 depends on numpy>=1.24.1

To fix this you could try to:
1. loosen the range of package versions you've specified

ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/

"""
PIP_CONFLICT_OF_TWO = PIP_CONFLICT.replace("    The user requested numpy==1.23\n", "    old 1 depends on numpy<1.24\n")
PIP_BUILD = """
Collecting scikit-learn==0.24.2 (from -r requirements.txt (line 1))
  error: subprocess-exited-with-error
  × Getting requirements to build wheel did not run successfully.
  │ exit code: 1
  ╰─> [21 lines of output]
      Traceback (most recent call last):
      ModuleNotFoundError: No module named 'pkg_resources'
      [end of output]
error: subprocess-exited-with-error
"""


@pytest.mark.parametrize(
    ("told", "output", "sentence"),
    [
        (
            installers.uv_problem,
            UV_BUILD,
            "Failed to build `scikit-learn==0.24.2`: ModuleNotFoundError: No module named 'pkg_resources'",
        ),
        (
            installers.uv_problem,
            UV_TREE,
            "Because nothing was not found in the package registry and you require nothing, "
            "we can conclude that your requirements are unsatisfiable.",
        ),
        (installers.uv_problem, UV_CONFLICT, "you asked for numpy==1.23; scikit-learn 1.9.1 needs numpy>=1.24.1"),
        (installers.pip_problem, PIP_CONFLICT, "you asked for numpy==1.23; scikit-learn 1.9.1 needs numpy>=1.24.1"),
        (installers.pip_problem, PIP_CONFLICT_OF_TWO, "old 1 needs numpy<1.24; scikit-learn 1.9.1 needs numpy>=1.24.1"),
        (installers.uv_problem, "error: broken\n", "broken"),
        (installers.uv_problem, "killed\n", "killed"),
        (
            installers.pip_problem,
            PIP_BUILD,
            "Failed to build scikit-learn==0.24.2: ModuleNotFoundError: No module named 'pkg_resources'",
        ),
        (
            installers.pip_problem,
            "a\nERROR: No matching distribution found for a\n",
            "No matching distribution found for a",
        ),
        (installers.pip_problem, "Error: Command failed\n", "Error: Command failed"),
        (installers.pip_problem, "", ""),
    ],
)
def test_the_cause_is_found_in_the_output(told: Callable[[Sequence[str]], str], output: str, sentence: str) -> None:
    assert told(output.splitlines()) == sentence


def test_colours_of_an_installer_are_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):  # as IPython sets them for what a notebook starts
        monkeypatch.setenv(name, "1")
    program = (
        "import os, sys; forced = [n for n in ('FORCE_COLOR', 'CLICOLOR_FORCE') if n in os.environ];"
        "print(f'\\x1b[31mERROR: no release of it, forced: {forced}\\x1b[0m\\x1b[31m');"
        "print('\\x1b]8;;https://pypi.org\\x1b\\\\\\x1b[0m'); sys.exit(1)"
    )
    told: list[str] = []
    with pytest.raises(InstallFailed) as failed:
        run_tool([sys.executable, "-c", program], tmp_path, {}, told.append, installers.pip_problem)
    assert str(failed.value) == "no release of it, forced: []"
    assert told == ["ERROR: no release of it, forced: []"]


def test_asking_for_uv_where_there_is_none_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installers, "find_uv", lambda: None)
    with pytest.raises(InstallFailed, match="neither beside this Python nor on PATH"):
        choose_installer("uv")
    assert choose_installer().name == "pip"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file")
    with pytest.raises(EnvironmentBuildError, match="root"):
        interpreter_for({"pip": ["a"]}, tmp_path / "root")


class Stopped(Exception):
    pass


def test_what_progress_raises_ends_the_build_and_its_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_uv(
        tmp_path, monkeypatch, f'test "$1" = venv && mkdir "$5" && exit 0; echo $$ > {tmp_path}/pid; echo go; sleep 600'
    )

    def progress(line: str) -> None:
        if line == "go":
            raise Stopped

    with pytest.raises(Stopped):
        interpreter_for({"pip": ["a"]}, tmp_path / "root", installer="uv", progress=progress)
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert [path.suffix for path in (tmp_path / "root").iterdir()] == [".lock"]


# several processes

BUILDER = """
import json, sys
from pathlib import Path
from registry.interpreters import interpreter_for

def progress(line):
    print(line, flush=True)
    if line.startswith(sys.argv[3]):
        sys.stdin.readline()

print("done", interpreter_for(json.loads(sys.argv[2]), Path(sys.argv[1]), progress=progress).python, flush=True)
"""


@pytest.fixture
def builders() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def start(
    builders: list[subprocess.Popen[str]], root: Path, spec: dict[str, Any], pause_at: str
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BUILDER), str(root), json.dumps(spec), pause_at],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    builders.append(process)
    return process


def read_until(process: subprocess.Popen[str], start: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            return line.strip()
    raise AssertionError(f"it ended before it said {start!r}")


def test_two_processes_at_once_build_once(tmp_path: Path, wheels: Path, builders: list[subprocess.Popen[str]]) -> None:
    spec = offline(wheels, "tiny_pkg")
    first = start(builders, tmp_path / "root", spec, pause_at="installing")
    read_until(first, "installing")
    second = start(builders, tmp_path / "root", spec, pause_at="never")
    read_until(second, "another process is building this environment")
    assert first.stdin is not None
    first.stdin.write("\n")
    first.stdin.flush()
    assert read_until(first, "done") == read_until(second, "done")
    assert len([path for path in (tmp_path / "root").iterdir() if path.is_dir() and not path.is_symlink()]) == 1


def test_a_build_that_was_killed_is_made_again(
    tmp_path: Path, wheels: Path, builders: list[subprocess.Popen[str]]
) -> None:
    spec = offline(wheels, "tiny_pkg")
    first = start(builders, tmp_path / "root", spec, pause_at="installing")
    read_until(first, "installing")
    (half_built,) = (path for path in (tmp_path / "root").iterdir() if path.is_dir())
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert half_built.exists()
    built = interpreter_for(spec, tmp_path / "root")
    assert asks(built, "import tiny_pkg; print(1)") == "1"
    assert not half_built.exists()


# which Python


def some(*versions: str) -> list[Python]:
    return [Python(tuple(map(int, v.split("."))), Path(f"/python{v}")) for v in versions]


AT_HAND = some("3.6.15", "3.8.1", "3.8.18", "3.10.13", "3.12.1")


@pytest.mark.parametrize(
    ("asked", "gets"),
    [
        ("3.6.2", "3.6.15"),
        ("3.6", "3.6.15"),
        ("3.8", "3.8.18"),
        ("3.8.1", "3.8.1"),
        ("3.8.*", "3.8.18"),
        (">=3.8,<3.11", "3.10.13"),
        (">=3.7,<=3.8", "3.8.18"),
        ("~=3.8", "3.12.1"),
        ("~=3.8.0", "3.8.18"),
        ("<3.8", "3.6.15"),
        ("!=3.12", "3.10.13"),
        (">3.10", "3.12.1"),
        ("3", "3.12.1"),
    ],
)
def test_a_python_at_hand_that_fits_is_taken_without_a_warning(asked: str, gets: str) -> None:
    choice = choose_python(PythonRange.parse(asked), AT_HAND, strict=True)
    assert (str(choice.python), choice.warning) == (gets, None)


@pytest.mark.parametrize(("asked", "gets"), [("3.7.3", "3.8.18"), ("3.9", "3.10.13"), (">=3.11,<3.12", "3.12.1")])
def test_else_the_nearest_newer_one_with_a_warning(asked: str, gets: str) -> None:
    choice = choose_python(PythonRange.parse(asked), AT_HAND)
    assert str(choice.python) == gets
    assert choice.warning == f"Python {asked} is not at hand; {gets}, the nearest newer one, is used instead"
    with pytest.raises(NoPython, match=r"no such Python is at hand \(there is: 3\.6\.15, 3\.8\.1, "):
        choose_python(PythonRange.parse(asked), AT_HAND, strict=True)


def test_no_older_one_is_taken() -> None:
    with pytest.raises(NoPython, match="no such or newer Python"):
        choose_python(PythonRange.parse("3.13"), AT_HAND)


def test_a_pinned_scikit_learn_gets_a_python_that_it_has_wheels_for() -> None:
    assert str(choose_python(None, AT_HAND, scikit_learn="0.24.2").python) == "3.8.18"
    assert str(choose_python(None, AT_HAND, scikit_learn="0.19.1").python) == "3.6.15"
    assert choose_python(None, AT_HAND, scikit_learn=None).python == own_python()
    assert choose_python(None, AT_HAND, scikit_learn="99.1").python == own_python()
    alone = choose_python(None, [own_python()], scikit_learn="0.19.1")
    assert alone.warning == "scikit-learn 0.19.1 has wheels for Python 3.6 to 3.6; none is at hand"


def test_the_pythons_at_hand_start_and_are_what_they_say() -> None:
    found = find_pythons()
    assert str(own_python()) in dict(found)
    assert [python.version for python in pythons_at_hand()] == sorted(python.version for python in pythons_at_hand())
    for version, path in found:
        said = subprocess.run([path, "-V"], capture_output=True, text=True, check=True).stdout
        assert said.split()[1] == version


def test_what_is_no_python_is_not_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, lying = tmp_path / "python3.7", tmp_path / "python3.9"
    broken.write_text("#!/bin/sh\nexit 127\n")
    lying.write_text("#!/bin/sh\necho PyPy 3 9 1\n")
    for path in (broken, lying):
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path))
    assert pythons_at_hand() == [own_python()]


def test_numpy_that_is_left_open_is_bounded_for_old_code(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch, uv: InstallerName
) -> None:
    make_wheel(wheels, "numpy", "1.23.5")
    make_wheel(wheels, "numpy", "2.1.0")
    make_wheel(wheels, "scikit_learn", "1.3.0")
    monkeypatch.setattr("registry.interpreters.pythons_at_hand", lambda: [own_python()])

    def numpy_of(*packages: str, python: str | None = None) -> tuple[str, tuple[str, ...]]:
        built = interpreter_for(offline(wheels, *packages, python=python), tmp_path / "root", installer=uv)
        return next(line for line in built.frozen if line.startswith("numpy")), built.warnings

    assert numpy_of("numpy") == ("numpy==2.1.0", ())
    assert numpy_of("numpy", "scikit-learn==1.3.0")[0] == "numpy==1.23.5"
    if own_python().minor <= (3, 11):
        release, warnings = numpy_of("numpy", python="3.6.2")
        assert release == "numpy==1.23.5"
        assert "Python 3.6.2 is not at hand" in warnings[0]
        assert "numpy<1.24 is taken for code that was made for Python 3.6.2" in warnings[1]
    assert numpy_of("numpy>=2", python="3.6.2")[0] == "numpy==2.1.0"


def test_strict_also_refuses_one_that_was_built_with_a_newer_python(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch, uv: InstallerName
) -> None:
    monkeypatch.setattr("registry.interpreters.pythons_at_hand", lambda: [own_python()])
    spec = offline(wheels, "tiny_pkg", python="3.6.2")
    assert interpreter_for(spec, tmp_path / "root", installer=uv).warnings
    with pytest.raises(EnvironmentBuildError, match=r"3\.6\.2 is not at hand"):
        interpreter_for(spec, tmp_path / "root", installer=uv, strict=True)


# where packages come from


def settings_of(folder: Path, text: str, **variables: str) -> PipSettings:
    (folder / "pip.conf").write_text(text)
    return PipSettings.of_this_machine({"PIP_CONFIG_FILE": str(folder / "pip.conf"), "HOME": str(folder), **variables})


def test_pip_s_configuration_is_told_to_uv(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        """
[global]
index-url = https://index.example/simple
extra_index_url =
    https://one.example/simple
    https://two.example/simple
find-links = /a /b
trusted-host = one.example
cert = /etc/ca.pem
timeout = 99
proxy = http://proxy.example:3128
[install]
no-index = true
only-binary = numpy,scipy
""",
    )
    assert settings.uv_variables({}) == {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_DEFAULT_INDEX": "https://index.example/simple",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_FIND_LINKS": "/a,/b",
        "UV_INSECURE_HOST": "one.example",
        "UV_HTTP_TIMEOUT": "99",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "HTTP_PROXY": "http://proxy.example:3128",
    }
    assert settings.uv_flags() == ["--no-index", "--only-binary", "numpy", "--only-binary", "scipy"]


def test_a_variable_of_pip_wins_over_its_file_and_one_of_uv_over_both(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path, "[global]\nindex-url = https://file.example\n", PIP_INDEX_URL="https://env.example", PIP_CERT="/ca"
    )
    assert settings.uv_variables({})["UV_DEFAULT_INDEX"] == "https://env.example"
    for own in ("UV_INDEX_URL", "UV_DEFAULT_INDEX"):
        assert "UV_DEFAULT_INDEX" not in settings.uv_variables({own: "https://uv.example"})
    assert "SSL_CERT_FILE" not in settings.uv_variables({"SSL_CERT_FILE": "/own"})


def test_a_file_that_pip_could_not_read_is_passed_over(tmp_path: Path) -> None:
    assert "UV_DEFAULT_INDEX" not in settings_of(tmp_path, "index-url = nowhere\n", PIP_INDEX_URL="").uv_variables({})
    assert PipSettings.of_this_machine({"PIP_CONFIG_FILE": os.devnull}).values == {}


def test_uv_installs_from_where_pip_is_configured_to(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch, uv: InstallerName
) -> None:
    (tmp_path / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {wheels}\n")
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    built = interpreter_for({"pip": ["tiny_pkg"]}, tmp_path / "root", installer=uv)
    assert any(line.startswith("tiny") for line in built.frozen)
