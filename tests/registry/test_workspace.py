import json
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from registry import Model, Workspace
from registry.errors import (
    InvalidArgument,
    InvalidName,
    MissingExtra,
    NoWorkspace,
    WorkspaceConfigError,
    WorkspaceExists,
)

IDS = {"subscription_id": "s", "resource_group": "g", "workspace_name": "w"}


def test_a_workspace_is_a_folder_with_known_parts(tmp_path: Path) -> None:
    with Workspace.open() as workspace:
        assert workspace.root == tmp_path / ".fitserve"
        parts = [workspace.runs_dir, workspace.interpreters_dir, workspace.cache_dir, workspace.logs_dir]
        assert [part.name for part in parts] == ["runs", "interpreters", "cache", "logs"]
        assert all(part.is_dir() for part in parts)


def test_without_a_name_it_has_that_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "irises").mkdir()
    with Workspace.open(tmp_path / "irises/.fitserve") as inside, Workspace.open(tmp_path / "plain") as plain:
        assert (inside.name, plain.name) == ("irises", "plain")
        assert inside.resource_group == inside.location == "local"


def test_from_config_takes_the_ids_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(IDS))
    with Workspace.from_config() as workspace:
        assert (workspace.name, workspace.subscription_id, workspace.resource_group) == ("w", "s", "g")
        assert workspace.root == tmp_path / ".fitserve"
    with Workspace.from_config(path="config.json") as same, Workspace.from_config(str(tmp_path)) as same_again:
        assert same.root == same_again.root == tmp_path / ".fitserve"


@pytest.mark.parametrize("folder", [".azureml", "aml_config"])
def test_what_write_config_writes_from_config_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    project = tmp_path / "project"
    (project / "aml_config" if folder == "aml_config" else project).mkdir(parents=True)
    with Workspace.create("irises", subscription_id="s", path=tmp_path / "elsewhere", show_output=False) as workspace:
        assert workspace.write_config(project) == project / folder / "config.json"
    with Workspace.from_config(project) as found:
        assert (found.root, found.name, found.subscription_id) == (tmp_path / "elsewhere", "irises", "s")
    with Workspace.open(project / "inside") as inside:
        inside.write_config(project, "inside.json")
    assert json.loads((project / folder / "inside.json").read_text())["fitserve"] == "inside"


def test_a_config_that_cannot_be_written_is_named(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceConfigError, match=r"config.json cannot be written"):
        workspace.write_config(tmp_path / "file")


def test_create_gives_a_name_that_get_asks_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Workspace.create("irises", resource_group="g", location="here").close()
    assert str(tmp_path / ".fitserve") in capsys.readouterr().out
    with Workspace.get("irises") as workspace:
        assert (workspace.name, workspace.resource_group, workspace.location) == ("irises", "g", "here")
    with pytest.raises(NoWorkspace, match="is one called irises"):
        Workspace.get("wines")
    with pytest.raises(NoWorkspace):
        Workspace.get("irises", path=tmp_path / "nowhere")


def test_create_does_not_take_over_what_is_there(tmp_path: Path) -> None:
    Workspace.create("irises", show_output=False).close()
    with pytest.raises(WorkspaceExists, match="exist_ok=True"):
        Workspace.create("irises")
    Workspace.create("irises", exist_ok=True, show_output=False).close()
    with pytest.raises(WorkspaceExists):
        Workspace.create("wines", exist_ok=True)
    with pytest.raises(InvalidName):
        Workspace.create("../irises", path=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_models_are_the_latest_of_each_name(workspace: Workspace, model_file: Path) -> None:
    for name in ("iris", "wine", "iris"):
        Model.register(workspace, model_file, name, show_output=False)
    assert {name: model.version for name, model in workspace.models.items()} == {"iris": 2, "wine": 1}
    assert workspace.webservices == {}
    assert workspace.experiments == ()


def test_details_and_tags(workspace: Workspace) -> None:
    details = workspace.get_details()
    assert (details["name"], details["root"], details["tags"]) == (workspace.name, str(workspace.root), {})
    assert details["id"].endswith(f"/workspaces/{workspace.name}")
    assert (workspace.sku, workspace.tags) == ("basic", {})


def test_artifacts_may_lie_elsewhere(tmp_path: Path, model_file: Path) -> None:
    url = f"memory://{uuid4().hex}"
    with Workspace.open(tmp_path / "w", artifacts=url) as workspace:
        model = Model.register(workspace, model_file, "iris", show_output=False)
    digest = model.record.artifact.digest
    with Workspace.open(tmp_path / "w") as again:
        assert again.artifacts.read_bytes(digest) == model_file.read_bytes()
    files, root = fsspec.core.url_to_fs(url)
    assert files.cat_file(f"{root}/{digest[:2]}/{digest}") == model_file.read_bytes()
    with pytest.raises(InvalidArgument, match=f"keeps its artifacts at {url}"):
        Workspace.open(tmp_path / "w", artifacts="memory://other")
    files.rm(root, recursive=True)


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [("nonsense://x", InvalidArgument, "nonsense"), ("s3://bucket/x", MissingExtra, "pip install s3fs$")],
)
def test_a_store_that_cannot_be_used_is_not_remembered(
    tmp_path: Path, url: str, error: type[Exception], said: str
) -> None:
    if (
        error is MissingExtra
        and subprocess.run([sys.executable, "-c", "import s3fs"], capture_output=True).returncode == 0
    ):
        pytest.skip("s3fs is installed here")
    with pytest.raises(error, match=said):
        Workspace.open(tmp_path / "w", artifacts=url)
    with Workspace.open(tmp_path / "w") as workspace:
        assert workspace.metadata.get_value("artifacts") is None


def test_importing_and_opening_leave_heavy_things_alone(workspace: Workspace) -> None:
    heavy = ("alembic", "fsspec", "numpy", "pandas", "sklearn", "yaml", "joblib")
    code = (
        "import sys, registry; light = 'sqlalchemy' not in sys.modules\n"
        "workspace = registry.Workspace.open(sys.argv[1]); workspace.revision(); workspace.models; workspace.artifacts\n"
        f"print(light, [name for name in {heavy} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(workspace.root)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "True []"


def test_an_unknown_name_of_the_package_is_an_ordinary_error() -> None:
    import registry

    assert set(registry.__all__) <= set(dir(registry))
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        registry.Nonsense  # noqa: B018


def test_artifacts_do_not_move_once_there_are_models(workspace: Workspace, model_file: Path) -> None:
    Model.register(workspace, model_file, "iris", show_output=False)
    with pytest.raises(InvalidArgument, match=f"keeps its artifacts at {workspace.root}/artifacts already"):
        Workspace.open(workspace.root, artifacts="memory://elsewhere")
