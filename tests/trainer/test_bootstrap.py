"""The bootstrap starts a script as the interpreter would, with the shim at the end of its path, in each Python at hand."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest

from registry.interpreters import find_pythons

VERSIONS = ["3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13"]
BOOTSTRAP = Path(__file__).parents[2] / "trainer" / "shim" / "azureml" / "_bootstrap.py"
SCRIPTS = Path(__file__).parents[1] / "scripts"

Done = subprocess.CompletedProcess[str]


@cache
def pythons() -> dict[str, Path]:
    """Minor version → an interpreter of it."""
    return {".".join(version.split(".")[:2]): path for version, path in find_pythons()}


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> Path:
    if request.param not in pythons():
        pytest.skip(f"no Python {request.param} was found on this machine")
    return pythons()[request.param]


def bootstrap(
    python: str | Path,
    folder: Path,
    script: str,
    arguments: Sequence[str] = (),
    *,
    mode: str = "script",
    go: bytes = b'{"rlimits": {}}',
    parent: int | None = None,
    **variables: str,
) -> Done:
    """Run `script` in `folder` as the launcher does."""
    read, write = os.pipe()
    os.write(write, go)
    os.close(write)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FITSERVE_", "AZUREML_"))}
    environment.pop("PYTHONPATH", None)
    command = [str(python), str(BOOTSTRAP), str(read), str(parent or os.getpid()), mode, script, *arguments]
    try:
        return subprocess.run(
            command,
            cwd=folder,
            pass_fds=[read],
            env={**environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    finally:
        os.close(read)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "exp_1_0123abcd"
    (folder / "files").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"run_id": folder.name, "experiment": "exp", "number": 1}))
    return folder


def test_an_unmodified_script_beside_a_folder_called_registry(python: Path, run_folder: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "source"
    shutil.copytree(SCRIPTS / "own_registry", folder)
    done = bootstrap(
        python,
        folder,
        "train.py",
        ["--rate", "1.5"],
        AZUREML_RUN_ID=run_folder.name,
        FITSERVE_RUN_DIR=str(run_folder),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"run {run_folder.name}\n"
    from trainer.shim.azureml._fitserve.wire import EventReader, collapse

    events = [event for _, event in EventReader(str(run_folder / "events.jsonl")).read()]
    assert collapse((e["name"], e["kind"], e["value"]) for e in events if e["type"] == "metric") == {
        "owner of registry": "user",
        "doubled": 3.0,
        "loss": [1.0, 0.5, 1 / 3],
        "sizes": [1, 2, 3],
        "point": {"x": 1, "y": 2.5},
        "table": {"a": [1, 2], "b": ["x", "y"]},
    }
    assert json.loads((folder / "outputs" / "result.json").read_text())["argv"] == ["--rate", "1.5"]


def test_every_call_of_the_shim_works_in_every_python(python: Path, run_folder: Path, tmp_path: Path) -> None:
    write(
        tmp_path,
        every="""
        import io, json
        from azureml.core import Dataset, Experiment, Model, Run, Workspace
        from azureml.exceptions import RunEnvironmentException
        run = Run.get_context()
        run.log("a", 1, description="d", step=3)
        run.log_list("b", range(2)); run.log_row("c", x=1); run.log_table("d", {"x": [1, 2]})
        class Plot:
            def savefig(self, path, format): open(path, "w").write(format)
        run.log_image("e", plot=Plot())
        run.log_confusion_matrix("f", {"schema_type": "confusion_matrix", "schema_version": "1", "data": {}})
        run.tag("t"); run.set_tags({"u": 1}); run.remove_tags("t"); run.add_properties({"p": 1})
        run.upload_file("g", io.BytesIO(b"x")); run.download_file("g", "copy")
        with run.child_run("child") as child:
            child.log("z", 1)
        run.display_name = "n"; run.description = "m"
        assert run.get_tags() == {"u": "1"} and run.get_properties() == {"p": "1"} and run.name == "n", run.get_tags()
        run.flush(); run.complete()
        try:
            Workspace.from_config()
        except RunEnvironmentException as error:
            print(str(error).split(":")[0])
        print(json.dumps(sorted(run.get_metrics())))
        import azureml.core.webservice.aci, azureml.train.sklearn
        from azureml.train.hyperdrive.parameter_expressions import *
        print(azureml.core.webservice.aci.AciWebservice.__name__, choice(1, 2))
        for use in (azureml.train.sklearn.SKLearn, lambda: Model.nothing):
            try:
                use()
            except azureml.exceptions.UserErrorException as error:
                print(str(error).split(":")[0], hasattr(Model, "nothing"))
        """,
    )
    done = bootstrap(python, tmp_path, "every.py", AZUREML_RUN_ID=run_folder.name, FITSERVE_RUN_DIR=str(run_folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "the launcher of this run cannot be reached",
        '["a", "b", "c", "d", "e", "f"]',
        "AciWebservice choice(1, 2)",
        "SKLearn is not supported by fitserve False",
        "Model.nothing is not supported by fitserve False",
    ]


AS_PYTHON = """
import os, pickle, sys
class Mine: pass
def function(): return 1
import beside
print(sys.argv, __name__, os.path.basename(__file__), sys.path[0] == os.getcwd(), __spec__, __package__)
print(sys.modules["__main__"].Mine is Mine, pickle.loads(pickle.dumps(Mine())).__class__ is Mine, beside.X)
print(sorted(name for name in globals() if not name.startswith("__")))
import atexit
atexit.register(lambda: print("at exit", sys.modules["__main__"].Mine is Mine))
"""


def test_a_script_cannot_tell_it_from_the_interpreter(python: Path, tmp_path: Path) -> None:
    write(tmp_path, script=AS_PYTHON, beside="X = 'beside'")
    plain = subprocess.run([str(python), "script.py", "a", "b"], cwd=tmp_path, capture_output=True, text=True)
    assert plain.returncode == 0, plain.stderr
    done = bootstrap(python, tmp_path, "script.py", ["a", "b"])
    assert (done.returncode, done.stdout, done.stderr) == (0, plain.stdout, plain.stderr)


@pytest.mark.parametrize(
    "text",
    [
        "def broken(:\n",
        "def f():\n    raise ValueError('x')\ntry:\n    f()\nexcept ValueError:\n    raise KeyError('y')\n",
        "raise SystemExit(7)",
        "raise SystemExit('words')",
        "import sys\nsys.exit()",
        "import os\nos._exit(9)",
        "# coding: latin-1\nraise RuntimeError('done')",
        "import beside_that_is_broken",
        "open('no such file')",
        "x = 'a' 1",
    ],
)
def test_endings_and_tracebacks_are_the_interpreters_own(python: Path, tmp_path: Path, text: str) -> None:
    write(tmp_path, script=text, beside_that_is_broken="1 +")
    plain = subprocess.run([str(python), "script.py"], cwd=tmp_path, capture_output=True, text=True)
    done = bootstrap(python, tmp_path, "script.py")
    assert (done.returncode, done.stderr.replace(f"{tmp_path}/", "")) == (
        plain.returncode,
        plain.stderr.replace(f"{tmp_path}/", ""),
    )


def test_an_installed_azureml_is_not_shadowed_not_even_in_children(tmp_path: Path) -> None:
    """One on PYTHONPATH stands for one in site-packages: both are on sys.path before the script begins."""
    core = tmp_path / "installed" / "azureml" / "core"
    core.mkdir(parents=True)
    (core.parent / "__init__.py").touch()
    (core / "__init__.py").write_text("WHO = 'the real one'")
    write(
        tmp_path,
        script="""
        import subprocess, sys
        import azureml.core
        print(azureml.core.WHO, flush=True)
        subprocess.check_call([sys.executable, "-c", "import azureml.core; print(azureml.core.WHO)"])
        """,
    )
    done = bootstrap(sys.executable, tmp_path, "script.py", PYTHONPATH=str(tmp_path / "installed"))
    assert (done.stdout, done.stderr) == ("the real one\n" * 2, "")


def test_a_distribution_that_only_adds_to_azureml_works_beside_the_shim(tmp_path: Path) -> None:
    (tmp_path / "installed" / "azureml").mkdir(parents=True)
    (tmp_path / "installed" / "azureml" / "extra.py").write_text("WHO = 'extra'")
    write(tmp_path, script="import azureml.core.run, azureml.extra\nprint(azureml.extra.WHO)")
    done = bootstrap(sys.executable, tmp_path, "script.py", PYTHONPATH=str(tmp_path / "installed"))
    assert (done.stdout, done.stderr) == ("extra\n", "")


@pytest.mark.parametrize(
    "start",
    [
        "import subprocess; subprocess.check_call([sys.executable, 'other.py'])",
        "import multiprocessing as m; p = m.get_context('spawn').Process(target=work); p.start(); p.join()",
        "import multiprocessing as m; p = m.get_context('fork').Process(target=work); p.start(); p.join()",
    ],
)
def test_processes_that_a_script_starts_find_the_shim(tmp_path: Path, start: str) -> None:
    write(
        tmp_path,
        script=f"""
        import sys
        def work():
            import other
        if __name__ == "__main__":
            {start}
        """,
        other="from azureml.core.run import Run\nprint(Run.__name__, flush=True)",
    )
    done = bootstrap(sys.executable, tmp_path, "script.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Run\n", "")


def test_input_says_that_a_run_has_no_keyboard(python: Path, tmp_path: Path) -> None:
    write(
        tmp_path,
        script="""
        import io, sys
        try:
            input("C? ")
        except EOFError as error:
            print(error)
        sys.stdin = io.StringIO("given\\n")
        print(input())
        input("again? ")
        """,
    )
    done = bootstrap(python, tmp_path, "script.py")
    assert done.returncode == 1
    sentence = "a run has no keyboard, so input() gets no answer: give the value to the script as an argument"
    assert done.stdout == f"C? {sentence}\ngiven\nagain? "
    assert done.stderr.splitlines()[-1] == f"EOFError: {sentence}"


#: As pyplot is: figures by their numbers, all closed by its own atexit handler, which is registered at import.
PYPLOT = """
import atexit
figures = {}
class Figure:
    def __init__(self, number): self.number, self.lines = number, []
    def savefig(self, path): open(path, "w").write(str(self.lines))
