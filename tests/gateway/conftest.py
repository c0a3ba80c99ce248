import sys
from collections.abc import Iterator

import pytest

from tests.gateway.worker.nest import Nest, nest


@pytest.fixture(scope="package")
def place() -> Iterator[Nest]:
    """One nursery for all tests here: starting one takes seconds, forking from it milliseconds."""
    if not sys.platform.startswith("linux"):
        pytest.skip("nurseries need Linux")
    with nest() as made:
        yield made
