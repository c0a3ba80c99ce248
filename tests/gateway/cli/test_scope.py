"""`serve` and `up` begin by asking systemd for a control group of their own, where that is needed and can be had."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import serve, up
from gateway.cli.main import cli
from gateway.settings import Settings

SYSTEMD_RUN = """#!/bin/sh
case "$*" in *trial*) exit STATUS ;; esac
while [ "$1" != "--" ]; do shift; done
shift
exec "$@"
"""
PROGRAM = """
import os, sys
from pathlib import Path
from gateway.cli.scope import enter_own_scope
from gateway.settings import Settings
from registry.limits.cgroup2 import Cgroup2
if not os.environ.get("FITSERVE_SCOPE"):
    Cgroup2.available = lambda self: "it is not delegated"
enter_own_scope(Settings.load(), Path(sys.argv[1]))
print(os.getpid(), os.environ.get("FITSERVE_SCOPE"), flush=True)
"""


class Entered(Exception):
    pass


def with_systemd(
    folder: Path, switch: Mapping[str, str] | None = None, *, works: bool = True
) -> subprocess.CompletedProcess[str]:
    """The program above beside a systemd-run that only starts what it is given."""
    (folder / "run/systemd/system").mkdir(parents=True)
    (folder / "systemd-run").write_text(SYSTEMD_RUN.replace("STATUS", "0" if works else "7"))
    (folder / "systemd-run").chmod(0o755)
    (folder / "program.py").write_text(PROGRAM)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FITSERVE_")}
    environment = {**inherited, "PATH": f"{folder}:{os.environ['PATH']}", **(switch or {})}
    command = [sys.executable, str(folder / "program.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    if "asking" not in done.stderr and not switch:
        pytest.skip("a scope cannot be asked for here: no root, or no version 2 mounted")
    return done


def test_it_starts_itself_anew_in_a_scope_once(tmp_path: Path) -> None:
    done = with_systemd(tmp_path)
    assert done.stdout.split()[1:] == ["1"]
    assert done.stderr.count("asking systemd") == 1
    assert "it is not delegated" in done.stderr


def test_what_systemd_refuses_is_said_and_it_goes_on(tmp_path: Path) -> None:
    done = with_systemd(tmp_path, works=False)
    assert done.stdout.split()[1:] == ["None"]
    assert "limits are held another way: systemd-run did not work: 7" in done.stderr


@pytest.mark.parametrize("switch", [{"FITSERVE_SYSTEMD_SCOPE": "0"}, {"FITSERVE_LIMITS": "watchdog"}])
def test_it_can_be_switched_off(tmp_path: Path, switch: dict[str, str]) -> None:
    done = with_systemd(tmp_path, switch)
    assert done.stdout.split()[1:] == ["None"]
    assert done.stderr == ""


@pytest.mark.parametrize(("module", "command"), [(serve, ["serve"]), (up, ["up", "train.py"])])
def test_serve_and_up_ask_before_they_do_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: object, command: list[str]
) -> None:
    def enter(settings: Settings) -> None:
        assert settings.systemd_scope
        raise Entered

    monkeypatch.setattr(module, "enter_own_scope", enter)
    monkeypatch.chdir(tmp_path)
    Path("train.py").touch()
    done = CliRunner().invoke(cli, ["--workspace", str(tmp_path / "ws"), *command, "--port", "0"])
    assert isinstance(done.exception, Entered), done.output
