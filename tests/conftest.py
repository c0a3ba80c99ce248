"""What tests of several packages share."""

import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import make_database, postgres
from tests.processes import STARTS_PROCESSES

_ROOT = Path(__file__).parent
_numbers = count()
_guarded: list[str] = []  # the test whose processes are refused, if any

# Folders whose tests start whole gateways and build environments: after all others, so that what breaks shows early.
_LAST = ("sweep", "e2e", "environments", "container")
_STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only tests that start no process; one that does fails")
    parser.addoption("--again", action="store_true", help="these tests failed once; those that pass now are flaky")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Whole files that `--quick` leaves out are not even imported."""
    name = collection_path.relative_to(_ROOT).as_posix() if collection_path.is_relative_to(_ROOT) else ""
    left_out = name.endswith(".py") and name.startswith(STARTS_PROCESSES)
    return True if left_out and config.getoption("--quick") else None


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--quick"):
        sys.addaudithook(_refuse_processes)


def _refuse_processes(event: str, _arguments: tuple[Any, ...]) -> None:
    if _guarded and event in _STARTS:
        raise AssertionError(f"{_guarded[0]} starts a process: name it in tests/processes.py")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _guarded[:] = [item.nodeid]
    try:
        return (yield)
    finally:
        _guarded.clear()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(_ROOT).parts[0]
        return _LAST.index(folder) + 1 if folder in _LAST else 0

    for item in items:
        name = f"{item.path.relative_to(_ROOT).as_posix()}{item.nodeid.partition('.py')[2].partition('[')[0]}"
        if name.startswith(STARTS_PROCESSES):
            item.add_marker(pytest.mark.process)
    if config.getoption("--quick"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("process")])
        items[:] = [item for item in items if not item.get_closest_marker("process")]
    items.sort(key=place)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--again"):
        flaky = [report.nodeid for report in terminalreporter.stats.get("passed", [])]
        for name in flaky:
            terminalreporter.write_line(f"flaky: {name}")
        terminalreporter.write_line(f"{len(flaky)} flaky")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
def database(postgres_server: str) -> str:
    """URL of an empty PostgreSQL database of the test's own."""
    return make_database(postgres_server, f"test{next(_numbers)}")
