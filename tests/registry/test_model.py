import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from registry import Environment, Model, ResourceConfiguration, Workspace
from registry.errors import (
    ArtifactChanged,
    EnvironmentNotFound,
    InvalidArgument,
    InvalidName,
    InvalidResource,
    LocalPathNotFound,
    MainModuleClass,
    ModelInUse,
    ModelNotFound,
    NeedsRunning,
    NotAnArtifact,
    RunNotFound,
)
from registry.names import split_id
from registry.records import RunRecord, ServiceRecord

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def register(workspace: Workspace, path: Path, name: str = "iris", **given: object) -> Model:
    return Model.register(workspace, path, name, show_output=False, **given)  # type: ignore[arg-type]


def test_registering_says_so_and_counts(
    workspace: Workspace, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Model.register(workspace, str(model_file), "sklearn-iris")
    assert capsys.readouterr().out == "Registering model sklearn-iris\n"
    second = Model.register(model_name="sklearn-iris", model_path=model_file, workspace=workspace, show_output=False)
    assert capsys.readouterr().out == ""
    assert [(m.name, m.version, m.id) for m in (first, second)] == [
        ("sklearn-iris", 1, "sklearn-iris:1"),
        ("sklearn-iris", 2, "sklearn-iris:2"),
    ]


def test_what_is_said_is_what_is_known(workspace: Workspace, model_file: Path) -> None:
    limits = ResourceConfiguration(cpu=0.5, memory_in_gb=0.25)
    model = register(
        workspace,
        model_file,
        tags={"area": "iris", "n": 3, "none": None},
        properties={"p": True},
        description="an SVC",
        model_framework=Model.Framework.SCIKITLEARN,
        model_framework_version="0.19.1",
        resource_configuration=limits,
        experiment_name="exp",
        settings={"default_method": "predict"},
    )
    assert model.tags == {"area": "iris", "n": "3", "none": "None"}
    assert model.properties == {"p": "True"}
    assert (model.description, model.model_framework, model.model_framework_version) == (
        "an SVC",
        "ScikitLearn",
        "0.19.1",
    )
    assert model.resource_configuration == limits
    assert datetime.now(UTC) - model.created_time < timedelta(minutes=1)
    assert (model.run_id, model.experiment_name) == (None, "exp")
    assert model.created_by
    assert model.unpack is False
    assert model.record.facts["sklearn_version"]
    assert model.record.artifact.name == "model.joblib"
    assert model.record.settings == {"default_method": "predict"}
    assert Model(workspace, "iris").record == model.record


def test_the_defaults_are_the_documented_ones(workspace: Workspace, model_file: Path) -> None:
    model = register(workspace, model_file)
    assert model.resource_configuration == ResourceConfiguration(cpu=1, memory_in_gb=0.5)
    assert (model.tags, model.properties, model.description, model.model_framework) == ({}, {}, None, None)
    assert model.sample_input_dataset is None
    assert model.sample_output_dataset is None


def test_serialize_has_azures_keys(workspace: Workspace, model_file: Path) -> None:
    data = register(workspace, model_file, tags={"a": "b"}).serialize()
    assert " ".join(data) == (
        "createdTime createdBy description id mimeType name framework frameworkVersion tags properties unpack url version "
        "experimentName runId runDetails datasets resourceConfiguration sampleInputDatasetId sampleOutputDatasetId"
    )
    assert json.loads(json.dumps(data)) == data
    assert data["resourceConfiguration"] == {"cpu": 1.0, "memoryInGB": 0.5, "gpu": None}


@pytest.mark.parametrize(
    "name", ["", "../iris", "a..b", "a/b", "-iris", "iris\x00", "iris\n", "ïris", "a" * 256, None, 3]
)
def test_a_name_is_never_a_path(workspace: Workspace, model_file: Path, name: str) -> None:
    with pytest.raises(InvalidName):
        register(workspace, model_file, name)
    assert Model.list(workspace) == []


def test_a_path_that_is_not_there_is_named_with_what_is(workspace: Workspace, model_file: Path) -> None:
    with pytest.raises(LocalPathNotFound, match=r"model_path .*modle.joblib does not exist; beside it .*model.joblib"):
        register(workspace, model_file.with_name("modle.joblib"))


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04K\x05.", b"PK\x03\x04 no zip"])
def test_a_file_that_is_no_model_is_refused_and_not_stored(
    workspace: Workspace, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "model.pkl").write_bytes(content)
    with pytest.raises(NotAnArtifact, match=r"model.pkl is not a model file"):
        register(workspace, tmp_path / "model.pkl")
    assert not list((workspace.root / "artifacts").iterdir())
    assert workspace.revision() == 0


def test_a_file_of_another_framework_is_stored_as_it_is(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"not a pickle")
    model = register(workspace, tmp_path / "weights.bin", model_framework=Model.Framework.CUSTOM)
    assert model.record.artifact.format == "other"


def test_a_class_of_the_script_itself_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"c__main__\nMyModel\n)\x81}b.")
    with pytest.raises(MainModuleClass, match=r"MyModel was defined in the training script itself: .*--code train\.py"):
        register(workspace, tmp_path / "model.pkl")


