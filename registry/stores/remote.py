"""The artifact store at an fsspec URL (memory://, s3://, …), around a store on the local disk that serves as its cache.

Content goes through the cache first: it is hashed there before its remote name is known, and loading it back costs
nothing. An object store makes an object visible when it is complete, which keeps the promise of the contract.
"""

import io
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from registry.errors import ArtifactMissing, InvalidArgument, MissingExtra, WorkspaceUnreachable
from registry.names import check_digest, is_digest
from registry.records import Artifact
from registry.stores.files import FileArtifacts


class RemoteArtifacts:
    """A `registry.stores.base.ArtifactStore`."""

    def __init__(self, url: str, cache: FileArtifacts) -> None:
        """Raises:
        InvalidArgument: fsspec does not know the URL's scheme.
        MissingExtra: what fsspec needs for it is not installed.
        """
        self._url, self._cache = url, cache
        self._files, self._root = _filesystem(url)

    def put_file(self, path: Path, name: str | None = None) -> Artifact:
        return self._sent(self._cache.put_file(path, name))

    def put_bytes(self, data: bytes, name: str) -> Artifact:
        return self._sent(self._cache.put_bytes(data, name))

    def put_folder(self, path: Path, name: str | None = None, files: Sequence[str] | None = None) -> Artifact:
        artifact = self._cache.put_folder(path, name, files)
        for digest in sorted(set(self._cache.files(artifact.digest).values())):
            self._send(digest)
        return self._sent(artifact)

    def read_bytes(self, digest: str) -> bytes:
        self._fetch(digest)
        return self._cache.read_bytes(digest)

    def open(self, digest: str) -> io.BufferedReader:
        self._fetch(digest)
        return self._cache.open(digest)

    def files(self, digest: str) -> Mapping[str, str]:
        self._fetch(digest)
        return self._cache.files(digest)

    def local_path(self, digest: str) -> Path:
        self._fetch(digest)
        if self._cache.is_folder(digest):
            for file in self._cache.files(digest).values():
                self._fetch(file)
        return self._cache.local_path(digest)

    def verify(self, digest: str) -> None:
        """The cached copy is what gets loaded, so that is what is read; what the cache fetches is always checked."""
        self.local_path(digest)
        self._cache.verify(digest)

    def exists(self, digest: str) -> bool:
        return is_digest(digest) and bool(self._files.exists(self._key(digest)))

    def delete(self, digest: str) -> None:
        if self.exists(digest):
            self._files.rm_file(self._key(digest))
        self._cache.delete(digest)

    def _key(self, digest: str) -> str:
        return posixpath.join(self._root, check_digest(digest)[:2], digest)

    def _sent(self, artifact: Artifact) -> Artifact:
        self._send(artifact.digest)
        return artifact

    def _send(self, digest: str) -> None:
        """Always, also when it is there: registering again mends damaged bytes."""
        key = self._key(digest)
        try:
            self._files.makedirs(posixpath.dirname(key), exist_ok=True)
            self._files.put_file(str(self._cache.stored_path(digest)), key)
        except OSError as error:
            raise WorkspaceUnreachable(self._url, str(error)) from error

    def _fetch(self, digest: str) -> None:
        if self._cache.exists(digest):
            return
        try:
            with self._files.open(self._key(digest), "rb") as source:
                self._cache.receive(source, expected=digest)
        except FileNotFoundError:
            raise ArtifactMissing(digest[:12]) from None


def _filesystem(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # late: it takes a tenth of a second, and a local workspace does not need it

    scheme = url.partition("://")[0]
    try:
        files, root = url_to_fs(url)
    except ImportError as error:
        raise MissingExtra(_package(scheme), None, f"an artifact store at {scheme}://…") from error
    except ValueError as error:
        raise InvalidArgument("artifacts", f"{scheme}:// is not known to fsspec ({error})") from error
    return files, str(root)


def _package(scheme: str) -> str:
    """What fsspec imports for `scheme`: its package has the module's name."""
    from fsspec.registry import known_implementations  # late: as above

    return str(known_implementations[scheme]["class"]).partition(".")[0]
