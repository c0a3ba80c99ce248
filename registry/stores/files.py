"""The artifact store on a local disk: content named by its SHA-256.

What is written goes to a file in `incoming/`, is hashed on the way, forced to the disk and renamed to its digest. So a
digest that is there is complete, also after SIGKILL, a power cut or a full disk. A folder is stored as its files and a
manifest of their digests; the manifest's digest is the folder's.
"""

import errno
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from registry.errors import ArtifactChanged, ArtifactMissing, InvalidArgument
from registry.names import check_digest, is_digest
from registry.records import Artifact, ArtifactFormat
from registry.stores import disk
from registry.stores.folders import MANIFEST, Entry, files_below, inside, read_manifest, write_manifest

_FORMATS: Final[Mapping[str, ArtifactFormat]] = {
    ".pkl": "pickle",
    ".pickle": "pickle",
    ".joblib": "joblib",
    ".skops": "skops",
    ".onnx": "onnx",
}


class FileArtifacts:
    """A `registry.stores.base.ArtifactStore` in the folder `root`; folders are laid out as folders below `cache`."""

    def __init__(self, root: Path, cache: Path) -> None:
        self._root, self._folders, self._drafts = root, cache / "folders", cache / "drafts"

    def put_file(self, path: Path, name: str | None = None) -> Artifact:
        """Raises:
        LocalPathNotFound, InvalidArgument: it does not exist, or is not a plain file.
        DiskFull, WorkspaceReadOnly: it could not be stored; nothing is left behind.
        """
        with disk.open_plain(path) as source:
            return file_artifact(self.receive(source), name or path.name)

    def put_bytes(self, data: bytes, name: str) -> Artifact:
        return file_artifact(self.receive(io.BytesIO(data)), name)

    def put_folder(self, path: Path, name: str | None = None, files: Sequence[str] | None = None) -> Artifact:
        """Raises:
        LocalPathNotFound: the folder, or one of `files`, does not exist.
        InvalidArgument: it holds no file, a link that leads out of it, or what is neither file nor folder.
        """
        chosen = dict(files_below(path)) if files is None else {file: inside(path, file) for file in files}
        if not chosen:
            raise InvalidArgument("folder", f"{path} holds no files")
        entries = {}
        for file, real in chosen.items():
            with disk.open_plain(real) as source:
                entries[PurePosixPath(file).as_posix()] = self.receive(source)
        manifest = self.receive(io.BytesIO(write_manifest(entries)))
        self._drop_damaged_layout(manifest.digest, entries)
        size = sum(entry.size for entry in entries.values())
        name = name or path.resolve().name
        return Artifact(digest=manifest.digest, size=size, kind="folder", name=name, format="folder")

    def receive(self, source: io.BufferedIOBase, expected: str | None = None) -> Entry:
        """Store all that `source` gives. Damaged bytes under the same digest are mended.

        Raises:
            ArtifactChanged: the content is not the `expected` one.
        """
        with disk.writing(self._root), disk.new_file(self._root / "incoming") as (target, draft):
            entry = _copy(source, target)
            if expected is not None and entry.digest != expected:
                raise ArtifactChanged(expected[:12], expected, entry.digest)
            place = self._place(entry.digest)
            if _holds(place, entry):
                os.utime(place)  # in use again: not for a clean-up of what nothing names
                return entry
            os.fsync(target.fileno())
            place.parent.mkdir(mode=0o700, exist_ok=True)
            draft.replace(place)
            disk.sync_folder(place.parent)
        return entry

    def read_bytes(self, digest: str) -> bytes:
        """Checked against its digest.

        Raises:
            ArtifactMissing, ArtifactChanged: it is not there, or not what was stored.
        """
        with self.open(digest) as stream:
            data = stream.read()
        if (found := hashlib.sha256(data).hexdigest()) != digest:
            raise ArtifactChanged(digest[:12], digest, found)
        return data

    def open(self, digest: str) -> io.BufferedReader:
        try:
            return self._place(digest).open("rb")
        except FileNotFoundError:
            raise ArtifactMissing(digest[:12]) from None

    def files(self, digest: str) -> Mapping[str, str]:
        return {name: entry.digest for name, entry in read_manifest(self.read_bytes(digest), digest).items()}

    def is_folder(self, digest: str) -> bool:
        with self.open(digest) as stream:
            return stream.read(len(MANIFEST)) == MANIFEST

    def local_path(self, digest: str) -> Path:
        return self._layout(digest) if self.is_folder(digest) else self._place(digest)

    def stored_path(self, digest: str) -> Path:
        """The stored file itself; of a folder, the manifest."""
        return self._place(digest)

    def verify(self, digest: str) -> None:
        """Read all of it, of a folder every file.

        Raises:
            ArtifactMissing, ArtifactChanged: the bytes are not those that were registered.
        """
        with self.open(digest) as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != digest:
            raise ArtifactChanged(digest[:12], digest, found)
        if self.is_folder(digest):
            for file in self.files(digest).values():
                self.verify(file)

    def exists(self, digest: str) -> bool:
        return is_digest(digest) and self._place(digest).is_file()

    def delete(self, digest: str) -> None:
        """Of a folder only the manifest and its layout: its files may belong to others too."""
        place = self._place(digest)
        with disk.writing(self._root):
            place.unlink(missing_ok=True)
            self._drop_layout(digest)

    def _place(self, digest: str) -> Path:
        return self._root / check_digest(digest)[:2] / digest

    def _layout(self, digest: str) -> Path:
        """The folder as a folder, made among the drafts and renamed into its place."""
        place = self._folders / digest
        if place.is_dir():
            return place
        entries = read_manifest(self.read_bytes(digest), digest)
        with disk.writing(self._folders), disk.new_folder(self._drafts) as draft:
            for name, entry in entries.items():
                self._lay(draft / name, entry)
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _rename_unless_there(draft, place)
        return place

    def _lay(self, path: Path, entry: Entry) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            disk.link_or("copy", self._place(entry.digest), path)
        except FileNotFoundError:
            raise ArtifactMissing(f"{path.name} ({entry.digest[:12]})") from None

    def _drop_damaged_layout(self, digest: str, entries: Mapping[str, Entry]) -> None:
        """A folder that is stored again is laid out again if its layout is not what it should be."""
        place = self._folders / digest
        if place.is_dir() and not all(_holds(place / name, entry) for name, entry in entries.items()):
            self._drop_layout(digest)

    def _drop_layout(self, digest: str) -> None:
        place = self._folders / digest
        if place.is_dir():
            with disk.new_folder(self._drafts) as draft:
                place.rename(draft / "old")


def file_artifact(entry: Entry, name: str) -> Artifact:
    """`format` is what the name says; who registers a model reads the content too."""
    kind = _FORMATS.get(PurePosixPath(name).suffix.lower(), "other")
    return Artifact(digest=entry.digest, size=entry.size, kind="file", name=name, format=kind)


def _copy(source: io.BufferedIOBase, target: BinaryIO) -> Entry:
    hasher, size, buffer = hashlib.sha256(), 0, memoryview(bytearray(disk.CHUNK))
    while count := source.readinto(buffer):
        hasher.update(buffer[:count])
        target.write(buffer[:count])
        size += count
    target.flush()
    return Entry(hasher.hexdigest(), size)


def _holds(path: Path, entry: Entry) -> bool:
    """Whether the file has that content."""
    try:
        with path.open("rb") as stream:
            same_size = os.fstat(stream.fileno()).st_size == entry.size
            return same_size and hashlib.file_digest(stream, "sha256").hexdigest() == entry.digest
    except OSError:
        return False


def _rename_unless_there(folder: Path, place: Path) -> None:
    try:
        folder.rename(place)
    except OSError as error:  # another process was quicker, and its content is the same
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
