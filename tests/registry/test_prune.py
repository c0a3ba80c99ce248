"""Freeing what nothing needs: and what is needed stays."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import joblib
import numpy as np
from sklearn.linear_model import LinearRegression

from registry.environments.interpreters import interpreter_key
from registry.prune import DAY_S, GRACE_S, needed_artifacts, prune
from registry.records import RunRecord
from registry.sdk.environment import Environment
from registry.sdk.model import Model
from registry.sdk.workspace import Workspace


def fitted(path: Path, slope: float) -> Path:
    X = np.arange(4.0).reshape(-1, 1)
    joblib.dump(LinearRegression().fit(X, slope * X[:, 0]), path)
    return path


def later(seconds: float) -> float:
    return time.time() + seconds


def files(workspace: Workspace) -> set[str]:
    return {path.name for path in workspace.root.glob("artifacts/??/*")}


def interpreter(workspace: Workspace, environment: Environment) -> str:
    """As a build leaves one."""
    key = interpreter_key(environment.spec())
    folder = workspace.interpreters_dir / f"{key}-0000"
    folder.mkdir(parents=True)
    (folder / "ready.json").write_text("{}")
    (workspace.interpreters_dir / key).symlink_to(folder.name)
    return key


def run(workspace: Workspace, name: str, *, ended: bool, environment: str | None = None) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=60)
    record = RunRecord(
        id=name,
        experiment="e",
        number=0,
        status="Completed" if ended else "Running",
        created_time=long_ago,
        end_time=long_ago if ended else None,
        environment=environment,
    )
    workspace.metadata.add_run(record)
    (workspace.runs_dir / name / "snapshot").mkdir(parents=True)
    (workspace.runs_dir / name / "snapshot" / "train.py").write_text("print()")


def test_artifacts_of_deleted_models_are_freed_and_those_of_others_stay(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "ws") as workspace:
        sample, answers = [[1.0], [2.0]], {"predict": [2.0, 4.0]}
        folder = tmp_path / "folder"
        folder.mkdir()
        fitted(folder / "model.joblib", 3.0)
        for name, slope in (("kept", 2.0), ("gone", 5.0)):
            model = fitted(tmp_path / f"{name}.joblib", slope)
            Model.register(workspace, model, name, sample=sample, expected=answers, show_output=False)
        Model.register(workspace, folder, "folder", show_output=False)
        before = files(workspace)
        Model(workspace, "gone").delete()
        assert prune(workspace).artifacts == []  # too young
        told = prune(workspace, dry_run=True, now=later(2 * GRACE_S))
        assert len(told.artifacts) == 1
        assert files(workspace) == before
        freed = prune(workspace, now=later(2 * GRACE_S))
        assert freed.artifacts == told.artifacts
        assert freed.bytes > 500
        assert before - files(workspace) == set(freed.artifacts)
        for digest in needed_artifacts(workspace):
            workspace.artifacts.verify(digest)
        assert not prune(workspace, now=later(2 * GRACE_S)).any()


def test_bytes_that_are_stored_again_are_young_again(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "ws") as workspace:
        digest = workspace.artifacts.put_bytes(b"abc", "a").digest
        [place] = workspace.root.glob("artifacts/??/*")
        os.utime(place, (0, 0))
        workspace.artifacts.put_bytes(b"abc", "a")
        assert prune(workspace).artifacts == []
        os.utime(place, (0, 0))
        assert prune(workspace).artifacts == [digest]


def test_interpreters_that_no_model_and_no_run_needs_are_freed(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "ws") as workspace:
        made = {name: Environment.from_spec(name, {"pip": [f"{name}==1.0"]}) for name in ("model", "run", "old")}
        keys = {name: interpreter(workspace, environment) for name, environment in made.items()}
        Model.register(workspace, fitted(tmp_path / "m.joblib", 1.0), "m", environment=made["model"], show_output=False)
        record = workspace.metadata.put_environment("run", made["run"].digest, made["run"].spec())
        run(workspace, "running", ended=False, environment=record.digest)
        killed = workspace.interpreters_dir / f"{keys['old']}-dead"
        killed.mkdir()
        assert prune(workspace).interpreters == []
        freed = prune(workspace, now=later(40 * DAY_S))
        assert freed.interpreters == [keys["old"], killed.name]
        left = {path.name for path in workspace.interpreters_dir.iterdir()}
        assert left == {keys["model"], keys["run"], f"{keys['model']}-0000", f"{keys['run']}-0000"}


def test_folders_without_a_record_and_old_working_copies_are_freed(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "ws") as workspace:
        run(workspace, "ended", ended=True)
        run(workspace, "running", ended=False)
        run(workspace, "registered", ended=True)
        Model.register(workspace, fitted(tmp_path / "m.joblib", 1.0), "m", run_id="registered", show_output=False)
        lost = workspace.runs_dir / "lost"
        lost.mkdir()
        (lost / "run.json").write_text(json.dumps({}))
        freed = prune(workspace, now=later(2 * GRACE_S))
        assert (freed.runs, freed.snapshots) == (["lost"], ["ended"])
        left = {path.relative_to(workspace.runs_dir).as_posix() for path in workspace.runs_dir.glob("*/snapshot")}
        assert left == {"running/snapshot", "registered/snapshot"}
        assert (workspace.runs_dir / "ended").is_dir()
