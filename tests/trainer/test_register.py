"""From a run to a registered model."""

from collections.abc import Callable

import pytest

from registry.errors import ModelPathNotFound, NeedsRunning
from registry.model import Model
from registry.resources import ResourceConfiguration
from trainer import Run

Submit = Callable[..., Run]

TRAIN = """
import joblib, os
from sklearn.svm import SVC
os.makedirs("outputs", exist_ok=True)
joblib.dump(SVC().fit([[0.0], [1.0]], [0, 1]), "outputs/model.joblib")
"""


def test_a_file_of_a_run_becomes_a_version_that_knows_its_run(submit: Submit) -> None:
    run = submit(TRAIN)
    model = run.register_model(  # it waits for the end of the run
        "sklearn-iris",
        "outputs/model.joblib",
        tags={"area": "iris"},
        model_framework=Model.Framework.SCIKITLEARN,
        model_framework_version="0.19.1",
        resource_configuration=ResourceConfiguration(cpu=1, memory_in_gb=0.5),
    )
    assert (model.id, model.version) == ("sklearn-iris:1", 1)
    assert (model.run_id, model.experiment_name) == (run.id, "tests")
    assert model.tags == {"area": "iris"}
    again = run.register_model(model_name="sklearn-iris", model_path="./outputs/model.joblib")
    assert again.version == 2


def test_a_path_that_is_not_there_names_the_files(submit: Submit) -> None:
    run = submit("import os\nos.makedirs('outputs')\nopen('outputs/other.pkl', 'w')")
    run.wait_for_completion()
    for arguments in ({"model_path": "model.joblib"}, {}, {"model_path": "../run.json"}):
        with pytest.raises(ModelPathNotFound) as caught:
            run.register_model("m", **arguments)
        path = arguments.get("model_path", "m")
        assert str(caught.value) == (
            f"Could not locate the provided model_path {path} in the set of files uploaded to the run: "
            "['azureml-logs/70_driver_log.txt', 'outputs/other.pkl', 'user_logs/std_log.txt']"
        )


def test_modules_beside_the_script_travel_with_the_model(submit: Submit) -> None:
    run = submit(
        "import beside, joblib, os\nos.makedirs('outputs')\njoblib.dump(beside.Model(), 'outputs/model.joblib')",
        {"beside.py": "class Model:\n    def predict(self, X): return [0 for _ in X]\n", "big.csv": "data"},
    )
    model = run.register_model("custom", "outputs/model.joblib")
    code = model.workspace.metadata.get_model("custom", model.version).code
    assert code is not None
    files = model.workspace.artifacts.files(code)
    assert "beside.py" in files
    assert "big.csv" not in files


def test_a_class_of_the_script_itself_travels_by_its_definition(submit: Submit) -> None:
    run = submit(
        "import joblib, os\nFACTOR = 2\nclass Mine:\n    def predict(self, X): return [FACTOR for _ in X]\n"
        "os.makedirs('outputs')\njoblib.dump(Mine(), 'outputs/model.joblib')"
    )
    model = run.register_model("m", "outputs/model.joblib")
    code = model.workspace.metadata.get_model("m", model.version).code
    assert code is not None
    text = (model.workspace.artifacts.local_path(code) / "__fitserve_main__.py").read_text()
    assert text == "FACTOR = 2\n\nclass Mine:\n    def predict(self, X): return [FACTOR for _ in X]\n"


def test_what_only_running_gives_is_refused_with_its_name(submit: Submit) -> None:
    run = submit(
        "import joblib, os\nn = os.getpid()\nclass Mine:\n    def predict(self, X): return [n for _ in X]\n"
        "os.makedirs('outputs')\njoblib.dump(Mine(), 'outputs/model.joblib')"
    )
    with pytest.raises(NeedsRunning, match=r"uses n, and only running the script gives n \(line 2\)"):
        run.register_model("m", "outputs/model.joblib")
