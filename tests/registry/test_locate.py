import json
from pathlib import Path

import pytest

from registry.errors import WorkspaceConfigError, WorkspaceNotFound
from registry.locate import PLACES, Identity, Location, locate, locate_by_config

IDS = {"subscription_id": "s", "resource_group": "g", "workspace_name": "w"}


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_without_anything_it_is_the_folder_here(tmp_path: Path) -> None:
    assert locate() == Location(tmp_path / ".fitserve")


def test_what_is_said_wins_over_the_environment_over_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "config.json", IDS | {"fitserve": "by-file"})
    assert locate().root == tmp_path / "by-file"
    monkeypatch.setenv("FITSERVE_WORKSPACE", "by-environment")
    assert locate().root == tmp_path / "by-environment"
    assert locate("said").root == tmp_path / "said"
    assert locate(tmp_path / "said").root == tmp_path / "said"


def test_three_ids_mean_the_folder_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "config.json", IDS)
    (tmp_path / "deep/er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep/er")
    assert locate() == Location(tmp_path / ".fitserve", None, Identity("w", "s", "g"))


@pytest.mark.parametrize("place", [".azureml/config.json", "aml_config/project.json"])
def test_a_file_in_azures_folder_speaks_for_the_project(tmp_path: Path, place: str) -> None:
    write(tmp_path / place, IDS)
    assert locate_by_config(None).root == tmp_path / ".fitserve"
    assert locate_by_config(tmp_path / place).root == tmp_path / ".fitserve"


def test_files_are_found_in_azures_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [place.format("config.json") for place in PLACES]
    assert places == [
        ".azureml/config.json",
        ".azureml/project.json",
        "aml_config/config.json",
        "aml_config/project.json",
        "config.json",
        "project.json",
    ]
    here = tmp_path / "child"
    here.mkdir()
    monkeypatch.chdir(here)
    for place in reversed(places):
        # each is sought in all parents before the next one is: the one above wins over a later kind here
        write(tmp_path / place, IDS | {"workspace_name": f"above {place}"})
        found = locate_by_config(None).identity
        assert found is not None
        assert found.name == f"above {place}"
        write(here / place, IDS | {"workspace_name": f"here {place}"})
        found = locate_by_config(None).identity
        assert found is not None
        assert found.name == f"here {place}"


def test_the_key_may_be_a_path_or_the_url_of_a_database(tmp_path: Path) -> None:
    config = write(tmp_path / "p/config.json", {"fitserve": "data/ws"})
    assert locate_by_config(config) == Location(tmp_path / "p/data/ws")
    write(config, {"fitserve": "/srv/ws"})
    assert locate_by_config(config).root == Path("/srv/ws")
    write(config, {"fitserve": "postgresql://host/db"})
    assert locate_by_config(config) == Location(tmp_path / "p/.fitserve", "postgresql://host/db")


def test_the_old_form_with_a_scope_is_understood(tmp_path: Path) -> None:
    scope = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
    config = write(tmp_path / "config.json", {"Scope": scope})
    assert locate_by_config(config).identity == Identity("w", "s", "g")


def test_another_file_name_may_be_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "config.json", IDS)
    write(tmp_path / "test.json", IDS | {"fitserve": "test"})
    assert locate_by_config(None, "test.json").root == tmp_path / "test"


def test_somebody_elses_file_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "config.json", IDS | {"fitserve": "ours"})
    for number, other in enumerate(({"name": "a web app"}, [1, 2], {"subscription_id": "s"})):
        write(tmp_path / f"child{number}/config.json", other)
        monkeypatch.chdir(tmp_path / f"child{number}")
        assert locate().root == tmp_path / "ours"


def test_without_a_file_azures_sentence_is_said(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceNotFound, match=f"config.json could not be found in {tmp_path} or its parent"):
        locate_by_config(None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{not json", "cannot be read"),
        ({"fitserve": 3}, "neither a path nor the URL"),
        ({"fitserve": ""}, "neither a path nor the URL"),
        ({"workspace_name": "w"}, "names no workspace: it needs subscription_id"),
    ],
)
def test_a_file_that_is_wrong_is_named(tmp_path: Path, content: object, said: str) -> None:
    config = write(tmp_path / "config.json", content)
    with pytest.raises(WorkspaceConfigError, match=f"{config} .*{said}"):
        locate_by_config(config)
