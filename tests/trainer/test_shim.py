"""The shim's run inside and outside of a job, in this Python."""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def get_run() -> Any:
    from azureml.core.run import Run

    return Run.get_context()


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (1, 1),
        (2**70, 2**70),
        (0.5, 0.5),
        (True, True),
        (None, None),
        ("linear", "linear"),
        ("zäh\ud800", "zäh\ud800"),
        (np.int64(2**62), 2**62),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (float("inf"), float("inf")),
    ],
)
def test_values_are_kept_as_json_has_them(run_dir: Path, value: object, kept: object) -> None:
    run = get_run()
    run.log("x", value)
    assert run.get_metrics() == {"x": kept}
    assert type(events(run_dir)[0]["value"]) is type(kept)


def test_nan_stays_nan(run_dir: Path) -> None:
    run = get_run()
    run.log("x", float("nan"))
    assert run.get_metrics()["x"] != run.get_metrics()["x"]


@pytest.mark.parametrize("value", [(1, 2), {"a": 1}, b"bytes", 1j, np.timedelta64(1, "s"), np.array([1, 2])])
def test_other_values_are_kept_as_their_repr_with_a_warning(
    run_dir: Path, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    run = get_run()
    run.log("x", value)
    assert run.get_metrics() == {"x": repr(value)}
    assert "its repr is kept" in caplog.text


@pytest.mark.parametrize("value", [[1, 2], range(3), (i for i in "ab")])
def test_log_refuses_several_values(run_dir: Path, value: object) -> None:
    from azureml.exceptions import UserErrorException

    with pytest.raises(UserErrorException, match=r"run\.log does not support list type"):
        get_run().log("x", value)
    assert not (run_dir / "events.jsonl").exists()


def test_what_is_logged_twice_becomes_a_list(run_dir: Path) -> None:
    run = get_run()
    run.log("once", 1)
    for value in (1, 2, 3):
        run.log("thrice", value, step=value)
    run.log_list("list", [np.int64(1), 2.5])
    run.log_list("list", (3,))
    run.log_list("short", [5])
    run.log_list("array", np.arange(2))
    assert run.get_metrics() == {"once": 1, "thrice": [1, 2, 3], "list": [1, 2.5, 3], "short": [5], "array": [0, 1]}
    assert run.get_metrics("once") == {"once": 1}
    assert [event["step"] for event in events(run_dir) if event["name"] == "thrice"] == [1, 2, 3]


def test_rows_and_tables_collapse(run_dir: Path) -> None:
    run = get_run()
    run.log_row("one", x=1, y="a")
    run.log_row("two", x=1, y="a")
    run.log_row("two", x=np.float64(2), z=None)
    run.log_table("table", {"a": [1, 2], "b": np.array([3, 4])})
    run.log_table("flat", {"a": 1, "b": "text"})
    run.log_table("ragged", {"a": [1, 2], "b": [3]})
    assert run.get_metrics() == {
        "one": {"x": 1, "y": "a"},
        "two": {"x": [1, 2.0], "y": ["a", None], "z": [None, None]},
        "table": {"a": [1, 2], "b": [3, 4]},
        "flat": {"a": 1, "b": "text"},
        "ragged": {"a": [1, 2], "b": [3, None]},
    }


def test_tables_and_lists_of_the_wrong_type_are_refused(run_dir: Path) -> None:
    from azureml.exceptions import UserErrorException

    run = get_run()
    for value in ("text", 5, {"a": 1}):
        with pytest.raises(UserErrorException, match=r"run\.log_list needs a list"):
            run.log_list("x", value)
    with pytest.raises(UserErrorException, match=r"run\.log_table needs a dict"):
        run.log_table("x", [1])


def test_structured_metrics(run_dir: Path) -> None:
    from azureml.exceptions import UserErrorException

    run = get_run()
    data = {"class_labels": np.array(["a", "b"]), "matrix": np.array([[1, 0], [0, 2]])}
    value = {"schema_type": "confusion_matrix", "schema_version": "1.0.0", "data": data}
    plain = {**value, "data": {"class_labels": ["a", "b"], "matrix": [[1, 0], [0, 2]]}}
    run.log_confusion_matrix("matrix", value)
    run.log_confusion_matrix("as text", json.dumps(plain))
    run.log_accuracy_table("accuracy", {"schema_type": "accuracy_table", "schema_version": "1", "data": {}})
    run.log_residuals("residuals", {"schema_type": "residuals", "schema_version": "1", "data": {}})
    run.log_predictions("predictions", {"schema_type": "predictions", "schema_version": "1", "data": {}})
    metrics = run.get_metrics()
    assert metrics["matrix"] == metrics["as text"] == plain
    assert len(metrics) == 5
    for bad in ({"data": {}}, "not json", "[1]", {**plain, "schema_type": "residuals"}):
        with pytest.raises(UserErrorException, match="the value of 'bad'"):
            run.log_confusion_matrix("bad", bad)


def test_images_are_files_of_the_run(run_dir: Path, tmp_path: Path) -> None:
    from azureml.exceptions import UserErrorException

    class Plot:
        def savefig(self, path: str, format: str) -> None:
            Path(path).write_bytes(b"\x89PNG " + format.encode())

    run = get_run()
    (tmp_path / "picture.jpg").write_bytes(b"jpg")
    run.log_image("a/b", path=str(tmp_path / "picture.jpg"))
    run.log_image("plot", plot=Plot())
    first, second = run.get_file_names()
    assert (first.startswith("a_b_"), first.endswith(".jpg")) == (True, True)
    assert (second.startswith("plot_"), second.endswith(".png")) == (True, True)
    assert (run_dir / "files" / second).read_bytes() == b"\x89PNG png"
    assert run.get_metrics()["plot"] == f"aml://artifactId/ExperimentRun/dcid.{run.id}/{second}"
    for given in ({}, {"path": "x", "plot": Plot()}):
        with pytest.raises(UserErrorException, match="exactly one of path and plot"):
            run.log_image("x", **given)


def test_uploaded_files_are_there_at_once_and_never_overwritten(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from azureml.exceptions import UserErrorException

    run = get_run()
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "a").write_text("a")
    (tmp_path / "folder" / "sub" / "b").write_text("b")
    run.upload_file("models/a.txt", str(tmp_path / "folder" / "a"))
    run.upload_file("stream", io.BytesIO(b"bytes"))
    run.upload_files(["c"], [str(tmp_path / "folder" / "a")])
    run.upload_folder("all", str(tmp_path / "folder"))
    assert run.get_file_names() == ["all/a", "all/sub/b", "c", "models/a.txt", "stream"]
    with pytest.raises(
        UserErrorException, match=r"Resource Conflict: ArtifactId ExperimentRun/dcid\..*/c already exists"
    ):
        run.upload_file("c", str(tmp_path / "folder" / "sub" / "b"))
    assert (run_dir / "files" / "c").read_text() == "a"
    for name in ("../x", "/x", "a/../../x", "", "a//b", "a\0b"):
        with pytest.raises(UserErrorException, match="is not a name for a run's file"):
            run.upload_file(name, str(tmp_path / "folder" / "a"))
    with pytest.raises(UserErrorException, match=r"cannot upload .* as d: the file does not exist"):
        run.upload_file("d", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)
    run.download_file("models/a.txt")
    assert (tmp_path / "a.txt").read_text() == "a"
    with pytest.raises(UserErrorException, match="File with path x was not found, available files include: all/a"):
        run.download_file("x")


def test_tags_properties_and_names(run_dir: Path) -> None:
    from azureml.exceptions import UserErrorException

    run = get_run()
    run.tag("a", 1)
    run.set_tags({"b": None, "given": "changed"})
    run.remove_tags(["a"])
    assert run.get_tags() == run.tags == {"b": None, "given": "changed"}
    run.add_properties({"p": 1})
    with pytest.raises(UserErrorException, match="cannot be changed"):
        run.add_properties({"p": 2})
    assert run.properties == {"p": "1"}
    assert run.display_name == run.id
    run.display_name = "nice"
    run.description = "words"
    assert (run.display_name, run.name, run.description) == ("nice", "nice", "words")
    assert (run.experiment.name, run.number) == ("tests", 7)


def test_ending_a_submitted_run_from_inside_changes_no_status(run_dir: Path) -> None:
    run = get_run()
    run.complete()
    run.cancel()
    run.fail(error_details="told")
    run.flush()
    assert run.get_status() == run.status == run.get_details()["status"] == "Running"
    assert run.get_tags()["error_details"] == "told"
    assert not any(event["type"] == "status" for event in events(run_dir))


def test_a_dataset_of_a_run_is_refused_with_what_to_do(run_dir: Path) -> None:
    from azureml.exceptions import UserErrorException

    assert get_run().input_datasets == {}
    with pytest.raises(UserErrorException, match="a dataset passed as an argument becomes the path of its file"):
        get_run().input_datasets["titanic"]


def test_the_context_is_one_object_with_the_names_of_azure(run_dir: Path) -> None:
    from azureml.core import VERSION, Run
    from azureml.core.run import Run as SameRun
    from azureml.core.run import _SubmittedRun

    assert Run is SameRun
    assert Run.get_context() is Run.get_context()
    assert isinstance(Run.get_context(), _SubmittedRun)
    assert VERSION.count(".") >= 2
    with Run.get_context() as run:
        assert run.id == "tests_1_00000000"


def test_outside_of_a_run_calls_are_printed(azureml: None, capsys: pytest.CaptureFixture[str]) -> None:
    from azureml.core.run import Run, _OfflineRun

    run = Run.get_context()
    assert isinstance(run, _OfflineRun)
    assert run.id.startswith("OfflineRun_")
    run.log("Accuracy", 0.5)
    run.log_list("l", [1])
    run.log_row("r", a=1)
    run.upload_file("x", __file__)
    assert capsys.readouterr().out == (
        "Attempted to log scalar metric Accuracy:\n0.5\n"
        "Attempted to log list metric l:\n[1]\n"
        "Attempted to log row metric r:\n{'a': 1}\n"
        "Attempted to upload file x\n"
    )
    assert run.get_metrics() == {"Accuracy": 0.5, "l": [1], "r": {"a": 1}}
    run.tag("a", 1)
    assert run.get_tags() == {"a": "1"}
    run.complete()


def test_outside_of_a_run_it_can_be_refused(azureml: None) -> None:
    from azureml.core.run import Run
    from azureml.exceptions import RunEnvironmentException

    with pytest.raises(RunEnvironmentException):
        Run.get_context(allow_offline=False)


def test_names_that_are_not_supported_say_so_at_use(run_dir: Path) -> None:
    from azureml.core import Keyvault, Model
    from azureml.core.compute import AksCompute
    from azureml.core.model import Model as SameModel
    from azureml.core.runconfig import MpiConfiguration
    from azureml.exceptions import UserErrorException

    assert Model is SameModel
    for use in (
        Keyvault,
        AksCompute.attach_configuration,
        MpiConfiguration,
    ):
        with pytest.raises(UserErrorException, match="is not supported by fitserve: "):
            use()


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("core.Datastore", "account_name"),
        ("core.compute.AmlCompute", "list_nodes"),
        ("core.compute.AksCompute", "get_credentials"),
        ("data.TabularDataset", "sample"),
        ("data.FileDataset", "mount"),
        ("core.Model", "get_sas_urls"),
        ("core.Workspace", "set_connection"),
        ("core.Experiment", "from_directory"),
        ("core.Run", "get_submitted_run"),
        ("core.Environment", "from_spark"),
        ("core.ScriptRunConfig", "get_something"),
        ("core.RunConfiguration", "load"),
        ("core.webservice.AciWebservice", "get_profile"),
        ("core.conda_dependencies.CondaDependencies", "merge_conda_dependencies"),
        ("train.hyperdrive.HyperDriveRun", "get_children_everywhere"),
        ("train.hyperdrive.BanditPolicy", "slack"),
        ("core.Keyvault", "get_secret"),
    ],
)
def test_a_name_that_a_class_does_not_have_is_answered_with_a_sentence(
    azureml: None, name: str, attribute: str
) -> None:
    import copy
    import importlib
    import pickle

    from azureml.exceptions import UserErrorException

    module, _, cls = f"azureml.{name}".rpartition(".")
    found = getattr(importlib.import_module(module), cls)
    bare = object.__new__(found)  # as copy and pickle make it, before it has anything
    for asked in (found, bare):
        with pytest.raises(UserErrorException, match=f"{cls}.{attribute} is not supported by fitserve: .{{10}}"):
            getattr(asked, attribute)
        for probe in ("_repr_html_", "_ipython_display_", "__array__", "__wrapped__", attribute):
            assert not hasattr(asked, probe)
        with pytest.raises(AttributeError) as raised:
            _ = asked._ipython_canary_method_should_not_exist_
        assert not isinstance(raised.value, UserErrorException)
    assert isinstance(copy.deepcopy(bare), found)
    if module != "azureml.core" or cls != "Keyvault":  # it has no module that pickle could find it in
        assert isinstance(pickle.loads(pickle.dumps(bare)), found)


