from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from registry.stores.base import ArtifactStore
from registry.stores.files import FileArtifacts
from registry.stores.remote import RemoteArtifacts
from tests.contracts.artifact_store import ArtifactStoreSuite


class TestMemory(ArtifactStoreSuite):
    @pytest.fixture
    def url(self) -> Iterator[str]:
        url = f"memory://{uuid4().hex}"
        yield url
        files, root = fsspec.core.url_to_fs(url)
        if files.exists(root):
            files.rm(root, recursive=True)

    @pytest.fixture
    def store(self, url: str, tmp_path: Path) -> ArtifactStore:
        return RemoteArtifacts(url, FileArtifacts(tmp_path / "store/artifacts", tmp_path / "store/cache"))

    @pytest.fixture
    def damage(self, url: str, tmp_path: Path) -> Callable[[str, bytes | None], None]:
        files, root = fsspec.core.url_to_fs(url)

        def damage(digest: str, data: bytes | None) -> None:
            cached = tmp_path / "store/artifacts" / digest[:2] / digest
            cached.unlink(missing_ok=True)
            key = f"{root}/{digest[:2]}/{digest}"
            files.rm_file(key) if data is None else files.pipe_file(key, data)

        return damage
