"""The watch over the registry goes on whatever it meets."""

import shutil
import threading
from pathlib import Path

import pytest

from gateway.supervisor import registry_watch
from gateway.supervisor.registry_watch import Registered, RegistryWatch
from registry.workspace import Workspace
from tests.waiting import eventually


def test_what_nobody_expected_does_not_end_the_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_watch, "_PAUSE_S", 0.01)
    read = registry_watch.read_registered
    failures = iter([ValueError("a record of a later version"), KeyError("name")])

    def failing(workspace: Workspace) -> Registered:
        for failure in failures:
            raise failure
        return read(workspace)

    monkeypatch.setattr(registry_watch, "read_registered", failing)
    seen = threading.Event()
    with Workspace.open(tmp_path / "w") as workspace:
        watching = RegistryWatch(workspace, lambda _: seen.set())
        watching.start()
        assert seen.wait(5), "it reads again"
        watching.stop()


def test_a_workspace_that_is_taken_away_is_told_and_seen_again_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry_watch, "_PAUSE_S", 0.01)
    caplog.set_level("INFO", "fitserve.supervisor")

    def told(sentence: str) -> None:
        eventually(lambda: caplog.text, lambda text: sentence in text, "the sentence")

    with Workspace.open(tmp_path / "w") as workspace:
        watching = RegistryWatch(workspace, lambda _: None)
        watching.start()
        (tmp_path / "w").rename(tmp_path / "elsewhere")
        told("was removed or replaced while it was served")
        Workspace.open(tmp_path / "w").close()  # another one in its place is not the one that is served
        shutil.rmtree(tmp_path / "w")
        assert "can be read again" not in caplog.text
        (tmp_path / "elsewhere").rename(tmp_path / "w")
        told("the registry can be read again")
        watching.stop()
    assert caplog.text.count("was removed or replaced") == 1


def test_a_database_that_is_copied_over_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry_watch, "_PAUSE_S", 0.01)
    Workspace.open(tmp_path / "other").close()
    with Workspace.open(tmp_path / "w") as workspace:
        watching = RegistryWatch(workspace, lambda _: None)
        watching.start()
        shutil.copyfile(tmp_path / "other" / "fitserve.db", tmp_path / "w" / "fitserve.db")
        eventually(
            lambda: caplog.text, lambda text: "was removed or replaced while it was served" in text, "the sentence"
        )
        watching.stop()
