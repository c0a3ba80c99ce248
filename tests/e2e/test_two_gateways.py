"""Two gateways on one workspace: the records in PostgreSQL, the artifacts in a folder that both reach."""

import os
import time
from pathlib import Path

import pytest

from registry import Model, Workspace
from tests.e2e.gateway import Gateway, serving
from tests.e2e.models import iris_svc

ROW = [[5.1, 3.5, 1.4, 0.2]]


@pytest.mark.slow
def test_what_is_registered_is_seen_by_both_within_a_second(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {"FITSERVE_ARTIFACTS": f"file://{tmp_path}/shared"}

    def folder(name: str) -> dict[str, str]:
        return {**shared, "FITSERVE_WORKSPACE_FOLDER": str(tmp_path / name)}

    with (
        serving(tmp_path / "one", env=folder("one"), location=database) as one,
        serving(tmp_path / "two", env=folder("two"), location=database) as two,
    ):
        for name, value in folder("three").items():
            monkeypatch.setenv(name, value)
        with Workspace.open(database) as workspace:
            Model.register(workspace, iris_svc(tmp_path), "iris", show_output=False)
            registered = time.monotonic()
            seen = {}
            while len(seen) < 2 and time.monotonic() < registered + 10:
                for gateway in (one, two):
                    if gateway.url not in seen and gateway.status("iris"):
                        seen[gateway.url] = time.monotonic() - registered
            assert sorted(seen) == sorted([one.url, two.url])
            assert max(seen.values()) < 1, seen
        answers = [answered(gateway) for gateway in (one, two)]
        assert answers[0] == answers[1]
        assert one.http.get("/").status_code == two.http.get("/").status_code == 200
    assert os.listdir(tmp_path / "shared")


def answered(gateway: Gateway) -> list[int]:
    gateway.wait_for("iris")
    return list(gateway.score("iris", ROW).json())
