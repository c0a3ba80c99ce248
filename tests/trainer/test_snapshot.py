"""What goes along with a script, and what does not."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.errors import InvalidArgument
from registry.sdk.workspace import Workspace
from tests.registry.mounts import python_where
from trainer import Experiment, ScriptRunConfig
from trainer.errors import SnapshotTooLarge, SnapshotTooManyFiles, SnapshotUnreadable
from trainer.git import git_properties
from trainer.snapshot import SnapshotLimits, take_snapshot

Project = Callable[..., Path]


def names(source: Path, tmp_path: Path, **options: object) -> list[str]:
    snapshot = take_snapshot(source, tmp_path / "copy", **options)  # type: ignore[arg-type]
    assert {name: (tmp_path / "copy" / name).is_file() for name in snapshot.files} == dict.fromkeys(
        snapshot.files, True
    )
    return sorted(snapshot.files)


def test_the_whole_folder_goes_along(project: Project, tmp_path: Path) -> None:
    source = project({"train.py": "a", "pkg/mod.py": "b", "docs/x.txt": "c", ".hidden": "d", "deep/outputs/x": "e"})
    (source / "train.py").chmod(0o755)
    assert names(source, tmp_path) == [".hidden", "deep/outputs/x", "docs/x.txt", "pkg/mod.py", "train.py"]
    assert os.access(tmp_path / "copy" / "train.py", os.X_OK)
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700


def test_what_never_goes_along(project: Project, tmp_path: Path) -> None:
    source = project(
        dict.fromkeys(
            [
                "train.py",
                "outputs/model.joblib",
                ".git/config",
                ".azureml/config.json",
                ".fitserve/fitserve.db",
                "sub/.fitserve/x",
                ".ipynb_checkpoints/x",
                "pkg/__pycache__/x.pyc",
                ".venv/bin/python",
                "envs/mine/pyvenv.cfg",
                "envs/mine/lib/x.py",
                "conda/conda-meta/history",
                "elsewhere/store/fitserve.db",
            ],
            "",
        )
    )
    assert names(source, tmp_path, leave_out=source / "elsewhere" / "store") == ["train.py"]


@pytest.mark.parametrize(
    ("ignore", "gone"),
    [
        ("*.csv\n", {"a.csv", "data/b.csv", "data/keep.csv"}),
        ("/a.csv\n", {"a.csv"}),
        ("data/\n", {"data/b.csv", "data/keep.csv", "data/c.txt"}),
        ("data/*\n!data/keep.csv\n", {"data/b.csv", "data/c.txt"}),
        ("**/c.txt # no comment\n# comment\n\n", set()),
        ("data/**/*.txt\n", {"data/c.txt"}),
        ("[ab].csv\n!a.csv\n", {"data/b.csv"}),
    ],
)
@pytest.mark.parametrize("name", [".amlignore", ".gitignore"])
def test_an_ignore_file_reads_as_gits(project: Project, tmp_path: Path, name: str, ignore: str, gone: set[str]) -> None:
    files = {"train.py", "a.csv", "data/b.csv", "data/keep.csv", "data/c.txt"}
    source = project({**dict.fromkeys(files, ""), name: ignore})
    assert set(names(source, tmp_path)) == (files | {name}) - gone


def test_amlignore_replaces_gitignore_and_only_the_top_one_counts(project: Project, tmp_path: Path) -> None:
    source = project({".gitignore": "a\n", ".amlignore": "b\n", "a": "", "b": "", "sub/.gitignore": "c\n", "sub/c": ""})
    assert names(source, tmp_path) == [".amlignore", ".gitignore", "a", "sub/.gitignore", "sub/c"]
    shutil.rmtree(tmp_path / "copy")
    (source / ".amlignore").write_text("")
    assert "a" in names(source, tmp_path), "an empty .amlignore still replaces .gitignore"


def test_links_are_followed_but_not_in_circles_and_pipes_are_passed_over(project: Project, tmp_path: Path) -> None:
    data = project({"x.csv": "data"}, "data")
    source = project({"train.py": ""})
    (source / "linked").symlink_to(data)
    (source / "file.csv").symlink_to(data / "x.csv")
    (source / "circle").symlink_to(source)
    (source / "broken").symlink_to("nowhere")
    os.mkfifo(source / "pipe")
    assert names(source, tmp_path) == ["file.csv", "linked/x.csv", "train.py"]
    assert not (tmp_path / "copy" / "file.csv").is_symlink()


def test_the_same_content_has_the_same_digest(project: Project, tmp_path: Path) -> None:
    source = project({"train.py": "a", "sub/b": "b"})
    first = take_snapshot(source, tmp_path / "1")
    os.utime(source / "train.py", (0, 0))
    assert take_snapshot(source, tmp_path / "2").digest == first.digest
    (source / "sub" / "b").rename(source / "b")
    assert take_snapshot(source, tmp_path / "3").digest != first.digest


def test_too_large_names_the_largest(project: Project, tmp_path: Path) -> None:
    source = project({"train.py": "", "data/a.bin": "x" * 2_000_000, "b.bin": "x" * 500_000})
    with pytest.raises(SnapshotTooLarge) as caught:
        take_snapshot(source, tmp_path / "copy", limits=SnapshotLimits(megabytes=1.0))
    text = str(caught.value)
    assert text.startswith(
        f"While attempting to take snapshot of {source}\nYour total snapshot size exceeds the limit of 1.0 MB."
    )
    assert "data/ (2.0 MB), b.bin (0.5 MB)" in text
    assert not (tmp_path / "copy").exists()


def test_too_many_files_names_the_fullest_folder(project: Project, tmp_path: Path) -> None:
    source = project({"train.py": "", **{f"many/{n}": "" for n in range(9)}})
    with pytest.raises(
        SnapshotTooManyFiles, match=r"Your project exceeds the file limit of 5\.\nMost are in: many/ \(9 files\)"
    ):
        take_snapshot(source, tmp_path / "copy", limits=SnapshotLimits(files=5))


def test_limits_are_azures_and_can_be_changed() -> None:
    assert SnapshotLimits.from_environment({}) == SnapshotLimits(300.0, 2000)
    assert SnapshotLimits.from_environment({"AML_SNAPSHOT_NO_FILE_LIMIT": "True"}) == SnapshotLimits(300.0, None)
    changed = {"FITSERVE_SNAPSHOT_MAX_MB": "1.5", "FITSERVE_SNAPSHOT_MAX_FILES": "3", "AML_SNAPSHOT_NO_FILE_LIMIT": "0"}
    assert SnapshotLimits.from_environment(changed) == SnapshotLimits(1.5, 3)


def test_limits_that_are_no_numbers_are_refused() -> None:
    for value in ("many", "-1", "nan", "inf"):
        with pytest.raises(InvalidArgument, match=f"FITSERVE_SNAPSHOT_MAX_MB: '{value}' is not a number such as 300"):
            SnapshotLimits.from_environment({"FITSERVE_SNAPSHOT_MAX_MB": value})


def test_a_full_disk_is_a_sentence_and_leaves_nothing_behind(project: Project, tmp_path: Path) -> None:
    source = project({"train.py": "", "data.bin": "x" * 3_000_000})
    (tmp_path / "small").mkdir()
    code = """
