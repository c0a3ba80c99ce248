"""What a model file says of itself, read without executing any of it.

A pickle can do anything when it is loaded, so registration never loads it: `registry.pickle_reader` walks its opcodes.
From that come the exact scikit-learn version, the numpy major version, the least Python, the packages it needs and the
class of the object. skops files tell the same in their JSON; of ONNX files only the format is recognised.
"""

import errno
import json
import lzma
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from registry.byte_source import Damaged, NoDecompressor, OutOfBudget, compressor_of, open_source
from registry.errors import NotAnArtifact, shown
from registry.pickle_reader import Global, Instance, Opaque, PickleWalk
from registry.records import ArtifactFormat, Json

MAIN: Final = "__main__"  # module of the classes and functions of the training script itself
_SECONDS: Final = 30.0  # a forest of 100 MB takes about 0.1
_MOST_GLOBALS: Final = 10_000
_MODEL_SUFFIXES: Final = frozenset({".pkl", ".pickle", ".joblib", ".sav", ".jl", ".skops", ".onnx", ".model"})
_SKOPS_SCHEMA_LIMIT: Final = 64 << 20  # bytes
_PYTHON_OF_PROTOCOL: Final = {5: (3, 8), 4: (3, 4)}
_NO_PACKAGE: Final = sys.stdlib_module_names | {"__builtin__", "copy_reg", "cStringIO", "UserDict", "Queue"}
_BUNDLED_WRAPPER: Final = "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper"
_BROKEN_ZIP: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    ValueError,
    KeyError,
    EOFError,
    OSError,
    RuntimeError,  # also RecursionError and NotImplementedError
)
_CONSTANTS: Final = (str, int, float, bytes, type(None))
_KNOWN_STARTS: Final = (
    (b"version https://git-lfs", "it is a Git LFS pointer: fetch the file itself with 'git lfs pull'"),
    (b"\x89HDF", "it is an HDF5 file"),
    (b"PAR1", "it is a Parquet file"),
    (b"\x93NUMPY", "it is a numpy array file (.npy)"),
    (b"\x7fELF", "it is a program or a shared library"),
    (b"%PDF", "it is a PDF file"),
    (b"\x89PNG", "it is a PNG image"),
    (b"SQLite format 3", "it is an SQLite database"),
    (b"tree\nversion=", "it is LightGBM's own text format: save the fitted estimator with joblib.dump instead"),
    (
        b"CBM1",
        "it is CatBoost's own format (.cbm): load it with CatBoost's load_model, and save the object with joblib.dump instead",
    ),
    (
        b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner",
        "it is XGBoost's own binary format: save the fitted estimator with joblib.dump instead",
    ),
    (b'{"learner"', "it is XGBoost's own JSON format: save the fitted estimator with joblib.dump instead"),
)


@dataclass(frozen=True)
class ArtifactFacts:
    """What was read. None means that the file does not say.

    `modules` are the top-level packages it needs beside the standard library, `globals` all that it names, as
    "module.qualname". `class_name` and `class_module` are those of the root object. `complete` is False when reading on
    would have cost too much, or when the compressor is not installed here: what is given is right, but may not be all.
    """

    format: ArtifactFormat
    sklearn_version: str | None = None
    numpy_major: int | None = None
    min_python: tuple[int, int] | None = None
    protocol: int | None = None
    modules: tuple[str, ...] = ()
    globals: tuple[str, ...] = ()
    class_name: str | None = None
    class_module: str | None = None
    compressor: str | None = None
    complete: bool = True

    @property
    def main_names(self) -> tuple[str, ...]:
        """Classes and functions of the training script itself."""
        return tuple(name.removeprefix(f"{MAIN}.") for name in self.globals if name.startswith(f"{MAIN}."))

    def to_json(self) -> dict[str, Json]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> "ArtifactFacts":
        known: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        return cls(**{key: value for key, value in known.items() if key in cls.__dataclass_fields__})


