from pathlib import Path

import pytest

from registry.artifacts import code
from registry.artifacts.code import code_files
from registry.errors import InvalidArgument, LocalPathNotFound


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x = 1\n")
    return folder


def test_a_module_brings_all_python_files(tmp_path: Path) -> None:
    make(tmp_path, "features.py", "helper.py", "tools/deep.py", "data.csv", "notes/readme.md")
    assert code_files(tmp_path, ["sklearn", "features"]) == ["features.py", "helper.py", "tools/deep.py"]


def test_a_package_brings_its_data(tmp_path: Path) -> None:
    make(tmp_path, "words/__init__.py", "words/list.txt", "words/sub/more.json", "words/__init__.pyc", "train.csv")
    expected = ["words/__init__.py", "words/list.txt", "words/sub/more.json"]
    assert code_files(tmp_path, ["words"]) == expected


def test_a_package_without_init_is_one_too(tmp_path: Path) -> None:
    make(tmp_path, "words/part.py", "words/list.txt")
    assert code_files(tmp_path, ["words"]) == ["words/list.txt", "words/part.py"]


@pytest.mark.parametrize("modules", [[], ["sklearn", "numpy"], ["words"], ["../outside"], ["features.py"]])
def test_without_such_a_module_nothing_travels(tmp_path: Path, modules: list[str]) -> None:
    make(tmp_path, "features.py", "words/list.txt")
    make(tmp_path.parent, "outside.py")
    assert code_files(tmp_path, modules) == []


def test_what_is_nobodys_code_stays(tmp_path: Path) -> None:
    make(
        tmp_path,
        "features.py",
        ".git/hook.py",
        "__pycache__/features.py",
        "my-env/pyvenv.cfg",
        "my-env/lib/x.py",
        "venv/x.py",
        "node_modules/x.py",
        "outputs/x.py",
        "x.egg-info/x.py",
    )
    (tmp_path / "link").symlink_to(tmp_path.parent, target_is_directory=True)
    assert code_files(tmp_path, ["features"]) == ["features.py"]


def test_too_much_code_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "FILE_LIMIT", 3)
    make(tmp_path, "features.py", "a.py", "b.py", "c.py")
    with pytest.raises(
        InvalidArgument, match=r"more than 3 Python files .* name a folder with features and little else"
    ):
        code_files(tmp_path, ["features"])


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalPathNotFound, match=r"code folder .*none"):
        code_files(tmp_path / "none", ["features"])
