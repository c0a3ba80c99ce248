"""The contract, for each way of holding limits that this machine has."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.limits import Backend, make_backend
from tests.contracts.limits import LimitsContract

PREFIX = "contract"


def usable(enforcement: str) -> Iterator[Backend]:
    """The back end, or a skip that says why; nothing may be left of it afterwards."""
    backend = make_backend(enforcement, PREFIX)
    reason = backend.available()
    if reason:
        pytest.skip(f"{enforcement} cannot be tested here: {reason}")
    yield backend
    backend.close()
    assert folders() == []


def folders() -> list[Path]:
    return [path for path in Path("/sys/fs/cgroup").rglob(f"{PREFIX}-*") if path.is_dir()]


class TestCgroup2(LimitsContract):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        yield from usable("cgroup2")


class TestCgroup1(LimitsContract):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        yield from usable("cgroup1")


class TestWatchdog(LimitsContract):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        yield from usable("watchdog")