def read_artifact(path: Path, name: str | None = None) -> ArtifactFacts:
    """The facts of the model file (or folder with one model file) at `path`; `name` is what errors call it.

    Nothing that the file names is imported or called. Time and memory are bounded whatever the bytes are.

    Raises:
        NotAnArtifact: it is no pickle, joblib, skops or ONNX file, is damaged or cut off, or holds no object.
        OSError: it cannot be read at all.
    """
    name = name or path.name
    if path.is_dir():
        return _folder_facts(path, name)
    if not path.is_file():
        raise NotAnArtifact(name, "there is no such file" if not path.exists() else "it is not a regular file")
    with path.open("rb", buffering=1 << 20) as file:
        start = file.read(64)
        file.seek(0)
        if not start:
            raise NotAnArtifact(name, "it is empty")
        if start.startswith(b"PK\x03\x04"):
            return _zip_facts(file, name)
        if path.suffix.lower() == ".onnx" or start[:1] == b"\x08":
            if _is_onnx(file, path.stat().st_size):
                return ArtifactFacts(format="onnx")
            if path.suffix.lower() == ".onnx":
                raise NotAnArtifact(name, f"its name says ONNX, but it {_starts_with(start)}")
            file.seek(0)
        for mark, sentence in _KNOWN_STARTS:
            if start.startswith(mark):
                raise NotAnArtifact(name, sentence)
        return _pickle_facts(path, file, start, name)


def _folder_facts(path: Path, name: str) -> ArtifactFacts:
    """Of the one model file in it; several or none leave the facts open, since an entry script may know better."""
    models = [file for file in path.rglob("*") if file.suffix.lower() in _MODEL_SUFFIXES and file.is_file()]
    if len(models) != 1:
        return ArtifactFacts(format="folder", complete=False)
    return replace(read_artifact(models[0], f"{name}/{models[0].relative_to(path)}"), format="folder")


# pickle and joblib


def _pickle_facts(path: Path, file: BinaryIO, start: bytes, name: str) -> ArtifactFacts:
    compressor = compressor_of(start)
    seen = _Seen()
    complete = True
    try:
        source = open_source(path, file, compressor, _SECONDS)
    except NoDecompressor as missing:
        return ArtifactFacts(format="joblib", compressor=compressor, modules=("joblib", str(missing)), complete=False)
    walk = PickleWalk(source, on_global=seen.add)
    try:
        walk.run()
    except OutOfBudget:
        complete = False
    except Damaged as damage:
        raise NotAnArtifact(name, _why(str(damage), start, compressor, walk)) from None
    if walk.companion_files:
        raise NotAnArtifact(
            name, "joblib before 0.10 wrote its arrays into other files: load it there and save it with a newer joblib"
        )
    class_module, class_name = _root_class(walk.root)
    if (complete and isinstance(walk.root, _CONSTANTS)) or class_name in ("str", "bytes", "int", "float"):
        raise NotAnArtifact(name, f"it holds {_described(walk.root)}, not an object with methods")
    is_joblib = walk.wrapped_arrays > 0 or compressor is not None
    return ArtifactFacts(
        format="joblib" if is_joblib else "pickle",
        sklearn_version=_version(walk),
        numpy_major=seen.numpy_major(),
        min_python=_PYTHON_OF_PROTOCOL.get(walk.protocol),
        protocol=walk.protocol,
        modules=seen.packages(_loaders(seen, compressor) if is_joblib else ()),
        globals=tuple(sorted(seen.names)),
        class_name=class_name,
        class_module=class_module,
        compressor="zlib" if compressor == "zfile" else compressor,
        complete=complete,
    )


def _loaders(seen: "_Seen", compressor: str | None) -> tuple[str, ...]:
    """scikit-learn before 0.21 has a joblib of its own, and only that one reads the arrays that it wrote."""
    joblib = () if _BUNDLED_WRAPPER in seen.names else ("joblib",)
    return (*joblib, "lz4") if compressor == "lz4" else joblib


class _Seen:
    """The globals of one file."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._modules: set[str] = set()

    def add(self, module: str, name: str) -> None:
        if len(self.names) < _MOST_GLOBALS:
            self.names.add(f"{module}.{name}")
            self._modules.add(module)

    def packages(self, more: tuple[str, ...]) -> tuple[str, ...]:
        found = {module.partition(".")[0] for module in self._modules} - _NO_PACKAGE - {MAIN}
        return tuple(sorted(found.union(more)))

    def numpy_major(self) -> int | None:
        for prefix, major in (("numpy._core", 2), ("numpy.core", 1)):
            if any(module == prefix or module.startswith(prefix + ".") for module in self._modules):
                return major
        return None


def _version(walk: PickleWalk) -> str | None:
    """The root's own, else the first: one dump writes one version into all of its estimators."""
    root = walk.root.cls if isinstance(walk.root, Instance) else None
    if root is not None and walk.sklearn_versions and walk.sklearn_versions[-1][0] is root:
        return walk.sklearn_versions[-1][1]
    return walk.sklearn_versions[0][1] if walk.sklearn_versions else None


