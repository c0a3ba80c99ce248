"""From an artifact on disk to a model in memory: in a scoring child only, after it has joined its limits.

Runs inside the model's own Python (3.6 and later), beside child.py. What is hashed is what is loaded: both read one descriptor.
"""

import hashlib
import json
import os
import pickle
import sys
import types
import warnings
from typing import IO, Any, Dict, List, Tuple

from .pipeline import attributes, nested

#: How a folder's manifest begins; its digest is the folder's. See registry/stores/folders.py.
MANIFEST = b'{"fitserve_folder":1,'
FORMATS = ("pickle", "joblib")
#: Among the modules of a version, what its training script defined. See registry/definitions.py.
DEFINITIONS = "__fitserve_main__.py"
_REPLACED = []  # type: List[Any]
CHUNK = 1 << 20


class LoadFailed(Exception):
    """`kind` is digest, load or memory; `reason` is a sentence for a person."""

    def __init__(self, kind: str, reason: str) -> None:
        Exception.__init__(self, reason)
        self.kind = kind
        self.reason = reason


def load_model(path: str, digest: str, form: str, code: str = "") -> "Tuple[Any, List[Any]]":
    """The model in the file or folder `path` and the warnings that loading it gave.

    Args:
        digest: SHA-256 of the file, or of the folder's manifest.
        form: pickle, joblib or folder. It alone decides the loader; nothing else is tried. Of a folder, the model's name does.
        code: folder with the modules that travel with this version; it stands last on this process's path.

    Raises:
        LoadFailed: with a sentence.
    """
    if code:
        add_code(code)
    stream, form = _open_folder(path, digest) if form == "folder" else (_open_file(path, digest), form)
    with stream:
        return _load(stream, form)


def add_code(folder: str) -> None:
    """Let the modules that travel with the version be found, after all others, and the definitions of its training script."""
    sys.path.append(folder)
    use_definitions(folder)


def load_file(path: str) -> "Tuple[Any, List[Any]]":
    """The object in a pickle or joblib file, whatever its name, and the warnings that loading it gave.

    Raises:
        LoadFailed: with a sentence.
    """
    try:
        stream = open(path, "rb")
    except OSError as error:
        raise LoadFailed("load", "it cannot be read: {}".format(error.strerror)) from None
    with stream:
        return _load(stream, _form_in_folder(path))


def _load(stream: "IO[bytes]", form: str) -> "Tuple[Any, List[Any]]":
    if form not in FORMATS:
        raise LoadFailed(
            "load", "a model of format {!r} cannot be served; it must be {}".format(form, " or ".join(FORMATS))
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = _joblib().load(stream) if form == "joblib" else pickle.load(stream)  # noqa: S301 - the reason for this process
        except MemoryError:
            raise LoadFailed(
                "memory", "the model does not fit into its memory limit: it ran out while loading"
            ) from None
        except Exception as error:
            raise LoadFailed("load", _reason(error)) from error
    return model, caught


def use_definitions(code: str) -> None:
    """Let `__main__` be what the training script defined, if its definitions are among the modules in the folder `code`.

    Raises:
        LoadFailed: they cannot be run.
    """
    path = os.path.join(code, DEFINITIONS)
    if not os.path.exists(path):
        return
    with open(path, "rb") as stream:
        source = stream.read()
    main = types.ModuleType("__main__")
    main.__file__ = path
    _REPLACED.append(sys.modules.get("__main__"))  # whose functions run on
    sys.modules["__main__"] = main
    try:
        exec(compile(source, path, "exec"), main.__dict__)  # noqa: S102 - the model's own code, as every module of it
    except MemoryError:
        raise
    except Exception as error:
        said = (
            _reason(error) if isinstance(error, ImportError) else "{}: {}".format(type(error).__name__, _short(error))
        )
        raise LoadFailed("load", "the definitions of its training script cannot be run: {}".format(said)) from error


def verify(path: str, digest: str, kind: str) -> None:
    """Raises LoadFailed unless the file or folder `path` is as registered: a script loads it by itself."""
    if kind != "folder":
        _open_file(path, digest).close()
        return
    listed: "Dict[str, List[Any]]" = {}
    for name in _names(path):
        with open(os.path.join(path, name), "rb") as stream:
            listed[name] = [_hash(stream), os.fstat(stream.fileno()).st_size]
    found = _digest(listed)
    if found != digest:
        raise _changed(digest, found)


def _open_file(path: str, digest: str) -> "IO[bytes]":
    try:
        stream = open(path, "rb")
    except OSError as error:
        raise LoadFailed("load", "the stored model cannot be read: {}".format(error.strerror)) from None
    found = _hash(stream)
    if found != digest:
        stream.close()
        raise _changed(digest, found)
    stream.seek(0)
    return stream


def _open_folder(path: str, digest: str) -> "Tuple[IO[bytes], str]":
    """The model file in a folder whose manifest is as registered, and its format."""
    names = _names(path)
    chosen = _model_file(names)
    listed: "Dict[str, List[Any]]" = {}
    kept = None
    for name in names:
        stream = open(os.path.join(path, name), "rb")
        listed[name] = [_hash(stream), os.fstat(stream.fileno()).st_size]
        if name == chosen:
            kept = stream
        else:
            stream.close()
    found = _digest(listed)
    if found != digest or kept is None:
        if kept is not None:
            kept.close()
        raise _changed(digest, found)
    kept.seek(0)
    return kept, _form_in_folder(chosen)


def _form_in_folder(name: str) -> str:
    """Registration does not read the content of folders. joblib may have written a .pkl, and joblib reads both formats."""
    if name.endswith(".joblib"):
        return "joblib"
    try:
        _joblib()
    except ImportError:
        return "pickle"
    return "joblib"


def _names(path: str) -> "List[str]":
    return sorted(
        os.path.relpath(os.path.join(parent, name), path).replace(os.sep, "/")
        for parent, _, files in os.walk(path)
        for name in files
    )


def _digest(listed: "Dict[str, List[Any]]") -> str:
    manifest = MANIFEST + b'"files":' + json.dumps(listed, separators=(",", ":")).encode("ascii") + b"}"
    return hashlib.sha256(manifest).hexdigest()


def _model_file(names: "List[str]") -> str:
    for name in ("model.joblib", "model.pkl"):
        if name in names:
            return name
    found = [name for name in names if name.endswith((".joblib", ".pkl"))]
    if len(found) == 1:
        return found[0]
    what = "none" if not found else ", ".join(found[:5])
    raise LoadFailed(
        "load", "the folder must hold model.joblib, model.pkl or a single *.joblib or *.pkl file; it holds " + what
    )


def _hash(stream: "IO[bytes]") -> str:
    hasher, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK))
    while True:
        count = stream.readinto(buffer)  # type: ignore[attr-defined]
        if not count:
            return hasher.hexdigest()
        hasher.update(buffer[:count])


