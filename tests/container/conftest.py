"""Images that are really built and run: `make container` says with which engine, `make test` leaves these out."""

from collections.abc import Iterator

import pytest

from tests.container.engine import ENGINE, Container, build, running

collect_ignore_glob = [] if ENGINE else ["test_*.py"]


@pytest.fixture(scope="session")
def image() -> str:
    """fitserve's own image, from the Dockerfile at the root."""
    return build(".", "localhost/fitserve:0.1.0", network="host")


@pytest.fixture(scope="session")
def served(image: str) -> Iterator[Container]:
    """The main job inside, with a read-only root file system."""
    flags = ("--read-only", "--memory", "2g", "--cpus", "1.5")
    with running(image, "up", "examples/train_iris.py", "--memory", "512Mi", flags=flags) as it:
        it.wait_for_line("serving in the foreground", 180)
        yield it
