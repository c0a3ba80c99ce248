"""What tests of several packages share."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.postgres import make_database, postgres

_numbers = count()

# Folders whose tests start whole gateways and build environments: after all others, so that what breaks shows early.
_LAST = ("sweep", "e2e", "environments", "container")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(root).parts[0]
        return _LAST.index(folder) + 1 if folder in _LAST else 0

    items.sort(key=place)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
def database(postgres_server: str) -> str:
    """URL of an empty PostgreSQL database of the test's own."""
    return make_database(postgres_server, f"test{next(_numbers)}")
