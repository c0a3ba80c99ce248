from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from registry.stores.base import MetadataStore
from registry.stores.sql import SqlMetadata
from tests.contracts.metadata_store import MetadataStoreSuite


class TestPostgres(MetadataStoreSuite):
    @pytest.fixture
    def reopen(self, tmp_path: Path, database: str) -> Iterator[Callable[[], MetadataStore]]:
        with ExitStack() as stack:

            def reopen() -> MetadataStore:
                store = SqlMetadata.open_url(database, tmp_path)
                stack.callback(store.close)
                return store

            yield reopen
