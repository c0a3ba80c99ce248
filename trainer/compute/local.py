"""Runs on this machine, each under a detached launcher (`trainer.launch`)."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Final

import trainer
from registry.records import RunRecord
from registry.workspace import Workspace
from trainer.errors import LaunchFailed
from trainer.folder import RunFolder
from trainer.history import now
from trainer.process_id import ProcessId
from trainer.variables import USER_PYTHONPATH

_START_TIME: Final = timedelta(seconds=90)  # after which a launcher that has not written its pid is considered dead


class LocalTarget:
    """A `trainer.compute.base.ComputeTarget`."""

    def start(self, workspace: Workspace, run: RunRecord) -> None:
        folder = RunFolder(workspace.runs_dir / run.id)
        # -P and our own path: a folder called `registry` in the current folder must not hide ours.
        command = [sys.executable, "-P", "-m", "trainer.launch", "--run", run.id, "--folder", str(folder.root)]
        packages, users = str(Path(trainer.__file__).parent.parent), os.environ.get("PYTHONPATH", "")
        path = os.pathsep.join([packages, users] if users else [packages])
        environment = {**os.environ, "PYTHONPATH": path, USER_PYTHONPATH: users}
        database = workspace._location.database
        if database is None:
            command += ["--workspace", str(workspace.root)]
        else:
            environment["FITSERVE_WORKSPACE"] = (
                database  # not an argument, since every user of this machine can read those
            )
            environment["FITSERVE_WORKSPACE_FOLDER"] = str(workspace.root)
        with folder.launcher_log.open("ab") as log:
            try:
                # This process forks the launcher, writes its pid and exits, so it ends quickly and leaves no zombie.
                subprocess.run(
                    command,
                    cwd=workspace.root.parent,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    check=True,
                    timeout=60,
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise LaunchFailed(run.id, f"{error}; see {folder.launcher_log}") from error

    def cancel(self, workspace: Workspace, run: RunRecord) -> None:
        process = launcher_of(workspace, run)
        if process is not None and process.here and process.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGTERM)

    def lost(self, workspace: Workspace, run: RunRecord) -> str | None:
        process = launcher_of(workspace, run)
        if process is None:
            return "its launcher was never started" if now() - run.created_time > _START_TIME else None
        if not process.here or process.alive:
            return None
        return f"its launcher (process {process.pid}) was ended from outside, for instance by SIGKILL or a reboot"


def launcher_of(workspace: Workspace, run: RunRecord) -> ProcessId | None:
    """The launcher, from the run's record or from its file, which exists a little earlier."""
    process = ProcessId.from_json(run.details.get("launcher"))
    if process is not None:
        return process
    try:
        text = RunFolder(workspace.runs_dir / run.id).launcher_file.read_text(encoding="utf-8")
        return ProcessId.from_json(json.loads(text))
    except (FileNotFoundError, ValueError):
        return None
