"""The guard watches over the groups of every back end, also over those of one that holds no limits."""

import os
import signal
import subprocess
import sys

import pytest

from registry.limits import make_backend
from registry.limits.guarding import GUARD
from registry.resources import ResourceConfiguration
from tests.contracts.limits import dead, running
from tests.registry.limits.test_watchdog import guards
from tests.waiting import eventually

SUPERVISOR = """
import os, signal, subprocess, sys
from registry.limits import make_backend
from registry.resources import ResourceConfiguration
group = make_backend("none", "guarded").create("left-1-1", ResourceConfiguration())
code = "input()\\nimport os\\nif os.fork() == 0: os.setsid()\\nprint(os.getpid(), flush=True)\\nwhile True: pass"
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdin=subprocess.PIPE, text=True)
group.add(child.pid)
print(file=child.stdin, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not GUARD.limit, reason="marks cannot be set here")
def test_what_is_not_limited_ends_with_a_killed_supervisor_too() -> None:
    command = [sys.executable, "-c", SUPERVISOR]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        left = [int(supervisor.stdout.readline()) for _ in range(2)]
        assert not dead(*left)
        supervisor.communicate("\n", timeout=30)
        assert supervisor.returncode == -signal.SIGKILL
    eventually(lambda: dead(*left))


@pytest.mark.skipif(not GUARD.limit, reason="marks cannot be set here")
def test_one_guard_serves_all_back_ends_and_ends_with_the_last() -> None:
    first, second = make_backend("none", "guarded"), make_backend("none", "guarded")
    group = first.create("a-1-1", ResourceConfiguration())
    second.create("b-1-1", ResourceConfiguration())
    with running("input()", group) as process:
        assert len(guards(os.getpid())) == 1
        second.close()
        assert not dead(process.pid)
        assert len(guards(os.getpid())) == 1
        first.close()
    assert guards(os.getpid()) == []


@pytest.mark.skipif(not GUARD.limit, reason="marks cannot be set here")
def test_a_guard_that_somebody_killed_is_replaced_though_no_group_is_made() -> None:
    backend = make_backend("none", "guarded")
    backend.create("a-1-1", ResourceConfiguration())
    (first,) = guards(os.getpid())
    os.kill(first, signal.SIGKILL)
    assert first not in eventually(lambda: [pid for pid in guards(os.getpid()) if pid != first])
    backend.close()
    assert guards(os.getpid()) == []
