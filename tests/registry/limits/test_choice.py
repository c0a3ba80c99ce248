"""Which back end is taken, what is said of the others, and how large the machine is said to be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from registry.errors import InvalidArgument, LimitsUnavailable, OperatorError
from registry.limits import (
    BACKENDS,
    available_memory_bytes,
    choose_backend,
    machine_cores,
    machine_memory_bytes,
    survey,
)
from registry.limits.none import Unlimited
from registry.limits.scope import delegation
from registry.resources import ResourceConfiguration
from tests.contracts.limits import dead, running
from tests.waiting import eventually


def test_the_survey_tells_of_each_and_the_first_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FITSERVE_LIMITS", raising=False)
    told = dict(survey())
    assert list(told) == list(BACKENDS)
    assert all(reason is None or len(reason) > 10 for reason in told.values())
    backend = choose_backend("contract")
    backend.close()
    assert backend.enforcement == next(name for name, reason in told.items() if reason is None)


@pytest.mark.parametrize("enforcement", list(BACKENDS))
def test_the_environment_forces_one_or_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, enforcement: str) -> None:
    monkeypatch.setenv("FITSERVE_LIMITS", enforcement)
    reason = dict(survey())[enforcement]  # type: ignore[index]
    if reason is None:
        backend = choose_backend("contract")
        backend.close()
        assert backend.enforcement == enforcement
    else:
        with pytest.raises(LimitsUnavailable) as caught:
            choose_backend("contract")
        assert reason in str(caught.value)
        assert isinstance(caught.value, OperatorError)


def test_the_argument_is_stronger_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FITSERVE_LIMITS", "watchdog")
    assert choose_backend("contract", "none").enforcement == "none"


def test_a_word_that_is_no_back_end_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidArgument, match=r"'cgroups' is not one of cgroup2, cgroup1, watchdog, none"):
        choose_backend("contract", "cgroups")


def test_without_limits_a_group_still_ends_its_processes() -> None:
    backend = Unlimited()
    group = backend.create("iris-1-1", ResourceConfiguration())
    with running("import os\nprint(os.fork(), flush=True)\ninput()", group) as process:
        forked = max(int(process.line()), int(process.line()))
        assert group.pids() == [process.pid]
        backend.close()
        eventually(lambda: dead(process.pid, forked))


def test_the_machine_is_no_larger_than_the_host() -> None:
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < available_memory_bytes() <= machine_memory_bytes() <= host
    assert 0 < machine_cores() <= (os.cpu_count() or 1)


def test_the_machine_is_as_small_as_the_group_we_are_in() -> None:
    """The numbers that a process sees from inside a group with 1.5 cores and 256 MB."""
    backend = choose_backend("contract")
    if not backend.enforcement.startswith("cgroup"):
        backend.close()
        pytest.skip(f"needs control groups, and here is only {backend.enforcement}")
    code = f"""
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from registry.limits.machine import available_memory_bytes, machine_cores, machine_memory_bytes
print(machine_memory_bytes(), machine_cores(), available_memory_bytes(), flush=True)
"""
    try:
        group = backend.create("small-1-1", ResourceConfiguration(cpu=1.5, memory_in_gb=0.25))
        group.set_cpu(1.5)
        with running(code, group) as process:
            memory, cores, available = map(float, process.line().split())
        assert (memory, cores) == (2**28, min(1.5, machine_cores()))
        assert 0 < available < memory
    finally:
        backend.close()


class TestScope:
    def test_nobody_is_started_twice_in_a_scope(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FITSERVE_SCOPE", "1")
        assert "already" in delegation().reason

    def test_without_systemd_there_is_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("FITSERVE_SCOPE", raising=False)
        assert delegation(tmp_path).reason == "systemd does not run here"

    def test_with_it_the_command_names_a_scope_that_is_ours(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("FITSERVE_SCOPE", raising=False)
        (tmp_path / "run/systemd/system").mkdir(parents=True)
        (tmp_path / "systemd-run").touch(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        found = delegation(tmp_path)
        if os.geteuid() != 0 or "mounted" in found.reason:
            assert not found.command
            assert found.reason
        else:
            assert found.command[:2] == ("systemd-run", "--scope")
            assert "Delegate=yes" in found.command
            assert found.command[-2] == f"--unit=fitserve-{os.getpid()}.scope"
            assert found.environment == (("FITSERVE_SCOPE", "1"),)

    @pytest.mark.parametrize("works", [True, False])
    def test_a_process_starts_itself_anew_in_a_scope_if_a_trial_works(self, tmp_path: Path, works: bool) -> None:
        """Against a systemd-run that only says what it was asked for."""
        (tmp_path / "run/systemd/system").mkdir(parents=True)
        script = """#!/bin/sh
case "$*" in *trial*) exit STATUS ;; esac
echo "$*"
while [ "$1" != "--" ]; do shift; done
shift
exec "$@"
"""
        (tmp_path / "systemd-run").write_text(script.replace("STATUS", "0" if works else "7"))
        (tmp_path / "systemd-run").chmod(0o755)
        code = """
import os, sys
from pathlib import Path
from registry.limits.scope import enter_scope
print(os.getpid(), sys.argv[1:], flush=True)
print("not:", enter_scope(Path(sys.argv[1])), flush=True)
"""
        (tmp_path / "program.py").write_text(code)
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        environment.pop("FITSERVE_SCOPE", None)
        command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        lines = done.stdout.splitlines()
        if os.geteuid() != 0 or "mounted" in done.stdout:
            assert lines[-1].startswith("not: ")
            pytest.skip(f"a scope cannot be asked for here: {lines[-1]}")
        if works:
            assert "--scope" in lines[1]
            assert "Delegate=yes" in lines[1]
            assert lines[0] == lines[2]  # the same process number and arguments
            assert lines[3] == "not: this process was already started in a scope of its own"
        else:
            assert lines[1:] == ["not: systemd-run did not work: 7"]

    def test_what_a_unit_of_systemd_starts_stays_in_its_group(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Its parent is called systemd."""
        monkeypatch.delenv("FITSERVE_SCOPE", raising=False)
        (tmp_path / "run/systemd/system").mkdir(parents=True)
        shutil.copy("/bin/sh", tmp_path / "systemd")
        code = "from pathlib import Path; from registry.limits.scope import delegation; import sys\n"
        code += "print(delegation(Path(sys.argv[1])).reason)"
        command = ["-c", '"$@"; true', "sh", sys.executable, "-c", code, str(tmp_path)]
        done = subprocess.run([tmp_path / "systemd", *command], capture_output=True, text=True, timeout=60)
        assert "Delegate=yes" in done.stdout, done.stderr