def _root_class(root: Any) -> tuple[str | None, str | None]:
    if isinstance(root, Instance):
        return (root.cls.module, root.cls.name) if isinstance(root.cls, Global) else (None, None)
    if isinstance(root, dict | tuple):
        return "builtins", type(root).__name__
    if isinstance(root, Opaque) and root.type_name != "object":
        return "builtins", root.type_name
    return None, None


def _described(root: Any) -> str:
    if root is None or isinstance(root, bool):
        return str(root)
    return f"a value of type {_root_class(root)[1] or type(root).__name__}"


def _why(damage: str, start: bytes, compressor: str | None, walk: PickleWalk) -> str:
    """A file that never was a pickle is told by how it starts; one that was, by where it breaks."""
    looks_pickled = start[:1] == b"\x80" and len(start) > 1 and start[1] <= 5
    if looks_pickled or compressor or walk.sklearn_versions or walk.wrapped_arrays:
        return damage
    return f"it {_starts_with(start)}; for a scoring script to read, register it as the framework Custom"


def _starts_with(start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf").lstrip()
    tag = re.match(rb"<!?[a-zA-Z]+[^>\n]*>?", text)
    if tag:
        return f"starts with {shown(tag.group().decode('latin-1'), 40)}, so it is a web page or XML"
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in text):
        return f"starts with {shown(text.splitlines()[0].decode('ascii') if text else '', 40)}, so it is text"
    return f"starts with the bytes {start[:8].hex(' ')}"


# skops


def _zip_facts(file: BinaryIO, name: str) -> ArtifactFacts:
    try:
        with zipfile.ZipFile(file) as archive:
            if "schema.json" not in archive.namelist():
                raise NotAnArtifact(name, "it is a zip archive without the schema.json of a skops file")
            with archive.open("schema.json") as member:
                text = member.read(_SKOPS_SCHEMA_LIMIT + 1)
        if len(text) > _SKOPS_SCHEMA_LIMIT:
            raise NotAnArtifact(name, f"its schema.json is larger than {_SKOPS_SCHEMA_LIMIT >> 20} MB")
        schema = json.loads(text)
    except _BROKEN_ZIP as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # the disk; a damaged directory makes zipfile seek to invalid places
        raise NotAnArtifact(name, "its skops archive is damaged or cut off") from None
    if not isinstance(schema, dict) or not isinstance(schema.get("__class__"), str):
        raise NotAnArtifact(name, "its schema.json is not that of a skops file")
    return _skops_facts(schema)


def _skops_facts(schema: dict[str, Json]) -> ArtifactFacts:
    seen = _Seen()
    version: str | None = None
    for node in _objects(schema):
        module, cls = node.get("__module__"), node.get("__class__")
        if isinstance(module, str) and isinstance(cls, str):
            seen.add(module[:256], cls[:256])
        entry = node.get("_sklearn_version")
        if version is None and isinstance(entry, dict) and isinstance(entry.get("content"), str):
            version = entry["content"].strip('"')[:64]
    class_module = schema.get("__module__")
    return ArtifactFacts(
        format="skops",
        sklearn_version=version,
        numpy_major=seen.numpy_major(),
        modules=seen.packages(("skops",)),
        globals=tuple(sorted(seen.names)),
        class_name=schema["__class__"][:256],
        class_module=class_module[:256] if isinstance(class_module, str) else None,
    )


def _objects(root: Json) -> Iterator[dict[str, Json]]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


# ONNX


def _is_onnx(file: BinaryIO, size: int) -> bool:
    """Whether the top-level protobuf fields are those of a ModelProto: a small ir_version (1) and a graph (7)."""
    fields: set[int] = set()
    while file.tell() < size and len(fields) < 32:
        tag = _varint(file)
        if tag is None or not 0 < tag >> 3 <= 30:
            return False
        fields.add(tag >> 3)
        match tag & 7:
            case 0:
                value = _varint(file)
                if value is None or (tag >> 3 == 1 and value > 100):
                    return False
            case 2:
                length = _varint(file)
                if length is None or length > size - file.tell():
                    return False
                file.seek(length, 1)
            case _:
                return False
        if {1, 7} <= fields and file.tell() == size:
            return True
    return {1, 7} <= fields


def _varint(file: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
