"""Facts of model files, read without executing them; and what damaged or hostile files get."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import subprocess
import sys
import textwrap
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from registry.artifacts.facts import ArtifactFacts, read_artifact
from registry.errors import NotAnArtifact

OLD = Path(__file__).parent / "artifacts"
COMPRESSORS = ("zlib", "gzip", "bz2", "xz", "lzma", "lz4")
VERSIONS = ("0.19.1", "0.24.2", "1.0.2", "1.3.2")  # of the files that are kept; the rest is written by that of today


def make_models() -> dict[str, Any]:
    X, y = load_iris(return_X_y=True)
    words, labels = X.round().astype(str).astype(object), np.array(["a", "b", "c"], dtype=object)[y]
    return {
        "SVC": SVC(kernel="linear").fit(X, y),
        "RandomForestClassifier": RandomForestClassifier(n_estimators=3, random_state=0).fit(X, y),
        "HistGradientBoostingClassifier": HistGradientBoostingClassifier(max_iter=3).fit(X, y),
        "Pipeline": make_pipeline(StandardScaler(), SVC()).fit(X, y),
        "object arrays": make_pipeline(OneHotEncoder(), SVC()).fit(words, labels),
    }


MODELS = make_models()


def facts_of(data: bytes, folder: Path, name: str = "model.bin") -> ArtifactFacts:
    path = folder / name
    path.write_bytes(data)
    return read_artifact(path)


def joblib_bytes(model: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(model, file, **options)
    return file.getvalue()


def check_facts(facts: ArtifactFacts, model: Any) -> None:
    assert facts.sklearn_version == sklearn.__version__
    assert facts.numpy_major == int(np.__version__.split(".")[0])
    assert (facts.class_module, facts.class_name) == (type(model).__module__, type(model).__name__)
    assert {"sklearn", "numpy"} <= set(facts.modules)
    assert not set(facts.modules) & {"builtins", "copyreg", "collections", "_codecs"}
    assert facts.complete


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_pickle_of_each_protocol_tells_version_class_and_packages(model: Any, protocol: int, tmp_path: Path) -> None:
    facts = facts_of(pickle.dumps(model, protocol), tmp_path)
    check_facts(facts, model)
    assert (facts.format, facts.compressor) == ("pickle", None)
    assert facts.protocol == (protocol if protocol > 1 else 0)
    assert facts.min_python == {4: (3, 4), 5: (3, 8)}.get(protocol)
    assert "joblib" not in facts.modules


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_joblib_file_is_read_past_its_raw_arrays(model: Any, protocol: int, tmp_path: Path) -> None:
    facts = facts_of(joblib_bytes(model, protocol=protocol), tmp_path)
    check_facts(facts, model)
    assert (facts.format, facts.compressor) == ("joblib", None)
    assert "joblib" in facts.modules


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_each_compressor_of_joblib_is_read_through(model: Any, compressor: str, tmp_path: Path) -> None:
    facts = facts_of(joblib_bytes(model, compress=(compressor, 3)), tmp_path)
    check_facts(facts, model)
    assert (facts.format, facts.compressor) == ("joblib", compressor)


def test_the_globals_are_those_that_unpickling_would_import(tmp_path: Path) -> None:
    imported: set[str] = set()

    class Recording(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            imported.add(f"{module}.{name}")
            return super().find_class(module, name)

    for model in MODELS.values():
        for protocol in range(6):
            imported.clear()
            data = pickle.dumps(model, protocol)
            # Python 3 gives the modules of Python 2 for old protocols, the unpickler renames them
            Recording(io.BytesIO(data)).load()
            assert set(facts_of(data, tmp_path).globals) == imported


def test_each_kind_of_model_is_kept_from_each_version_in_each_form() -> None:
    for version in VERSIONS:
        highest = 5 if version != "0.19.1" else 4
        forms = {"joblib", "pickle0", "pickle2", f"pickle{highest}", *(f"joblib_{name}" for name in COMPRESSORS)}
        for model in ("svc", "forest", "pipeline"):
            there = {path.stem.split("-")[2] for path in OLD.glob(f"{version}-{model}-*.bin")}
            assert forms <= there, (version, model)


@pytest.mark.parametrize("path", sorted(OLD.glob("[01].*.bin")), ids=lambda path: path.stem)
def test_files_of_old_versions_tell_their_version(path: Path) -> None:
    version, model, how = path.stem.split("-")
    facts = read_artifact(path)
    classes = {"svc": "SVC", "forest": "RandomForestClassifier", "pipeline": "Pipeline"}
    assert (facts.sklearn_version, facts.class_name) == (version, classes[model])
    assert facts.numpy_major in (1, None)  # joblib names numpy's core only where a numpy scalar is stored
    if "pickle" in how:
        assert facts.numpy_major == 1
    assert facts.format == ("pickle" if "pickle" in how else "joblib")
    assert facts.compressor == (how.partition("_")[2] or None)
    assert facts.complete


def test_only_the_joblib_inside_old_scikit_learn_is_needed_for_what_it_wrote() -> None:
    assert "joblib" not in read_artifact(OLD / "0.19.1-svc-bundled.bin").modules
    assert "joblib" in read_artifact(OLD / "0.19.1-svc-joblib.bin").modules


def test_a_compressed_file_of_joblib_before_0_10_is_read() -> None:
    facts = read_artifact(OLD / "joblib-0.9.4-zfile.bin")
    assert (facts.format, facts.compressor, facts.numpy_major, facts.class_name) == ("joblib", "zlib", 1, "dict")


def test_a_file_whose_arrays_are_in_other_files_is_refused() -> None:
    with pytest.raises(NotAnArtifact, match="into other files"):
        read_artifact(OLD / "joblib-0.9.4-companions.bin")


def test_lz4_without_its_module_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    facts = facts_of(b"\x04\x22\x4d\x18" + bytes(40), tmp_path)
    assert (facts.compressor, facts.modules, facts.complete) == ("lz4", ("joblib", "lz4"), False)


def test_facts_survive_json(tmp_path: Path) -> None:
    facts = facts_of(joblib_bytes(MODELS["Pipeline"], compress=3), tmp_path)
    assert ArtifactFacts.from_json(json.loads(json.dumps(facts.to_json()))) == facts


def test_facts_of_a_later_release_are_read_without_their_new_entries() -> None:
    assert ArtifactFacts.from_json({"format": "pickle", "of_the_future": 1}) == ArtifactFacts(format="pickle")


def test_other_estimators_than_those_of_scikit_learn_give_their_package(tmp_path: Path) -> None:
    # what `class Booster` in a package `somewhere.models` would be pickled to
    facts = facts_of(b"\x80\x02csomewhere.models\nBooster\n)\x81}X\x01\x00\x00\x00aK\x01sb.", tmp_path)
    assert (facts.modules, facts.class_name, facts.class_module) == (("somewhere",), "Booster", "somewhere.models")
    assert facts.sklearn_version is None


def test_the_classes_of_the_script_itself_are_named(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent("""
        import joblib, pickle, sys
        class Doubler:
            pass
        pickle.dump([Doubler()], open("plain.pkl", "wb"))
        joblib.dump({"steps": Doubler()}, "packed.joblib", compress=3)
        """)
    )
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True)
    for name in ("plain.pkl", "packed.joblib"):
        facts = read_artifact(tmp_path / name)
        assert facts.main_names == ("Doubler",)
        assert "__main__" not in facts.modules


# what is no model file


NOT_MODELS = {
    "empty": (b"", "it is empty"),
    "html": (b"<!DOCTYPE html><html><body>404", "starts with '<!DOCTYPE html>', so it is a web page"),
    "html tag": (b"\n<html>\n", "starts with '<html>'"),
    "text": (b"hello world\n", "starts with 'hello world', so it is text"),
    "json": (b'{"a": 1}', "so it is text"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "npy": (b"\x93NUMPY\x01\x00", "numpy array file"),
    "noise": (bytes(range(200, 256)), "starts with the bytes c8 c9"),
    "catboost": (b"CBM1\xf0 \x00\x00", r"it is CatBoost's own format \(\.cbm\): load it with CatBoost's load_model"),
    "xgboost": (b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{L", "it is XGBoost's own binary format"),
    "zip": (b"PK\x03\x04" + bytes(50), "skops archive is damaged"),
    "number": (pickle.dumps(42), "a value of type int"),
    "none": (pickle.dumps(None), "it holds None"),
    "string": (pickle.dumps("a" * 1000), "a value of type str"),
    "float": (pickle.dumps(0.5), "a value of type float"),
    "persistent": (b"\x80\x02U\x01aQ.", "refers to objects outside of itself"),
    "future": (b"\x80\x09N.", "starts with the bytes"),
    "gzip of text": (gzip.compress(b"hello"), "breaks the rules of pickle|no pickle opcode"),
}


@pytest.mark.parametrize(("data", "sentence"), NOT_MODELS.values(), ids=NOT_MODELS)
def test_what_is_no_model_file_is_refused_with_the_reason(data: bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(NotAnArtifact, match=sentence) as error:
        facts_of(data, tmp_path, "m.pkl")
    assert str(error.value).startswith("m.pkl is not a model file: ")


def test_a_missing_file_and_a_device_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAnArtifact, match="does not exist"):
        read_artifact(tmp_path / "none.pkl")
    with pytest.raises(NotAnArtifact, match="not a regular file"):
        read_artifact(Path("/dev/zero"))


@pytest.mark.parametrize("how", ["pickle", "joblib", *COMPRESSORS])
def test_a_truncated_file_is_refused_wherever_it_ends(how: str, tmp_path: Path) -> None:
    model = MODELS["SVC"]
    data = pickle.dumps(model) if how == "pickle" else joblib_bytes(model, compress=how if how in COMPRESSORS else 0)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(NotAnArtifact, match=r"cut off|damaged"):
            facts_of(data[: int(len(data) * share)], tmp_path)


def skops_bytes(schema: object, name: str = "schema.json") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, json.dumps(schema))
    return file.getvalue()


def test_a_skops_file_tells_the_same_from_its_schema(tmp_path: Path) -> None:
    version = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": '"1.4.0"'}
    schema = {
        "__class__": "SVC",
        "__module__": "sklearn.svm._classes",
        "content": {"__class__": "dict", "__module__": "builtins", "content": {"_sklearn_version": version}},
    }
    facts = facts_of(skops_bytes(schema), tmp_path)
    assert (facts.format, facts.class_name, facts.sklearn_version) == ("skops", "SVC", "1.4.0")
    assert facts.modules == ("sklearn", "skops")


@pytest.mark.parametrize("data", [skops_bytes({}), skops_bytes([1]), skops_bytes({"__class__": "A"}, "other.json")])
def test_other_zip_archives_are_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(NotAnArtifact, match="schema"):
        facts_of(data, tmp_path)


def test_onnx_is_recognised_by_its_fields(tmp_path: Path) -> None:
    graph = b"\x3a\x04\x0a\x02ab"
    model = b"\x08\x08\x12\x08skl2onnx" + graph + b"\x42\x02\x10\x0f"
    assert facts_of(model, tmp_path).format == "onnx"
    assert facts_of(model, tmp_path, "m.onnx").format == "onnx"
    with pytest.raises(NotAnArtifact, match="its name says ONNX"):
        facts_of(b"hello", tmp_path, "m.onnx")
    with pytest.raises(NotAnArtifact):
        facts_of(model[:10], tmp_path)


def test_a_folder_has_the_facts_of_its_one_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "README.txt").write_text("a model")
    assert read_artifact(folder) == ArtifactFacts(format="folder", complete=False)
    (folder / "model.pkl").write_bytes(pickle.dumps(MODELS["SVC"]))
    facts = read_artifact(folder)
    assert (facts.format, facts.class_name, facts.sklearn_version) == ("folder", "SVC", sklearn.__version__)


# hostile files


def huge(opcode: bytes, length: int) -> bytes:
    return b"\x80\x04" + opcode + length.to_bytes(8, "little") + b"abc"


def wrapped_array(shape: bytes) -> bytes:
    """A joblib file with one float64 array of `shape` (opcodes) and no bytes for it."""
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R"
    state = b"(X\x05\x00\x00\x00shape" + shape + b"X\x05\x00\x00\x00dtype" + dtype + b"d"
    return b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81" + state + b"b."


HOSTILE = {
    "a string of 2^63 bytes": huge(b"\x8d", 2**63 - 1),
    "bytes of 2^63 bytes": huge(b"\x8e", 2**63 - 1),
    "a byte array of 2^64 bytes": huge(b"\x96", 2**64 - 1),
    "an array of 2^120 elements": wrapped_array(
        b"\x8a\x08" + b"\xff" * 7 + b"\x7f" + b"\x8a\x08" + b"\xff" * 7 + b"\x7f\x86"
    ),
    "an array of negative size": wrapped_array(b"J\xff\xff\xff\xff\x85"),
    "an array whose shape is text": wrapped_array(b"X\x01\x00\x00\x00a\x85"),
    "zlib that grows": zlib.compress(huge(b"\x8e", 1 << 40) + bytes(1 << 26)) * 1,
    "marks": b"\x80\x04" + b"(" * 5_000_000,
    "memo entries": b"\x80\x04N" + b"\x94" * 5_000_000,
    "nested tuples": b"\x80\x04)" + b"\x85" * 1_000_000 + b".",
    "nested instances": b"\x80\x04cb\nc\n)\x81" + b")\x81" * 1_000_000 + b".",
    "nested states": b"\x80\x04" + b"}\x8c\x05shape" * 300_000 + b"}" + b"s" * 300_000 + b".",
    "a long line": b"I" + b"1" * 5_000_000 + b"\n.",
    "a memo index of 2^32": b"\x80\x04Nr\xff\xff\xff\xff.",
    "a negative memo index": b"\x80\x04Nq\x00g-1\n.",
    "an empty stack": b"\x80\x04.",
    "a pop below the mark": b"\x80\x04N(\x85.",
    "a long name": b"\x80\x04c" + b"a" * 100_000 + b"\nb\n.",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_end_quickly_with_facts_or_a_refusal(data: bytes, tmp_path: Path) -> None:
    started = time.monotonic()
    check_only_refusals(data, tmp_path)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress, bz2.compress, lzma.compress])
def test_a_decompression_bomb_is_refused_at_its_limit(
    pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.artifacts.byte_source._LEAST_LIMIT", 1 << 24)
    monkeypatch.setattr("registry.artifacts.byte_source._MOST_RATIO", 1)
    with pytest.raises(NotAnArtifact, match="when decompressed"):
        facts_of(pack(huge(b"\x8e", 1 << 40) + bytes(1 << 26)), tmp_path)


def test_time_runs_out_with_the_facts_seen_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps([MODELS["SVC"], list(range(100_000))])
    assert facts_of(data, tmp_path).complete
    monkeypatch.setattr("registry.artifacts.pickle_walk._MOST_OPS", 1000)
    facts = facts_of(data, tmp_path)
    assert not facts.complete
    assert "sklearn.svm._classes.SVC" in facts.globals


FILES = [
    pickle.dumps(MODELS["SVC"]),
    pickle.dumps(MODELS["SVC"], 0),
    joblib_bytes(MODELS["object arrays"]),
    joblib_bytes(MODELS["SVC"], compress=("zlib", 3)),
    joblib_bytes(MODELS["SVC"], compress=("xz", 3)),
    joblib_bytes(MODELS["SVC"], compress=("bz2", 3)),
    joblib_bytes(MODELS["SVC"], compress=("gzip", 3)),
    skops_bytes({"__class__": "SVC", "__module__": "sklearn.svm._classes"}),
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.integers(0, len(FILES) - 1),
    edits=st.lists(st.tuples(st.floats(0, 1), st.sampled_from("rid"), st.binary(max_size=9)), min_size=1, max_size=8),
)
def test_no_mutation_raises_anything_else(which: int, edits: list[tuple[float, str, bytes]], tmp_path: Path) -> None:
    data = bytearray(FILES[which])
    for place, edit, new in edits:
        at = int(place * len(data))
        data[at : at + (0 if edit == "i" else len(new))] = b"" if edit == "d" else new
    check_only_refusals(bytes(data), tmp_path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([b"", b"\x80\x02", b"\x80\x05", b"\x08", b"PK\x03\x04", b"x\x9c", b"BZh9", b"\x1f\x8b\x08"]),
    rest=st.binary(max_size=200)
    | st.lists(st.sampled_from(list(b"().012BCFGIJKNRSUVXabcdegijlopqrstu}]\x81\x85\x92\x93\x94")), max_size=60).map(
        bytes
    ),
)
def test_no_random_bytes_raise_anything_else(start: bytes, rest: bytes, tmp_path: Path) -> None:
    check_only_refusals(start + rest, tmp_path)


def check_only_refusals(data: bytes, folder: Path) -> None:
    try:
        facts = facts_of(data, folder)
    except NotAnArtifact:
        return
    assert isinstance(facts, ArtifactFacts)
    json.dumps(facts.to_json())


def test_nothing_that_a_file_names_is_imported_or_called(tmp_path: Path) -> None:
    """An audit hook sees every import, every process and every exec of another interpreter that reads hostile files."""
    target = tmp_path / "touched"
    (tmp_path / "evil_module.py").write_text(f"open({str(target)!r}, 'w')")
    call = b"cos\nsystem\nX%s\x85R" % ((n := f"touch {target}".encode()) and len(n).to_bytes(4, "little") + n)
    files = {
        "reduce.pkl": b"\x80\x02" + call + b".",
        "module.pkl": b"\x80\x02cevil_module\nThing\n)\x81}b.",
        "inst.pkl": b"(S'touch'\nios\nsystem\n.",
        "packed.pkl": zlib.compress(b"\x80\x02" + call + b"."),
        "model.joblib": joblib_bytes(MODELS["object arrays"]),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    code = f"""
    import sys
    from pathlib import Path
    from registry.artifacts.facts import read_artifact
    import zlib, bz2, lzma, gzip
    sys.path.insert(0, {str(tmp_path)!r})
    read_artifact(Path({str(OLD / "0.19.1-svc-pickle2.bin")!r}))  # what it needs itself is imported now
    seen = []
    sys.addaudithook(lambda event, args: seen.append(event))
    for name in {sorted(files)!r}:
        print(read_artifact(Path({str(tmp_path)!r}, name)).globals)
    bad = [e for e in seen if e.split(".")[0] in ("import", "exec", "compile", "os", "subprocess", "pickle", "marshal", "ctypes")]
    assert not bad, bad
    assert "sklearn" not in sys.modules and "numpy" not in sys.modules
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "'os.system'" in ran.stdout
    assert "evil_module.Thing" in ran.stdout
    assert not target.exists()


def test_a_big_forest_is_read_in_well_under_a_second(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(10_000, 10)), rng.integers(0, 10, 10_000)
    path = tmp_path / "forest.joblib"
    joblib.dump(RandomForestClassifier(n_estimators=20, random_state=0).fit(X, y), path)
    assert path.stat().st_size > 20e6
    started = time.monotonic()
    assert read_artifact(path).class_name == "RandomForestClassifier"
    assert time.monotonic() - started < 3  # takes about 0.01 s on an idle machine
