"""Which model a run has made, wherever its script saved it."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import joblib
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from registry.errors import ModelPathNotFound
from trainer import Run
from trainer.errors import NoModelInRun, SeveralModelsInRun
from trainer.folder import RunFolder, file_digest
from trainer.run_models import choose_model, find_model, find_models

X, Y = [[0.0], [1.0], [2.0]], [0, 1, 1]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run whose script was submitted with an old model and an old table beside it."""
    made = RunFolder(tmp_path / "tests_1_00000000")
    made.create()
    made.snapshot.mkdir()
    joblib.dump(SVC().fit(X, Y), made.snapshot / "old.joblib")
    made.write_manifest({"old.joblib": file_digest(made.snapshot / "old.joblib")})
    made.write_facts({})
    return made


def save(value: object, path: Path, age: int = 0, **given: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if "compress" in given or path.suffix == ".joblib":
        joblib.dump(value, path, **given)
    else:
        path.write_bytes(pickle.dumps(value))
    os.utime(path, (1_700_000_000 - age,) * 2)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "model.joblib",
        "model.pkl",
        "models/lr.sav",
        "deep/er/final_model",
        "clf.bin",
        "../models/m.joblib",
        "outputs/model.pkl",
        "outputs/final",
        "outputs",
        "logs/m.pkl",
        "mlruns/0/0123/artifacts/model/model.pkl",
    ],
)
def test_one_model_is_found_wherever_it_was_saved_and_whatever_it_is_called(folder: RunFolder, name: str) -> None:
    saved = save(LogisticRegression().fit(X, Y), folder.snapshot / name)
    chosen = choose_model("run", folder)
    assert (chosen.name, chosen.path.resolve()) == (name, saved.resolve())
    assert find_model(folder, name).resolve() == saved.resolve()
    assert find_model(folder, f"./{name}").resolve() == saved.resolve()


def test_compressed_files_are_read_too(folder: RunFolder) -> None:
    save(SVC().fit(X, Y), folder.snapshot / "clf.pkl.gz", compress=3)
    (folder.snapshot / "table.csv.gz").write_bytes(b"\x1f\x8b no model")
    assert choose_model("run", folder).name == "clf.pkl.gz"


def test_what_is_kept_comes_before_what_lies_beside_the_script_and_that_before_mlflow_s(folder: RunFolder) -> None:
    save(SVC().fit(X, Y), folder.snapshot / "mlruns/0/1/artifacts/model/model.pkl")
    assert choose_model("run", folder).name == "mlruns/0/1/artifacts/model/model.pkl"
    save(SVC().fit(X, Y), folder.snapshot / "beside.pkl")
    assert choose_model("run", folder).name == "beside.pkl"
    save(pd.DataFrame(X), folder.snapshot / "outputs/table.pkl")
    assert choose_model("run", folder).name == "beside.pkl"
    save(LogisticRegression().fit(X, Y), folder.files / "uploaded.pkl")
    assert choose_model("run", folder).name == "uploaded.pkl"


def test_a_model_that_came_along_counts_when_the_script_has_changed_it(folder: RunFolder) -> None:
    with pytest.raises(NoModelInRun):
        choose_model("run", folder)
    save(LogisticRegression().fit(X, Y), folder.snapshot / "old.joblib")
    assert choose_model("run", folder).name == "old.joblib"


def test_of_several_the_one_called_model_is_meant_else_all_are_listed_the_last_predictor_first(
    folder: RunFolder,
) -> None:
    save(SVC().fit(X, Y), folder.snapshot / "first.pkl", age=20)
    save(LogisticRegression().fit(X, Y), folder.snapshot / "second.sav", age=10)
    save(StandardScaler().fit(X), folder.snapshot / "scaler.joblib")
    save({"classes": ["a"]}, folder.snapshot / "classes.pkl")
    assert [model.name for model in find_models(folder)] == ["second.sav", "first.pkl", "scaler.joblib", "classes.pkl"]
    with pytest.raises(SeveralModelsInRun) as caught:
        choose_model("run", folder)
    assert "(second.sav, first.pkl, scaler.joblib): choose one, such as --model-path second.sav" in str(caught.value)
    save(SVC().fit(X, Y), folder.snapshot / "sub" / "model.joblib", age=30)
    assert choose_model("run", folder).name == "sub/model.joblib"


def test_the_same_model_twice_is_one(folder: RunFolder) -> None:
    save(SVC().fit(X, Y), folder.snapshot / "a.pkl", age=5)
    save(SVC().fit(X, Y), folder.snapshot / "b.pkl")
    assert choose_model("run", folder).name == "b.pkl"


def test_tables_lists_and_broken_files_are_no_models(folder: RunFolder) -> None:
    save(pd.DataFrame(X), folder.snapshot / "frame.pkl")
    save([1, 2], folder.snapshot / "list")
    (folder.snapshot / "notes.txt").write_text("text")
    save(SVC().fit(X, Y), folder.snapshot / "svc.pkl")
    assert choose_model("run", folder).name == "svc.pkl"


def test_where_nothing_was_saved_the_sentence_says_how(folder: RunFolder) -> None:
    (folder.snapshot / "notes.txt").write_text("text")
    with pytest.raises(NoModelInRun) as caught:
        choose_model("tests_1", folder)
    assert "run tests_1 finished, but its script saved no model" in str(caught.value)
    assert "(it wrote: notes.txt)" in str(caught.value)
    assert "joblib.dump(model, 'model.joblib')" in str(caught.value)


@pytest.mark.parametrize("name", ["../run.json", "../files", "../../other", "/etc/hostname", ".", "", "nothing.pkl"])
def test_only_the_run_s_own_products_can_be_named(folder: RunFolder, name: str) -> None:
    save(SVC().fit(X, Y), folder.snapshot / "svc.pkl")
    with pytest.raises(ModelPathNotFound, match=r"svc\.pkl"):
        find_model(folder, name)


def test_a_link_out_of_the_run_is_not_followed(folder: RunFolder, tmp_path: Path) -> None:
    save(SVC().fit(X, Y), tmp_path / "elsewhere.pkl")
    (folder.snapshot / "link.pkl").symlink_to(tmp_path / "elsewhere.pkl")
    assert find_models(folder) == []
    with pytest.raises(ModelPathNotFound):
        find_model(folder, "link.pkl")


def test_a_folder_beside_the_script_is_registered_when_the_script_wrote_into_it(submit: Callable[..., Run]) -> None:
    """From inside of the run and from outside; without a path the name means a file of the run alone."""
    run = submit(
        """
        import joblib, os
        from azureml.core import Run
        from sklearn.svm import SVC
        os.makedirs("models")
        joblib.dump(SVC().fit([[0.0], [1.0]], [0, 1]), "models/clf.sav")
        print(Run.get_context().register_model("inside", model_path="models/clf.sav").id)
        """,
        {"package/__init__.py": ""},
    )
    run.wait_for_completion()
    assert run.log_path.read_text().splitlines()[-1] == "inside:1"
    assert run.register_model("m", run.choose_model()).id == "m:1"
    assert run.register_model("m", "models").id == "m:2"
    for given in ({}, {"model_path": "package"}):
        with pytest.raises(ModelPathNotFound, match=r"models/clf\.sav"):
            run.register_model("package", **given)