@pytest.mark.parametrize("name", ["m.onnx", "m.skops", "folder"])
def test_a_format_that_is_not_served_yet_is_refused_at_once(workspace: Workspace, tmp_path: Path, name: str) -> None:
    onnx = b"\x08\x08\x12\x08skl2onnx\x3a\x02\x0a\x00\x42\x02\x10\x0f"
    path = tmp_path / name
    if name == "m.skops":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("schema.json", json.dumps({"__class__": "SVC", "__module__": "sklearn.svm._classes"}))
    elif name == "folder":
        path.mkdir()
        (path / "model.onnx").write_bytes(onnx)
    else:
        path.write_bytes(onnx)
    with pytest.raises(NotAnArtifact, match="are not served yet: save the fitted estimator"):
        register(workspace, path)
    assert workspace.revision() == 0
    (tmp_path / "score.py").write_text("def init(): pass\ndef run(data): return data\n")
    script = {"settings": {"entry_script": "score.py"}, "code": tmp_path}
    assert register(workspace, path, **script).record.version == 1  # a script reads what it likes


def test_the_definitions_of_the_training_script_travel_with_its_classes(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"c__main__\nMyModel\n)\x81}b.")
    (tmp_path / "beside.py").write_text("SIZE = 3\n")
    script = tmp_path / "train.py"
    script.write_text("import beside, seaborn\nprint(1)\nclass MyModel:\n    n = beside.SIZE\nseaborn.set()\n")
    model = register(workspace, tmp_path / "model.pkl", code=script)
    assert model.record.code is not None
    files = workspace.artifacts.files(model.record.code)
    assert sorted(files) == ["__fitserve_main__.py", "beside.py", "train.py"]
    text = (workspace.artifacts.local_path(model.record.code) / "__fitserve_main__.py").read_text()
    assert text == "import beside, seaborn\n\nclass MyModel:\n    n = beside.SIZE\n"
    folder = register(workspace, tmp_path / "model.pkl", code=tmp_path, training_script=script)
    assert folder.record.code == model.record.code


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (
            "class Other: pass\n",
            MainModuleClass,
            "the model needs MyModel of the training script, and train.py does not define it",
        ),
        (
            "rows = open('x').read()\nclass MyModel:\n    def predict(self, X): return rows\n",
            NeedsRunning,
            r"needs MyModel of train\.py, which uses rows, and only running the script gives rows \(line 1\)",
        ),
        ("class MyModel(\n", InvalidArgument, r"train\.py is not a Python script: '\(' was never closed"),
    ],
)
def test_a_script_that_does_not_give_what_the_model_needs(
    workspace: Workspace, tmp_path: Path, text: str, error: type[Exception], said: str
) -> None:
    (tmp_path / "model.pkl").write_bytes(b"c__main__\nMyModel\n)\x81}b.")
    (tmp_path / "train.py").write_text(text)
    with pytest.raises(error, match=said):
        register(workspace, tmp_path / "model.pkl", code=tmp_path / "train.py")
    assert workspace.revision() == 0


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"model_framework_version": "1.0"}, InvalidArgument, "model_framework is needed"),
        ({"resource_configuration": {"cpu": 1}}, InvalidResource, "a ResourceConfiguration"),
        ({"settings": {"x": object()}}, InvalidArgument, "JSON values"),
        ({"settings": {"x": float("nan")}}, InvalidArgument, "JSON values"),
        ({"settings": {"children": "many"}}, InvalidArgument, "'many' is not a whole number from 1 to 1000"),
        ({"settings": {"children": 10**9}}, InvalidArgument, "is not a whole number from 1 to 1000"),
        ({"settings": {"max_compute_s": "soon"}}, InvalidArgument, "'soon' is not a number of seconds above 0"),
        ({"settings": {"max_compute_s": True}}, InvalidArgument, "True is not a number of seconds above 0"),
        ({"settings": {"batching": "no"}}, InvalidArgument, "'no' is not True or False"),
        ({"settings": {"default_method": ["predict"]}}, InvalidArgument, "is not the name of a method"),
        ({"tags": ["a"]}, InvalidArgument, "tags: they must be a dictionary"),
        ({"properties": {1: "a"}}, InvalidArgument, "properties: they must be a dictionary"),
        ({"child_paths": ["a"]}, InvalidArgument, "is a file"),
        ({"run_id": "nothing_1"}, RunNotFound, "nothing_1"),
        ({"environment": "nothing"}, EnvironmentNotFound, "nothing"),
        ({"environment": "ab" * 32}, EnvironmentNotFound, "abab"),
        ({"code": "/nowhere/at/all"}, LocalPathNotFound, "code folder /nowhere"),
        ({"sample": "/nowhere/sample.csv"}, LocalPathNotFound, "sample.csv"),
        ({"sample": "/nowhere/sample.xlsx"}, InvalidArgument, "none of .csv, .tsv, .json, .jsonl, .parquet, .npy"),
        ({"sample": 3}, InvalidArgument, "a int is not a path"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_registered(
    workspace: Workspace, model_file: Path, given: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        register(workspace, model_file, **given)
    assert Model.list(workspace) == []


def test_datasets_are_not_kept_and_that_is_said(workspace: Workspace, model_file: Path) -> None:
    with pytest.warns(UserWarning, match="datasets are not kept"):
        register(workspace, model_file, datasets=[("training", object())])


# folders


def test_a_folder_is_registered_with_all_its_files(workspace: Workspace, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "m/data").mkdir(parents=True)
    model_file.rename(tmp_path / "m/model.joblib")
    (tmp_path / "m/data/words.txt").write_text("x")
    model = register(workspace, tmp_path / "m")
    assert (model.record.artifact.kind, model.record.artifact.format, model.unpack) == ("folder", "folder", True)
    assert set(workspace.artifacts.files(model.record.artifact.digest)) == {"model.joblib", "data/words.txt"}
    assert model.record.facts["class_name"] == "SVC"
    part = register(workspace, tmp_path / "m", child_paths=["model.joblib"])
    assert set(workspace.artifacts.files(part.record.artifact.digest)) == {"model.joblib"}
    downloaded = Path(model.download(tmp_path / "target"))
    assert (downloaded / "data/words.txt").read_text() == "x"


def test_an_empty_folder_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(InvalidArgument, match="holds no files"):
        register(workspace, tmp_path / "m")


# code


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "words").mkdir(parents=True)
    (folder / "own_features.py").write_text("import own_helper\n\ndef double(X):\n    return X * own_helper.FACTOR\n")
    (folder / "own_helper.py").write_text("FACTOR = 2\n")
    monkeypatch.syspath_prepend(folder)
    import own_features  # type: ignore[import-not-found]

    joblib.dump(make_pipeline(FunctionTransformer(own_features.double)), tmp_path / "own.joblib")
    return folder


def test_modules_that_the_artifact_names_travel_along(workspace: Workspace, own_code: Path, tmp_path: Path) -> None:
    (own_code / "data.csv").write_text("not code")
    model = register(workspace, tmp_path / "own.joblib", code=own_code)
    assert model.record.code is not None
    assert set(workspace.artifacts.files(model.record.code)) == {"own_features.py", "own_helper.py"}


def test_a_folder_without_those_modules_does_not_travel(
    workspace: Workspace, own_code: Path, model_file: Path, tmp_path: Path
) -> None:
    assert register(workspace, model_file, code=own_code).record.code is None
    assert register(workspace, tmp_path / "own.joblib").record.code is None


# samples


def test_a_sample_file_is_kept_as_it_is(workspace: Workspace, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"a,b\r\n1,2\r\n")
    model = register(workspace, model_file, sample=tmp_path / "rows.csv", sample_output_dataset=[[1.5]])
    assert model.sample_input_dataset == b"a,b\r\n1,2\r\n"
    assert model.record.sample_name == "rows.csv"
    assert model.sample_output_dataset == b"[[1.5]]"


def test_a_frame_or_an_array_may_be_the_sample(workspace: Workspace, model_file: Path) -> None:
    frame = pd.DataFrame({"a": [0.1, 2.5], "b": ["x", None]})
    model = register(workspace, model_file, sample_input_dataset=frame)
    assert model.record.sample_name == "sample.json"
    assert model.sample_input_dataset == (
        b'{"columns":["a","b"],"data":[[0.1,"x"],[2.5,null]],"dtypes":{"a":{"dtype":"float64"},"b":{"dtype":"str"}}}'
    )
    array = register(workspace, model_file, sample_input_dataset=np.eye(2))
    assert array.record.sample_name == "sample.npy"
    assert array.sample_input_dataset is not None
    assert array.sample_input_dataset.startswith(b"\x93NUMPY")
    with pytest.raises(InvalidArgument, match="Python objects"):
        register(workspace, model_file, sample=np.array([object()]))


def test_an_empty_sample_is_refused(workspace: Workspace, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").touch()
    with pytest.raises(InvalidArgument, match=r"rows.csv is empty"):
        register(workspace, model_file, sample=tmp_path / "rows.csv")


# runs and environments


def test_a_run_gives_its_experiment_and_environment(workspace: Workspace, model_file: Path) -> None:
    record = RunRecord(id="e_1", experiment="e", number=0, status="Completed", created_time=NOW, environment="ab" * 32)
    workspace.metadata.add_run(record)
    other = Environment("other").register(workspace)
    model = register(workspace, model_file, run_id="e_1")
    assert (model.run_id, model.experiment_name, model.record.environment) == ("e_1", "e", "ab" * 32)
    named = register(workspace, model_file, run_id="e_1", environment="other")
    assert named.record.environment == other.digest


def test_an_environment_is_stored_with_the_model(workspace: Workspace, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("scikit-learn==1.5.2\n")
    mine = Environment.from_pip_requirements("mine", str(tmp_path / "requirements.txt"))
    model = register(workspace, model_file, environment=mine)
    assert model.record.environment == mine.digest
    assert workspace.metadata.get_environment_by_digest(mine.digest).spec == mine.spec()
    assert register(workspace, model_file, environment="mine").record.environment == mine.digest
    assert register(workspace, model_file, environment=mine.digest).record.environment == mine.digest
    assert "mine" in workspace.environments
    curated = register(workspace, model_file, environment="AzureML-Tutorial")
    assert workspace.metadata.get_environment_by_digest(str(curated.record.environment)).name == "AzureML-Tutorial"


# finding


@pytest.fixture
def several(workspace: Workspace, model_file: Path) -> Workspace:
    register(workspace, model_file, tags={"k": "1", "stage": "old"}, properties={"p": "x"})
    register(workspace, model_file, tags={"k": "2"}, model_framework="ScikitLearn")
    register(workspace, model_file, "wine", tags={"k": "1"})
    return workspace


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["iris:1", "iris:2", "wine:1"]),
        ({"name": "iris"}, ["iris:1", "iris:2"]),
        ({"latest": True}, ["iris:2", "wine:1"]),
        ({"tags": "stage"}, ["iris:1"]),
        ({"tags": ["k"]}, ["iris:1", "iris:2", "wine:1"]),
        ({"tags": [["k", "1"]]}, ["iris:1", "wine:1"]),
        ({"tags": ["stage", ["k", "2"]]}, []),
        ({"tags": [["k", "1"]], "latest": True}, ["iris:1", "wine:1"]),
        ({"properties": [["p", "x"]]}, ["iris:1"]),
        ({"model_framework": "ScikitLearn"}, ["iris:2"]),
        ({"run_id": "x"}, []),
    ],
)
def test_models_are_listed_by_what_fits(several: Workspace, given: dict[str, object], expected: list[str]) -> None:
    assert [model.id for model in Model.list(several, **given)] == expected  # type: ignore[arg-type]