import sys
from pathlib import Path
from registry.errors import DiskFull
from registry.errors import InvalidArgument
from registry.sdk.workspace import Workspace
from tests.registry.mounts import python_where
from trainer import Experiment, ScriptRunConfig
workspace = Workspace.open(Path(sys.argv[1]) / "ws")
try:
    Experiment(workspace, "tests").submit(ScriptRunConfig(sys.argv[2], "train.py"))
except DiskFull as error:
    print(error)
print(list(workspace.runs_dir.iterdir()), list(workspace.metadata.list_runs()))
"""
    said = python_where('mount -t tmpfs -o size=2m none "$1"', code, tmp_path / "small", source)
    assert said.startswith("no space is left on the disk that holds ")
    assert said.endswith("\n[] []\n")


def test_a_file_that_cannot_be_read_is_named(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = project({"train.py": "", "locked.txt": ""})
    if os.geteuid() == 0:
        pytest.skip("root can read every file")
    (source / "locked.txt").chmod(0)
    with pytest.raises(SnapshotUnreadable, match=r"locked\.txt cannot be copied .* name it in \.amlignore"):
        take_snapshot(source, tmp_path / "copy")


def test_a_refused_snapshot_leaves_nothing_behind(
    workspace: Workspace, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FITSERVE_SNAPSHOT_MAX_FILES", "1")
    with pytest.raises(SnapshotTooManyFiles):
        Experiment(workspace, "tests").submit(ScriptRunConfig(project({"train.py": "", "b": ""}), "train.py"))
    assert list(workspace.runs_dir.iterdir()) == []
    assert list(workspace.metadata.list_runs()) == []


def test_a_workspace_inside_the_source_folder_is_not_copied(project: Project) -> None:
    source = project({"train.py": "import os\nprint(sorted(os.listdir('.')))"})
    with Workspace.open(source / "store") as workspace:
        for _ in range(2):
            run = Experiment(workspace, "tests").submit(ScriptRunConfig(source, "train.py"))
            run.wait_for_completion()
            assert run.log_path.read_text() == "['train.py']\n"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_facts_without_the_password_of_the_remote(project: Project) -> None:
    source = project({"train.py": "", "sub/x": ""})

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", "-C", str(source), *who, *arguments], check=True, capture_output=True, text=True
        ).stdout

    assert git_properties(source) == {} or "azureml.git.commit" in git_properties(source)  # inside another checkout
    git("init", "-q", "-b", "main")
    assert git_properties(source) == {
        "azureml.git.branch": "main",
        "azureml.git.dirty": "False",
        "mlflow.source.git.branch": "main",
    }
    git("add", ".")
    git("commit", "-q", "-m", "first")
    git("remote", "add", "origin", "https://user:secret@example.com/x.git")
    commit = git("rev-parse", "HEAD").strip()
    assert git_properties(source / "sub") == {
        "azureml.git.branch": "main",
        "azureml.git.commit": commit,
        "azureml.git.dirty": "False",
        "azureml.git.repository_uri": "https://example.com/x.git",
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.repoURL": "https://example.com/x.git",
    }
    (source / "train.py").write_text("changed")
    assert git_properties(source)["azureml.git.dirty"] == "True"