def _changed(expected: str, found: str) -> LoadFailed:
    return LoadFailed(
        "digest",
        "the stored bytes changed on disk since registration: SHA-256 {}…, registered as {}…; register it again".format(
            found[:12], expected[:12]
        ),
    )


def _joblib() -> Any:
    """joblib, or the copy inside scikit-learn before 0.23; each reads the other's files."""
    vendored = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from sklearn.externals import joblib as vendored  # type: ignore[no-redef]
    except ImportError:
        pass
    try:
        import joblib
    except ImportError:
        if vendored is None:
            raise ImportError("No module named 'joblib'", name="joblib") from None
        for name in [name for name in sys.modules if name.startswith("sklearn.externals.joblib")]:
            sys.modules.setdefault(name[len("sklearn.externals.") :], sys.modules[name])
        return vendored
    if vendored is not None and vendored is not joblib:
        # Files name the class by its module; the reader must meet its own.
        from joblib import numpy_pickle
        from sklearn.externals.joblib import numpy_pickle as old

        old.NumpyArrayWrapper = numpy_pickle.NumpyArrayWrapper
    return joblib


def run_on_one_core(model: Any) -> None:
    """Set every `n_jobs` inside `model` to 1: one process answers one frame at a time, and a pool costs more than it saves."""
    for estimator in nested(model):
        if attributes(estimator).get("n_jobs", 1) not in (None, 1):
            estimator.n_jobs = 1


def _reason(error: Exception) -> str:
    if isinstance(error, ImportError) and getattr(error, "name", None):
        name = str(error.name)
        root = name.split(".")[0]
        if not isinstance(error, ModuleNotFoundError):
            return "the installed {} does not fit this model: {}".format(root, _short(error))
        if name == root or root not in sys.modules:
            return (
                "module {} is not installed in this model's environment; name one that has it at registration (--environment FILE), "
                "or, if the module is your own, the folder that it lies in (--code FOLDER)".format(name)
            )
        version = getattr(sys.modules[root], "__version__", "")
        return "the installed {} {} has no module {}: the model was written with another version".format(
            root, version, name
        )
    if isinstance(error, AttributeError) and "__main__" in str(error):
        name = str(error).partition("attribute '")[2].partition("'")[0]
        return (
            "{} was defined in the training script itself: register the model with the script (--code train.py), whose "
            "definitions travel with it then".format(name)
        )
    if isinstance(error, EOFError):
        return "the file ends too early: it is not a complete model"
    return "it could not be loaded: {}: {}".format(type(error).__name__, _short(error))


def _short(error: BaseException, limit: int = 300) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