def test_a_model_is_found_by_name_id_version_or_tags(several: Workspace) -> None:
    assert Model(several, "iris").id == "iris:2"
    assert Model(several, id="iris:1").id == "iris:1"
    assert Model(several, name="iris", version=1).id == "iris:1"
    assert Model(several, "iris", version="1").id == "iris:1"
    assert Model(several, "iris", tags=[["k", "1"]]).id == "iris:1"
    assert repr(Model(several, "wine")).endswith("name='wine', id='wine:1', version=1)")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"name": "none"}, ModelNotFound),
        ({"name": "iris", "version": 3}, ModelNotFound),
        ({"name": "iris", "tags": ["none"]}, ModelNotFound),
        ({"name": "iris", "version": 2, "tags": [["k", "1"]]}, ModelNotFound),
        ({"id": "iris"}, InvalidArgument),
        ({"id": "iris:one"}, InvalidArgument),
        ({"id": "../x:1"}, InvalidName),
        ({"name": "iris", "version": True}, InvalidArgument),
        ({}, InvalidArgument),
    ],
)
def test_what_is_not_found_is_an_error(several: Workspace, given: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        Model(several, **given)  # type: ignore[arg-type]


def test_an_id_comes_apart() -> None:
    assert split_id("iris:12") == ("iris", 12)


# changing


def test_tags_are_added_and_removed(several: Workspace) -> None:
    model = Model(several, id="iris:1")
    model.add_tags({"new": 1, "k": "9"})
    model.remove_tags(["stage", "never"])
    assert model.tags == Model(several, id="iris:1").tags == {"k": "9", "new": "1"}
    model.remove_tags("new")
    assert model.tags == {"k": "9"}


def test_a_tag_added_elsewhere_is_not_lost(several: Workspace) -> None:
    one, two = Model(several, id="iris:1"), Model(several, id="iris:1")
    one.add_tags({"one": "1"})
    two.add_tags({"two": "2"})
    assert {"one", "two"} <= set(two.tags)


def test_properties_are_for_ever(several: Workspace) -> None:
    model = Model(several, id="iris:1")
    model.add_properties({"q": "y", "p": "x"})
    assert model.properties == {"p": "x", "q": "y"}
    with pytest.raises(InvalidArgument, match="'p' is 'x' and cannot be changed"):
        model.add_properties({"r": "z", "p": "other"})
    assert Model(several, id="iris:1").properties == {"p": "x", "q": "y"}


def test_update_replaces_what_is_given(several: Workspace) -> None:
    model = Model(several, id="iris:1")
    model.update(description="new", sample_input_dataset=[[1]], sample_output_dataset=[2])
    assert (model.description, model.sample_input_dataset, model.sample_output_dataset) == ("new", b"[[1]]", b"[2]")
    assert model.tags == {"k": "1", "stage": "old"}
    model.update(tags={"only": "this"}, resource_configuration=ResourceConfiguration(cpu=2))
    again = Model(several, id="iris:1")
    assert (again.tags, again.description, again.resource_configuration.cpu) == ({"only": "this"}, "new", 2.0)


def test_a_deleted_version_is_gone_and_its_number_not_used_again(several: Workspace, model_file: Path) -> None:
    Model(several, id="iris:2").delete()
    assert Model(several, "iris").version == 1
    assert register(several, model_file).version == 3
    with pytest.raises(ModelNotFound):
        Model(several, id="iris:2")


def test_a_model_in_use_is_not_deleted(several: Workspace) -> None:
    several.metadata.put_service(ServiceRecord(name="svc", models=("iris:1",), created_time=NOW, updated_time=NOW))
    with pytest.raises(ModelInUse, match="svc"):
        Model(several, id="iris:1").delete()


# bytes


def test_a_model_is_downloaded(workspace: Workspace, model_file: Path, tmp_path: Path) -> None:
    model = register(workspace, model_file)
    path = Path(model.download(tmp_path / "a/b"))
    assert path == tmp_path / "a/b/model.joblib"
    assert path.read_bytes() == model_file.read_bytes()
    with pytest.raises(InvalidArgument, match="exist_ok=True"):
        model.download(tmp_path / "a/b")
    assert model.download(tmp_path / "a/b", exist_ok=True) == str(path)


def test_bytes_that_changed_on_disk_are_not_handed_out(workspace: Workspace, model_file: Path, tmp_path: Path) -> None:
    model = register(workspace, model_file)
    stored = workspace.artifacts.local_path(model.record.artifact.digest)
    with stored.open("r+b") as file:
        file.seek(100)
        file.write(b"!")
    with pytest.raises(ArtifactChanged, match="register it again"):
        model.download(tmp_path / "target")
    register(workspace, model_file)
    model.download(tmp_path / "target")


def test_a_scoring_script_finds_its_model(
    workspace: Workspace, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AML_APP_ROOT", str(tmp_path / "app"))
    for version in ("1", "2", "10"):
        (tmp_path / "app/azureml-models/iris" / version).mkdir(parents=True)
        (tmp_path / "app/azureml-models/iris" / version / "model.joblib").touch()
    base = tmp_path / "app/azureml-models/iris"
    assert Model.get_model_path("iris") == str(base / "10/model.joblib")
    assert Model.get_model_path("iris", version=2) == str(base / "2/model.joblib")
    with pytest.raises(LocalPathNotFound, match="there is: 1, 10, 2"):
        Model.get_model_path("iris", 3)
    (base / "2/second").touch()
    with pytest.raises(InvalidArgument, match="holds 2"):
        Model.get_model_path("iris", 2)
    (tmp_path / "beside").touch()
    assert Model.get_model_path("beside") == "beside"
    with pytest.raises(LocalPathNotFound):
        Model.get_model_path("wine")
    with pytest.raises(InvalidName):
        Model.get_model_path("../../etc")
    register(workspace, model_file, "wine")
    assert Path(Model.get_model_path("wine", _workspace=workspace)).read_bytes() == model_file.read_bytes()


@pytest.mark.parametrize(
    ("size", "compressed", "named", "chosen"),
    [
        (1_000, False, None, 0.5),
        (546_000_000, False, None, 1.5),
        (200_000_000, True, None, 1.0),
        (4_000_000_000, False, None, 2.0),
        (4_000_000_000, False, 0.5, 0.5),
    ],
)
def test_memory_that_nobody_named_fits_the_file(
    size: int, compressed: bool, named: float | None, chosen: float
) -> None:
    limits = ResourceConfiguration(cpu=2, memory_in_gb=named).fitting(size, compressed)
    assert (limits.memory_in_gb, limits.cpu) == (chosen, 2)
