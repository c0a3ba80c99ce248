from collections.abc import Callable
from pathlib import Path

import pytest

from registry.stores.base import ArtifactStore
from registry.stores.files import FileArtifacts
from tests.contracts.artifact_store import ArtifactStoreSuite


class TestFiles(ArtifactStoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ArtifactStore:
        return FileArtifacts(tmp_path / "store/artifacts", tmp_path / "store/cache")

    @pytest.fixture
    def damage(self, tmp_path: Path) -> Callable[[str, bytes | None], None]:
        def damage(digest: str, data: bytes | None) -> None:
            path = tmp_path / "store/artifacts" / digest[:2] / digest
            path.unlink() if data is None else path.write_bytes(data)

        return damage