def test_an_error_within_a_property_keeps_its_own_words(azureml: None) -> None:
    from azureml._fitserve.unsupported import Answering

    class Broken(Answering):
        @property
        def inner(self) -> object:
            return object().missing  # type: ignore[attr-defined]

    with pytest.raises(AttributeError, match="'object' object has no attribute 'missing'"):
        _ = Broken().inner


@pytest.mark.parametrize(
    "module", ["train.sklearn", "core.webservice.aci", "core.compute.aks", "train.hyperdrive.sampling", "core.image"]
)
def test_modules_of_the_table_are_found_as_files_are(azureml: None, module: str) -> None:
    import importlib
    import importlib.util

    name = f"azureml.{module}"
    assert importlib.util.find_spec(name) is not None
    made = importlib.import_module(name)
    assert importlib.reload(made) is made is sys.modules[name]
    assert made.__all__
    assert (made.__doc__, made.__package__) == (f"`{name}`.", made.__spec__.parent if made.__spec__ else None)
    with pytest.raises(ModuleNotFoundError, match=f"No module named '{name}.nothing'"):
        importlib.import_module(f"{name}.nothing")


def test_what_needs_fitserve_says_how_to_be_started(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from azureml.core import Workspace
    from azureml.exceptions import RunEnvironmentException

    monkeypatch.delenv("FITSERVE_RPC", raising=False)
    for use in (
        Workspace.from_config,
        lambda: get_run().register_model("x"),
        lambda: get_run().experiment.workspace,
    ):
        with pytest.raises(RunEnvironmentException, match="the launcher of this run cannot be reached"):
            use()
    monkeypatch.delenv("FITSERVE_RUN_DIR")
    with pytest.raises(RunEnvironmentException, match="start it with `fitserve exec python "):
        Workspace.from_config()


def test_several_processes_log_without_mixing_their_lines(run_dir: Path) -> None:
    run = get_run()
    run.log("begun", 1)
    children = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads; the child only logs
        for child in range(4):
            pid = os.fork()
            if pid == 0:
                for number in range(200):
                    get_run().log(f"child {child}", "x" * 500 + str(number))
                os._exit(0)
            children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    metrics = run.get_metrics()
    assert {name: len(value) for name, value in metrics.items() if name != "begun"} == {
        f"child {child}": 200 for child in range(4)
    }


def test_nothing_of_fitserves_is_imported(run_dir: Path) -> None:
    import subprocess

    code = (
        "import sys; sys.path.append(sys.argv[1])\nimport azureml.core.run as r\nr.Run.get_context().log('a', 1)\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('registry', 'trainer', 'gateway', 'numpy')])"
    )
    shim = (
        Path(sys.modules["azureml.core.run"].__file__ or "").parents[2] if "azureml.core.run" in sys.modules else None
    )
    shim = shim or Path(__file__).parents[2] / "trainer" / "shim"
    done = subprocess.run([sys.executable, "-I", "-c", code, str(shim)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
