"""What a script asks of fitserve from inside its run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.model import Model
from trainer import Run

Submit = Callable[..., Run]

TRAIN = """
import json, os
import joblib
from azureml.core import Model, Run, Workspace
from azureml.exceptions import ModelPathNotFoundException, UserErrorException
from sklearn.svm import SVC

run = Run.get_context()
ws = run.experiment.workspace
os.makedirs("outputs/folder", exist_ok=True)
joblib.dump(SVC().fit([[0.0], [1.0]], [0, 1]), "outputs/model.joblib")
joblib.dump(SVC().fit([[0.0], [1.0]], [0, 1]), "outputs/folder/model.joblib")
model = run.register_model("inside", "outputs/model.joblib", tags={"a": 1}, model_framework=Model.Framework.SCIKITLEARN)
folder = run.register_model("folder", "outputs/folder")
try:
    run.register_model("nothing", "outputs/nothing.joblib")
    missing = None
except ModelPathNotFoundException as error:
    missing = str(error)
try:
    run.experiment.submit(__import__("azureml.core").core.ScriptRunConfig(".", "train.py"))
    again = None
except UserErrorException as error:
    again = str(error)
facts = {
    "same": Workspace.from_config().get_details()["root"] == ws.get_details()["root"],
    "root": ws.get_details()["root"],
    "model": [model.id, model.run_id == run.id, model.tags, model.experiment_name],
    "listed": sorted(m.id for m in Model.list(ws)),
    "path": os.path.exists(Model.get_model_path("inside", _workspace=ws)),
    "missing": missing,
    "again": again,
    "runs": [r.id for r in run.experiment.get_runs()] == [run.id],
}
with open("outputs/facts.json", "w") as file:
    json.dump(facts, file)
"""


def facts_of(run: Run, folder: Path) -> dict[str, object]:
    run.wait_for_completion()
    return dict(json.loads(run.download_file("outputs/facts.json", folder / "facts.json").read_text()))


def test_a_script_registers_its_model_and_knows_its_workspace(submit: Submit, tmp_path: Path) -> None:
    run = submit(TRAIN, {"config.json": '{"subscription_id": "s", "resource_group": "r", "workspace_name": "w"}'})
    facts = facts_of(run, tmp_path)
    assert facts["same"] is True  # though the snapshot brought a config.json along
    assert facts["root"] == str(run.workspace.root)
    assert facts["model"] == ["inside:1", True, {"a": "1"}, "tests"]
    assert facts["listed"] == ["folder:1", "inside:1"]
    assert facts["path"] is True
    assert "outputs/nothing.joblib in the set of files uploaded to the run: [" in str(facts["missing"])
    assert "a run cannot submit another one" in str(facts["again"])
    assert facts["runs"] is True
    assert Model(run.workspace, "inside").run_id == run.id
    assert "Registering model inside" in run.log_path.read_text()


def test_outside_of_a_run_there_is_no_workspace(azureml: None) -> None:
    from azureml.core import Run as TheirRun
    from azureml.exceptions import RunEnvironmentException

    with pytest.raises(RunEnvironmentException, match="does not run inside a job"):
        TheirRun.get_context().experiment.workspace  # noqa: B018
