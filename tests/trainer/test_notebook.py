"""A notebook as a run: its output is the log, its figures and executed copy are files, an error names cell and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from registry import Workspace
from registry.environment import Environment
from registry.errors import InvalidArgument
from tests.waiting import eventually
from trainer import Experiment, Run, ScriptRunConfig
from trainer.notebook import environment_for, requirements_of


def notebook(folder: Path, *cells: str, name: str = "train.ipynb") -> ScriptRunConfig:
    listed = [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": cell.splitlines(True)}
        for cell in cells
    ]
    listed.insert(0, {"cell_type": "markdown", "metadata": {}, "source": ["# A notebook"]})
    content = {"cells": listed, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return ScriptRunConfig(folder, name)


def run(workspace: Workspace, config: ScriptRunConfig, **wait: Any) -> Run:
    made = Experiment(workspace, "notebooks").submit(config)
    made.wait_for_completion(raise_on_error=False, **wait)
    return made


def log_of(made: Run) -> str:
    return (made._folder.log).read_text()


def test_its_output_its_figures_and_its_copy_are_kept(workspace: Workspace, tmp_path: Path) -> None:
    made = run(
        workspace,
        notebook(
            tmp_path / "code",
            "%matplotlib inline\n!echo from the shell\nprint('hello')",
            "from azureml.core import Run\nrun = Run.get_context()\nrun.log('Accuracy', 0.9)\nopen('beside.txt', 'w').write('x')",
            "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()\n6 * 7",
        ),
    )
    assert made.get_status() == "Completed", log_of(made)
    assert "from the shell" in log_of(made)
    assert "hello" in log_of(made)
    assert "42" in log_of(made)
    assert made.get_metrics() == {"Accuracy": 0.9}
    names = made.get_file_names()
    assert {"outputs/figure-1.png", "outputs/train.ipynb"} <= set(names)
    copy = json.loads((made._folder.find("outputs/train.ipynb") or Path()).read_text())
    assert "".join(copy["cells"][1]["source"]).startswith("%matplotlib inline")
    assert any("image/png" in out.get("data", {}) for out in copy["cells"][3]["outputs"])


def test_an_error_names_its_cell_and_line(workspace: Workspace, tmp_path: Path) -> None:
    made = run(workspace, notebook(tmp_path / "code", "x = 1", "y = 2\nz = x + nothing\n"))
    assert made.get_status() == "Failed"
    assert "cell 2, line 2 of the notebook: NameError: name 'nothing' is not defined" in log_of(made)
    assert "cell 2, line 2" in str(made.get_details()["error"])
    assert "outputs/train.ipynb" in made.get_file_names()


def test_a_kernel_that_ends_fails_the_run(workspace: Workspace, tmp_path: Path) -> None:
    made = run(workspace, notebook(tmp_path / "code", "import os\nos._exit(3)"))
    assert made.get_status() == "Failed"
    assert "kernel died" in log_of(made)


def test_a_cancelled_notebook_leaves_no_kernel(workspace: Workspace, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    config = notebook(
        tmp_path / "code", f"import os, time\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    )
    made = Experiment(workspace, "notebooks").submit(config)
    kernel = int(eventually(lambda: pid_file.exists() and pid_file.read_text(), what="the first cell"))
    made.cancel()
    made.wait_for_completion(raise_on_error=False)
    assert made.get_status() == "Canceled"
    eventually(lambda: not Path(f"/proc/{kernel}").exists(), what="the kernel's end")


def test_what_cells_install_are_requirements(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("flask==3.0  # for the page\n-i https://example.com\n")
    config = notebook(
        tmp_path,
        "!pip install -q seaborn==0.13.2 'plotly>=5'\n%pip install -U lightgbm\n! pip3 install azureml-sdk",
        "!python -m pip install -r requirements.txt --quiet\n!{sys.executable} -m pip install rich\nprint('pip install no')",
    )
    path = tmp_path / str(config.script)
    assert requirements_of(path) == ["seaborn==0.13.2", "plotly>=5", "lightgbm", "flask==3.0", "rich"]
    made = environment_for(Environment("mine"), path)
    assert made is not None
    wanted = made.python.conda_dependencies.pip_packages
    assert wanted == ["seaborn==0.13.2", "plotly>=5", "lightgbm", "flask==3.0", "rich", "ipykernel"]


def test_what_is_there_already_needs_no_environment(tmp_path: Path) -> None:
    config = notebook(tmp_path, "!pip install numpy pandas -q")
    assert environment_for(None, tmp_path / str(config.script)) is None


def test_the_wish_of_an_environment_comes_before_that_of_a_cell(tmp_path: Path) -> None:
    config = notebook(tmp_path, "!pip install seaborn==0.1 rich")
    environment = Environment("mine")
    environment.python.conda_dependencies.add_pip_package("seaborn==0.13.2")
    made = environment_for(environment, tmp_path / str(config.script))
    assert made is not None
    assert made.python.conda_dependencies.pip_packages == ["seaborn==0.13.2", "rich", "ipykernel"]


@pytest.mark.parametrize("content", ["not JSON", "{}", '{"cells": 3}', '{"worksheets": []}'])
def test_what_is_not_a_notebook_says_so(workspace: Workspace, tmp_path: Path, content: str) -> None:
    (tmp_path / "odd.ipynb").write_text(content)
    with pytest.raises(InvalidArgument, match=r"odd\.ipynb is not a notebook"):
        Experiment(workspace, "notebooks").submit(ScriptRunConfig(tmp_path, "odd.ipynb"))


def test_a_notebook_takes_no_arguments(workspace: Workspace, tmp_path: Path) -> None:
    config = notebook(tmp_path / "code", "1")
    config.arguments = ["--C", 5]
    with pytest.raises(InvalidArgument, match="a notebook takes none"):
        Experiment(workspace, "notebooks").submit(config)


def test_it_does_not_run_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer import notebook as module

    config = notebook(tmp_path, "1")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(module.NotebookExtraMissing, match="extra 'notebook'"):
        environment_for(None, tmp_path / str(config.script))
