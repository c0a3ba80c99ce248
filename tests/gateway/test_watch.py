"""The watch over the registry goes on whatever it meets."""

import threading
from pathlib import Path

import pytest

from gateway import watch
from gateway.watch import Registered, RegistryWatch
from registry.workspace import Workspace


def test_what_nobody_expected_does_not_end_the_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_PAUSE_S", 0.01)
    read = watch.read_registered
    failures = iter([ValueError("a record of a later version"), KeyError("name")])

    def failing(workspace: Workspace) -> Registered:
        for failure in failures:
            raise failure
        return read(workspace)

    monkeypatch.setattr(watch, "read_registered", failing)
    seen = threading.Event()
    with Workspace.open(tmp_path / "w") as workspace:
        watching = RegistryWatch(workspace, lambda _: seen.set())
        watching.start()
        assert seen.wait(5), "it reads again"
        watching.stop()