def figure(number=None):
    number = number or max(figures, default=0) + 1
    return figures.setdefault(number, Figure(number))
def plot(line): figure(max(figures, default=1)).lines.append(line)
def get_fignums(): return sorted(figures)
def close(number): del figures[number]
def show(): raise SystemExit("a window that nobody closes")
atexit.register(figures.clear)
"""


def test_figures_are_kept_and_show_does_not_wait(python: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlib").mkdir()
    write(tmp_path / "matplotlib", __init__="", pyplot=PYPLOT)
    write(
        tmp_path,
        script="""
        import os, sys
        assert "matplotlib" not in sys.modules
        import matplotlib.pyplot as plt
        os.mkdir("elsewhere"); os.chdir("elsewhere")
        plt.plot(1); plt.show()
        plt.plot(2); plt.figure(); plt.plot(3); plt.show(block=True)
        plt.plot(4)
        """,
    )
    done = bootstrap(python, tmp_path, "script.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"figure saved: outputs/figure-{number}.png" for number in (1, 2, 3, 4)]
    kept = [(tmp_path / "outputs" / f"figure-{number}.png").read_text() for number in (1, 2, 3, 4)]
    assert kept == ["[1]", "[2]", "[3]", "[4]"]


def test_without_pyplot_there_are_no_figures(tmp_path: Path) -> None:
    write(tmp_path, script="import sys\nprint([name for name in sys.modules if 'matplotlib' in name])")
    assert bootstrap(sys.executable, tmp_path, "script.py").stdout == "[]\n"
    assert not (tmp_path / "outputs").exists()


def test_without_a_go_the_script_does_not_begin(tmp_path: Path) -> None:
    write(tmp_path, script="print('began')")
    done = bootstrap(sys.executable, tmp_path, "script.py", go=b"")
    assert (done.returncode, done.stdout) == (1, "")
    assert "launcher of this run has ended" in done.stderr


def test_under_another_parent_the_script_does_not_begin(tmp_path: Path) -> None:
    write(tmp_path, script="print('began')")
    done = bootstrap(sys.executable, tmp_path, "script.py", parent=1)
    assert (done.returncode, done.stdout) == (1, "")


def test_limits_are_set_before_the_script_begins(python: Path, tmp_path: Path) -> None:
    write(
        tmp_path,
        script="""
        import resource
        print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        try:
            bytearray(200 * 2**20)
        except MemoryError:
            print("bounded")
        """,
    )
    go = json.dumps({"rlimits": {"RLIMIT_NOFILE": 77, "RLIMIT_DATA_EXTRA": 50 * 2**20}}).encode()
    done = bootstrap(python, tmp_path, "script.py", go=go)
    assert (done.stdout, done.stderr) == ("77\nbounded\n", "")


def test_folders_and_archives_run_too(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    write(tmp_path / "package", __main__="import sys\nprint('main', sys.argv)")
    assert bootstrap(sys.executable, tmp_path, "package", ["x"]).stdout == "main ['package', 'x']\n"
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "package" / "__main__.py", "__main__.py")
    assert bootstrap(sys.executable, tmp_path, "a.zip").stdout == "main ['a.zip']\n"


def test_the_shim_is_the_last_on_the_path(tmp_path: Path, project: Callable[..., Path]) -> None:
    write(tmp_path, script="import sys\nprint(sys.path[-1])")
    assert bootstrap(sys.executable, tmp_path, "script.py").stdout.strip() == str(BOOTSTRAP.parents[1])
