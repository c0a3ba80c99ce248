"""What tests of several packages share."""

from collections.abc import Iterator
from itertools import count

import pytest

from tests.postgres import make_database, postgres

_numbers = count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
def database(postgres_server: str) -> str:
    """URL of an empty PostgreSQL database of the test's own."""
    return make_database(postgres_server, f"test{next(_numbers)}")
