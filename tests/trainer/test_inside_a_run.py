"""What a script asks of fitserve from inside its run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.model import Model
from registry.workspace import Workspace
from tests.postgres import postgres
from trainer import Experiment, Run, ScriptRunConfig

Submit = Callable[..., Run]
WaitForLine = Callable[[Run, str], None]

TRAIN = """
import json, os
import joblib
from azureml.core import Model, Run, Workspace
from azureml.exceptions import ModelPathNotFoundException
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
facts = {
    "same": Workspace.from_config().get_details()["root"] == ws.get_details()["root"],
    "root": ws.get_details()["root"],
    "model": [model.id, model.run_id == run.id, model.tags, model.experiment_name],
    "listed": sorted(m.id for m in Model.list(ws)),
    "path": os.path.exists(Model.get_model_path("inside", _workspace=ws)),
    "missing": missing,
    "runs": [r.id for r in run.experiment.get_runs()] == [run.id],
}
os.makedirs("outputs", exist_ok=True)
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
    assert facts["runs"] is True
    assert Model(run.workspace, "inside").run_id == run.id
    assert "Registering model inside" in run.log_path.read_text()


def test_outside_of_a_run_there_is_no_workspace(azureml: None) -> None:
    from azureml.core import Run as TheirRun
    from azureml.exceptions import RunEnvironmentException

    with pytest.raises(RunEnvironmentException, match="does not run inside a job"):
        TheirRun.get_context().experiment.workspace  # noqa: B018


PARENT = """
import json, os
from azureml.core import Run, ScriptRunConfig
from azureml.train.hyperdrive import GridParameterSampling, HyperDriveConfig, PrimaryMetricGoal, choice

run = Run.get_context()
run.log("before", 1)
begun = run.child_run("fold 1")
begun.log("score", 0.5)
begun.complete()
for child in run.create_children(tag_key="fold", tag_values=["2", "3"]):
    with child:
        child.log("score", 0.25)
config = ScriptRunConfig(".", "child.py", arguments=["--x", 2])
one = run.submit_child(config, tags={"kind": "submitted"})
details = one.wait_for_completion(show_output=True)
assert Run.get(run.experiment.workspace, one.id).parent.id == run.id
sweep = run.experiment.submit(
    HyperDriveConfig(GridParameterSampling({"--x": choice(1, 3)}), "x", PrimaryMetricGoal.MAXIMIZE, 2,
                     max_concurrent_runs=2, run_config=ScriptRunConfig(".", "child.py"))
)
sweep.wait_for_completion()
best = sweep.get_best_run_by_primary_metric()
model = best.register_model("best", "outputs/x.pkl")
facts = {
    "child": [one.get_metrics(), details["status"], one.get_tags()],
    "children": sorted(c.display_name for c in run.get_children(type="azureml.childrun") if c.display_name != c.id),
    "tags": sorted(c.get_tags().get("fold", "") for c in run.get_children(type="azureml.childrun")),
    "recursive": sorted(str(m) for m in run.get_metrics(recursive=True).values()),
    "best": [best.get_metrics(), model.id, model.run_id == best.id],
    "parent": [begun.parent is run, run.parent],
    "log": list(run.get_details_with_logs()["logFiles"]),
    "secrets": sorted(k for k in os.environ if k.startswith("FITSERVE")),
}
os.makedirs("outputs", exist_ok=True)
with open("outputs/facts.json", "w") as file:
    json.dump(facts, file)
"""

CHILD = """
import argparse, os, pickle
from azureml.core import Run
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=int)
x = parser.parse_args().x
print("x is", x)
run = Run.get_context()
run.log("x", x)
os.makedirs("outputs")
with open("outputs/x.pkl", "wb") as file:
    pickle.dump({"x": x}, file)
"""


def check_parent(run: Run, folder: Path) -> None:
    facts = facts_of(run, folder)
    assert facts["child"] == [{"x": 2}, "Completed", {"kind": "submitted"}]
    assert facts["children"] == ["fold 1"]
    assert facts["tags"] == ["", "2", "3"]
    assert facts["recursive"] == sorted(["{'before': 1}", "{'x': 2}", "{'score': 0.5}", *["{'score': 0.25}"] * 2])
    assert facts["best"] == [{"x": 3}, "best:1", True]
    assert facts["parent"] == [True, None]
    assert "user_logs/std_log.txt" in str(facts["log"])
    assert facts["secrets"] == ["FITSERVE_RUN_DIR"]
    assert "x is 2" in run.log_path.read_text()
    assert Model(run.workspace, "best").run_id is not None
    assert not (run._folder.root / "rpc.sock").exists()


def test_a_script_begins_runs_of_its_own(submit: Submit, tmp_path: Path) -> None:
    check_parent(submit(PARENT, {"child.py": CHILD}), tmp_path)


IN_A_DATABASE = """
import json, os, pickle
from azureml.core import Model, Run, ScriptRunConfig, Workspace
from azureml.exceptions import UserErrorException

run = Run.get_context()
ws = run.experiment.workspace
os.makedirs("outputs")
with open("outputs/x.pkl", "wb") as file:
    pickle.dump({"x": 1}, file)
model = run.register_model("inside", "outputs/x.pkl")
child = run.submit_child(ScriptRunConfig(".", "child.py", arguments=["--x", 2]))
try:
    ws.write_config()
    written = True
except UserErrorException as error:
    written = str(error)
facts = {
    "model": [model.id, sorted(Model.list(Workspace.from_config())[0].tags)],
    "child": [child.wait_for_completion()["status"], child.get_metrics()],
    "details": ws.get_details(),
    "facts": ws._facts,
    "written": written,
    "variables": sorted(key for key in os.environ if key.startswith("FITSERVE")),
}
with open("outputs/facts.json", "w") as file:
    json.dump(facts, file)
"""


def test_where_the_records_are_in_a_database_whose_address_scripts_are_not_told(
    project: Callable[..., Path], tmp_path: Path
) -> None:
    with postgres() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FITSERVE_WORKSPACE_FOLDER", str(tmp_path / "local"))
        folder = project({"train.py": IN_A_DATABASE, "child.py": CHILD})
        with Workspace.open(url) as workspace:
            run = Experiment(workspace, "tests").submit(ScriptRunConfig(folder, "train.py"))
            facts = facts_of(run, tmp_path)
            assert facts["model"] == ["inside:1", []]
            assert facts["child"] == ["Completed", {"x": 2}]
            assert "is not written to a file that a script can read" in str(facts["written"])
            assert facts["variables"] == ["FITSERVE_RUN_DIR"]
            assert "postgres" not in str(facts)
            assert [model.run_id for model in Model.list(workspace)] == [run.id]


def test_canceling_a_run_cancels_those_that_it_has_submitted(submit: Submit, wait_for_line: WaitForLine) -> None:
    run = submit(
        """
        from azureml.core import Run, ScriptRunConfig
        child = Run.get_context().submit_child(ScriptRunConfig(".", "child.py"))
        child.wait_for_completion(show_output=True)
        """,
        {"child.py": "import time\nprint('here', flush=True)\ntime.sleep(600)"},
    )
    wait_for_line(run, "here")
    (child,) = run.get_children()
    run.cancel()
    for each in (run, child):
        assert each.wait_for_completion()["status"] == "Canceled"
