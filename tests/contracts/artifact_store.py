"""What every artifact store must do. A subclass gives the backend: `store`, and `damage` which spoils stored bytes."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.errors import ArtifactChanged, ArtifactMissing, InvalidArgument, LocalPathNotFound
from registry.stores.base import ArtifactStore


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_folder(path: Path) -> Path:
    for name, data in {"a.txt": b"a", "sub/b.bin": b"b" * 10, "sub/deep/c": b"", "sub/again": b"a"}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class ArtifactStoreSuite:
    @pytest.fixture
    def store(self) -> ArtifactStore:
        raise pytest.UsageError("a subclass gives the backend")

    @pytest.fixture
    def damage(self) -> Callable[[str, bytes | None], None]:
        """Replace the stored bytes of a digest; None removes them. What is cached is forgotten."""
        raise pytest.UsageError("a subclass gives the backend")

    def test_a_file_is_stored_under_its_hash(self, store: ArtifactStore, tmp_path: Path) -> None:
        data = os.urandom(3 * 2**20 + 7)
        (tmp_path / "model.joblib").write_bytes(data)
        artifact = store.put_file(tmp_path / "model.joblib")
        assert (artifact.digest, artifact.size) == (digest_of(data), len(data))
        assert (artifact.kind, artifact.name, artifact.format) == ("file", "model.joblib", "joblib")
        assert store.exists(artifact.digest)
        assert store.read_bytes(artifact.digest) == data
        assert store.local_path(artifact.digest).read_bytes() == data
        with store.open(artifact.digest) as stream:
            assert stream.read(5) == data[:5]

    @pytest.mark.parametrize(
        ("name", "expected"), [("m.PKL", "pickle"), ("m.skops", "skops"), ("m.onnx", "onnx"), ("sample.csv", "other")]
    )
    def test_the_name_tells_the_format(self, store: ArtifactStore, name: str, expected: str) -> None:
        assert store.put_bytes(b"x", name).format == expected

    def test_the_same_content_has_one_digest(self, store: ArtifactStore, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"same")
        assert store.put_file(tmp_path / "a", name="b").digest == store.put_bytes(b"same", "c").digest

    def test_an_empty_file_is_content_too(self, store: ArtifactStore) -> None:
        empty = store.put_bytes(b"", "empty")
        assert (store.read_bytes(empty.digest), empty.size) == (b"", 0)

    def test_a_folder_comes_back_as_it_was(self, store: ArtifactStore, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "code")
        artifact = store.put_folder(folder)
        assert (artifact.kind, artifact.format, artifact.name, artifact.size) == ("folder", "folder", "code", 12)
        assert store.files(artifact.digest) == {name: digest_of(data) for name, data in content(folder).items()}
        assert content(store.local_path(artifact.digest)) == content(folder)
        assert store.local_path(artifact.digest) == store.local_path(artifact.digest)

    def test_the_digest_of_a_folder_is_that_of_its_content(self, store: ArtifactStore, tmp_path: Path) -> None:
        one = store.put_folder(make_folder(tmp_path / "one"))
        two = store.put_folder(make_folder(tmp_path / "two"))
        (tmp_path / "two/a.txt").rename(tmp_path / "two/renamed.txt")
        three = store.put_folder(tmp_path / "two")
        assert one.digest == two.digest != three.digest

    def test_chosen_files_of_a_folder(self, store: ArtifactStore, tmp_path: Path) -> None:
        artifact = store.put_folder(make_folder(tmp_path / "code"), "mine", ["a.txt", "sub/b.bin"])
        assert content(store.local_path(artifact.digest)) == {"a.txt": b"a", "sub/b.bin": b"b" * 10}
        assert artifact.name == "mine"

    @pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/../../secret"])
    def test_a_chosen_file_outside_is_refused(self, store: ArtifactStore, tmp_path: Path, name: str) -> None:
        (tmp_path / "secret").write_text("secret")
        with pytest.raises(InvalidArgument, match="leads out of"):
            store.put_folder(make_folder(tmp_path / "code"), files=[name])

    def test_a_link_out_of_the_folder_is_refused(self, store: ArtifactStore, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("secret")
        folder = make_folder(tmp_path / "code")
        (folder / "link").symlink_to("../secret")
        with pytest.raises(InvalidArgument, match="link leads out of"):
            store.put_folder(folder)

    def test_a_link_to_a_folder_is_refused(self, store: ArtifactStore, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "code")
        (folder / "loop").symlink_to(".", target_is_directory=True)
        with pytest.raises(InvalidArgument, match="loop"):
            store.put_folder(folder)

    def test_a_link_inside_the_folder_is_its_content(self, store: ArtifactStore, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "code")
        (folder / "link").symlink_to("sub/b.bin")
        assert store.files(store.put_folder(folder).digest)["link"] == digest_of(b"b" * 10)

    def test_what_is_not_there_is_named(self, store: ArtifactStore, tmp_path: Path) -> None:
        with pytest.raises(LocalPathNotFound, match="nothing"):
            store.put_file(tmp_path / "nothing")
        with pytest.raises(LocalPathNotFound, match="nothing"):
            store.put_folder(tmp_path / "nothing")
        with pytest.raises(LocalPathNotFound, match="gone"):
            store.put_folder(make_folder(tmp_path / "code"), files=["gone"])

    def test_an_empty_folder_is_refused(self, store: ArtifactStore, tmp_path: Path) -> None:
        (tmp_path / "empty/below").mkdir(parents=True)
        with pytest.raises(InvalidArgument, match="holds no files"):
            store.put_folder(tmp_path / "empty")

    def test_a_pipe_is_refused_and_not_waited_for(self, store: ArtifactStore, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InvalidArgument, match="not a plain file"):
            store.put_file(tmp_path / "pipe")
        with pytest.raises(InvalidArgument, match="not a plain file"):
            store.put_folder(tmp_path)

    def test_missing_content_is_named(self, store: ArtifactStore) -> None:
        digest = digest_of(b"never stored")
        assert not store.exists(digest)
        for ask in (store.read_bytes, store.open, store.files, store.local_path, store.verify):
            with pytest.raises(ArtifactMissing, match=digest[:12]):
                ask(digest)

    @pytest.mark.parametrize("digest", ["", "../../etc/passwd", "AB" * 32, "é" * 64, "ab" * 32 + "\n", "ab" * 31])
    def test_what_is_no_digest_is_never_a_path(self, store: ArtifactStore, digest: str) -> None:
        assert not store.exists(digest)
        for ask in (store.read_bytes, store.open, store.local_path):
            with pytest.raises(InvalidArgument, match="hexadecimal"):
                ask(digest)

    def test_a_file_is_not_a_folder(self, store: ArtifactStore) -> None:
        with pytest.raises(InvalidArgument, match="is a file"):
            store.files(store.put_bytes(b"x", "x").digest)

    def test_changed_bytes_are_noticed(self, store: ArtifactStore, damage: Callable[[str, bytes | None], None]) -> None:
        artifact = store.put_bytes(b"right", "model.joblib")
        store.verify(artifact.digest)
        damage(artifact.digest, b"wrong")
        with pytest.raises(ArtifactChanged, match="register it again"):
            store.verify(artifact.digest)
        with pytest.raises(ArtifactChanged):
            store.read_bytes(artifact.digest)

    def test_changed_bytes_inside_a_folder_are_noticed(
        self, store: ArtifactStore, damage: Callable[[str, bytes | None], None], tmp_path: Path
    ) -> None:
        artifact = store.put_folder(make_folder(tmp_path / "code"))
        store.verify(artifact.digest)
        damage(digest_of(b"b" * 10), b"B" * 10)
        with pytest.raises(ArtifactChanged):
            store.verify(artifact.digest)

    def test_registering_again_mends_damaged_bytes(
        self, store: ArtifactStore, damage: Callable[[str, bytes | None], None], tmp_path: Path
    ) -> None:
        folder = make_folder(tmp_path / "code")
        artifact = store.put_folder(folder)
        store.local_path(artifact.digest)
        for change in (b"B" * 10, b"", None):
            damage(digest_of(b"b" * 10), change)
            store.put_folder(folder)
            store.verify(artifact.digest)
            assert content(store.local_path(artifact.digest)) == content(folder)

    def test_a_missing_file_of_a_folder_is_named(
        self, store: ArtifactStore, damage: Callable[[str, bytes | None], None], tmp_path: Path
    ) -> None:
        artifact = store.put_folder(make_folder(tmp_path / "code"))
        damage(digest_of(b"b" * 10), None)
        with pytest.raises(ArtifactMissing, match=digest_of(b"b" * 10)[:12]):
            store.local_path(artifact.digest)

    def test_deleted_content_is_gone(self, store: ArtifactStore, tmp_path: Path) -> None:
        artifact = store.put_folder(make_folder(tmp_path / "code"))
        store.local_path(artifact.digest)
        store.delete(artifact.digest)
        store.delete(artifact.digest)
        assert not store.exists(artifact.digest)
        with pytest.raises(ArtifactMissing):
            store.local_path(artifact.digest)

    def test_many_writers_of_the_same_content(self, store: ArtifactStore, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "code")
        with ThreadPoolExecutor(4) as pool:
            digests = set(pool.map(lambda _: store.put_folder(folder).digest, range(12)))
            paths = set(pool.map(lambda _: store.local_path(next(iter(digests))), range(12)))
        assert len(digests) == len(paths) == 1
        assert content(paths.pop()) == content(folder)
