"""The shim as a client: runs, experiments, environments, compute targets and datasets of a real workspace."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.workspace import Workspace
from trainer import Run
from trainer.variables import RPC_COMMAND


def test_where_the_workspace_is(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ws: Any) -> None:
    from azureml.core import Workspace as Theirs
    from azureml.exceptions import UserErrorException

    assert ws.get_details()["root"] == str(workspace.root)
    project = tmp_path / "project" / "deep"
    project.mkdir(parents=True)
    with pytest.raises(UserErrorException, match=r"config\.json could not be found in .*project/deep"):
        Theirs.from_config(str(project))
    ids = {"subscription_id": "s", "resource_group": "r", "workspace_name": "w"}
    (tmp_path / "project" / "config.json").write_text(json.dumps(ids))
    monkeypatch.chdir(project)
    named = Theirs.from_config()  # FITSERVE_WORKSPACE says where, the file says how it is called
    assert (named.name, named.subscription_id, named.resource_group) == ("w", "s", "r")
    assert named.get_details()["root"] == str(workspace.root)
    beside = Theirs.from_config(str(project))
    assert beside.get_details()["root"] == str(tmp_path / "project" / ".fitserve")
    ws.write_config(str(tmp_path / "other"))
    assert Theirs.from_config(str(tmp_path / "other")).get_details()["root"] == str(workspace.root)


def test_a_workspace_that_a_program_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, azureml: None, project: Callable[..., Path]
) -> None:
    monkeypatch.setenv("FITSERVE_RPC", json.dumps(RPC_COMMAND))
    monkeypatch.delenv("FITSERVE_WORKSPACE", raising=False)
    told = {"subscription_id": "s", "resource_group": "r", "workspace_name": "told"}
    script = """
        import json, os
        from azureml.core import Run, Workspace
        run = Run.get_context()
        names = [run.experiment.workspace, Workspace.from_config(), Workspace.get("told")]
        assert [(ws.name, ws.subscription_id, ws.resource_group) for ws in names] == [("told", "s", "r")] * 3
        assert os.environ["AZUREML_ARM_WORKSPACE_NAME"] == "told"
        assert os.environ["AZUREML_ARM_SUBSCRIPTION"] == "s"
        assert os.environ["AZUREML_ARM_RESOURCEGROUP"] == "r"
        assert sorted(run.get_details()["runDefinition"]["arguments"]) == ["--x", "1"]
    """
    folder = project({"config.json": json.dumps(told), "source/train.py": script})
    monkeypatch.chdir(folder)
    from azureml._fitserve import client
    from azureml.core import Experiment, ScriptRunConfig
    from azureml.core import Workspace as Theirs
    from azureml.exceptions import WorkspaceException

    try:
        ws = Theirs.get(name="told", subscription_id="s", resource_group="r")
        assert ws.get_details()["root"] == Theirs.from_config().get_details()["root"] == str(folder / ".fitserve")
        assert Theirs("s", "r", "told").name == "told"
        with pytest.raises(WorkspaceException, match="is one called told"):
            Theirs.get("another")
        run = Experiment(ws, "tests").submit(ScriptRunConfig("source", "train.py", ["--x", 1]))
        assert run.wait_for_completion(raise_on_error=False).get("error") is None
        assert run.get_details()["submittedBy"]
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")  # a program that names its workspace has no other way to it
        made = Theirs("s2", "r2", "made")
        assert (made.name, made.subscription_id, made.resource_group) == ("made", "s2", "r2")
        assert made.get_details()["root"] == str(tmp_path / "empty" / ".fitserve")
        Theirs.create("kept", subscription_id="s3", resource_group="r3", exist_ok=True)
        with pytest.raises(WorkspaceException, match="is one called kept"):
            Theirs.get("made")
    finally:
        client._close_all()


def test_a_submitted_run_from_outside(
    ws: Any, project: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from azureml.core import Experiment, ScriptRunConfig
    from azureml.core import Run as Theirs
    from azureml.exceptions import ActivityFailedException, UserErrorException
    from azureml.widgets import RunDetails

    text = """
        import sys
        from azureml.core.run import Run
        run = Run.get_context()
        run.log("x", float(sys.argv[1]))
        run.upload_file("kept/a.txt", __file__)
        sys.exit(int(sys.argv[2]))
    """
    folder = project({"train.py": text})
    experiment = Experiment(ws, "tests")
    run = experiment.submit(ScriptRunConfig(str(folder), "train.py", arguments=[0.5, 0]), tags={"n": 1})
    assert isinstance(run, Theirs)
    assert run.wait_for_completion(show_output=True)["status"] == "Completed"
    assert "Execution Summary" in capsys.readouterr().out
    assert (run.get_metrics(), run.get_tags(), run.number, run.parent) == ({"x": 0.5}, {"n": "1"}, 1, None)
    run.log("later", 7)  # from outside, and after its end
    run.tag("more", True)
    run.display_name, run.description = "called", "described"
    again = Theirs.get(ws, run.id)
    assert again.get_metrics() == {"x": 0.5, "later": 7}
    assert (again.get_tags()["more"], again.display_name, again.description) == ("True", "called", "described")
    with pytest.raises(UserErrorException, match="properties cannot be changed"):
        again.add_properties({"ContentSnapshotId": "x"})
    assert "kept/a.txt" in run.get_file_names()
    run.download_file("kept/a.txt", "copy.txt")
    assert Path("copy.txt").read_text() == (folder / "train.py").read_text()
    run.download_files("kept", "all", append_prefix=False)
    assert os.listdir("all") == ["a.txt"]
    assert [Path(path).name for path in run.get_all_logs("logs-here")] == ["70_driver_log.txt", "std_log.txt"]
    RunDetails(run).show()
    assert "Status: Completed\nlater: 7\nx: 0.5" in capsys.readouterr().out
    failed = experiment.submit(ScriptRunConfig(str(folder), "train.py", arguments=[1, 3]))
    with pytest.raises(ActivityFailedException, match="exited with code 3"):
        failed.wait_for_completion()
    assert failed.wait_for_completion(raise_on_error=False)["status"] == "Failed"
    assert [each.id for each in experiment.get_runs()] == [failed.id, run.id]
    assert [each.id for each in Theirs.list(experiment, status="Failed")] == [failed.id]
    assert list(ws.experiments) == ["tests"]
    for wrong in (lambda: Theirs.get(ws, "nobody"), lambda: Experiment(ws, "not/a name")):
        with pytest.raises(UserErrorException):
            wrong()


def test_an_interactive_run(workspace: Workspace, ws: Any) -> None:
    from azureml.core import Experiment

    experiment = Experiment(ws, "inter")
    Path("a.txt").write_text("hello")
    with experiment.start_logging(snapshot_directory=None) as run:
        run.log("x", 1)
        run.log("x", 2)
        run.tag("k", "v")
        run.upload_file("outputs/a.txt", "a.txt")
        with run.child_run("kid") as kid:
            kid.log("y", 3)
        assert Run.get(workspace, run.id).get_status() == "Running"
    seen = Run.get(workspace, run.id)
    assert (seen.get_status(), seen.get_metrics(), seen.get_tags()) == ("Completed", {"x": [1, 2]}, {"k": "v"})
    assert [child.get_metrics() for child in seen.get_children()] == [{"y": 3}]
    assert "outputs/a.txt" in seen.get_file_names()
    with pytest.raises(ZeroDivisionError), experiment.start_logging() as run:
        _ = 1 / 0
    details = Run.get(workspace, run.id).get_details()
    assert (details["status"], "ZeroDivisionError" in details["error"]["error"]["message"]) == ("Failed", True)
    assert run.get_details() == details
    run.complete()
    assert Run.get(workspace, run.id).get_status() == "Failed"


def test_old_ways_of_saying_what_to_run(ws: Any, project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from azureml.core import Environment, RunConfiguration, ScriptRunConfig
    from azureml.core.conda_dependencies import CondaDependencies

    folder = str(project({"train.py": ""}))
    packages = CondaDependencies.create(
        conda_packages=["scikit-learn", "python=3.8"], pip_packages=["azureml-defaults"]
    )
    old = RunConfiguration()
    old.target = "cluster"
    old.environment.python.conda_dependencies = packages
    described = ScriptRunConfig(folder, "train.py", ["--x", 1.0, True], run_config=old)._described()
    assert described["arguments"] == ["--x", "1.0", "True"]
    assert (described["environment"]["python"], described["environment"]["conda"]) == ("3.8", ["scikit-learn"])
    with pytest.warns(UserWarning, match="are ignored, since run_config sets them"):
        ScriptRunConfig(folder, "train.py", run_config=old, environment=Environment("other"))
    bare = RunConfiguration()
    bare.environment_variables = {"A": 1}
    variables = ScriptRunConfig(folder, "train.py", run_config=bare)._described()["environment"]["variables"]
    assert variables["A"] == "1"
    monkeypatch.setenv("AML_SNAPSHOT_NO_FILE_LIMIT", "True")  # fitserve is told what it says at this moment
    assert ScriptRunConfig(folder, "train.py")._described()["snapshot_no_file_limit"] == "True"
    later = ScriptRunConfig(folder, "train.py")
    assert later._described()["environment"] is None
    later.run_config.environment = Environment("mine")
    later.run_config.environment.environment_variables = {"A": 1}
    assert later._described()["environment"]["variables"] == {"A": "1"}
    command = ScriptRunConfig(folder, command=["python", "train.py", "--n", 3])._described()
    assert (command["command"], command["script"]) == (["python", "train.py", "--n", "3"], None)


def test_environments(ws: Any, tmp_path: Path) -> None:
    from azureml.core import Environment
    from azureml.exceptions import UserErrorException

    (tmp_path / "conda.yml").write_text(
        "channels: [conda-forge]\ndependencies:\n- python=3.6.2\n- scikit-learn=0.24\n- pip:\n  - azureml-defaults\n  - joblib\n"
    )
    (tmp_path / "requirements.txt").write_text("numpy<2\n")
    made = Environment.from_conda_specification("sklearn-env", "conda.yml")
    assert made.python.conda_dependencies.python_version == "3.6.2"
    wanted = made.python.conda_dependencies
    assert (wanted.conda_packages, wanted.pip_packages) == (["scikit-learn=0.24"], ["joblib", "azureml-defaults"])
    wanted.add_channel("anaconda")
    wanted.save_to_file(str(tmp_path), "again.yml")
    again = Environment.from_conda_specification("again", "again.yml").python.conda_dependencies
    assert again.conda_channels == wanted.conda_channels == ["conda-forge", "anaconda"]
    assert again.conda_packages == wanted.conda_packages
    assert made.register(ws).version == "1"
    made.python.conda_dependencies.add_pip_package("pandas")
    assert made.register(ws).version == "2"
    assert "pandas" in Environment.get(ws, "sklearn-env").python.conda_dependencies.pip_packages
    assert "pandas" not in Environment.get(ws, "sklearn-env", 1).python.conda_dependencies.pip_packages
    assert Environment.get(ws, "AzureML-Tutorial").python.conda_dependencies.python_version == "3.6.2"
    assert {"sklearn-env", "AzureML-Tutorial"} <= set(ws.environments)
    made.save_to_directory("saved")
    assert repr(Environment.load_from_directory("saved")) == repr(made)
    pip = Environment.from_pip_requirements("pip-env", "requirements.txt")
    assert pip.python.conda_dependencies.pip_packages == ["numpy<2"]
    assert Environment.from_docker_image("d", "image", pip_requirements="requirements.txt").name == "d"
    for wrong in (
        lambda: Environment.get(ws, "nobody"),
        lambda: Environment.from_conda_specification("x", "nothing.yml"),
        lambda: Environment.from_docker_image("x", "image"),
        lambda: Environment("AzureML-mine").register(ws),
    ):
        with pytest.raises(UserErrorException):
            wrong()


def test_the_environment_of_a_run_is_the_one_that_it_was_submitted_with(ws: Any, project: Callable[..., Path]) -> None:
    from azureml.core import Environment, Experiment, ScriptRunConfig

    folder = str(project({"train.py": ""}))
    environment = Environment("same-name")
    environment.environment_variables = {"A": "1"}
    run = Experiment(ws, "tests").submit(ScriptRunConfig(folder, "train.py", environment=environment))
    environment.environment_variables = {"A": "2"}
    environment.register(ws)
    assert (run.get_environment().name, run.get_environment().environment_variables) == ("same-name", {"A": "1"})
    empty = Experiment(ws, "tests").submit(ScriptRunConfig(folder, "train.py", environment=Environment("asks-nothing")))
    assert empty.get_environment() is None


def test_every_compute_target_is_this_machine(ws: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from azureml.core.compute import AksCompute, AmlCompute, ComputeTarget
    from azureml.core.compute_target import ComputeTargetException

    with pytest.raises(ComputeTargetException, match="cpu-cluster not found"):
        ComputeTarget(workspace=ws, name="cpu-cluster")
    assert "cpu-cluster" not in ws.compute_targets
    assert ws.compute_targets["cpu-cluster"].name == "cpu-cluster"
    config = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=4)
    made = ComputeTarget.create(ws, "cpu-cluster", config)
    made.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
    assert made.get_status().serialize()["vmSize"] == "STANDARD_D2_V2"
    assert isinstance(ComputeTarget(workspace=ws, name="cpu-cluster"), AmlCompute)
    assert "cpu-cluster" in ws.compute_targets
    made.delete()
    assert "cpu-cluster" not in ws.compute_targets
    clusters = AksCompute.provisioning_configuration(agent_count=3, vm_size="Standard_D3_v2", ssl_cname="www")
    made = ComputeTarget.create(workspace=ws, name="aks", provisioning_configuration=clusters)
    made.wait_for_completion(show_output=True)
    assert isinstance(ws.compute_targets["aks"], AksCompute)
    assert (made.type, AksCompute(ws, "aks").vm_size) == ("AKS", "Standard_D3_v2")


def test_datasets_are_files_on_this_machine(ws: Any, tmp_path: Path) -> None:
    import pandas as pd
    from azureml.core import Dataset, Datastore
    from azureml.exceptions import UserErrorException

    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    frame.to_csv("table.csv", index=False)
    store = ws.get_default_datastore()
    store.upload_files(["table.csv"], target_path="in/", overwrite=True)
    table = Dataset.Tabular.from_delimited_files(path=[(store, "in/table.csv")])
    assert table.to_pandas_dataframe().equals(frame)
    assert (table.register(ws, "mine"), table.version) == (table, 1)
    assert Dataset.get_by_name(ws, "mine").to_pandas_dataframe().equals(frame)
    assert list(ws.datasets) == ["mine"]
    files = Dataset.File.from_files(path=(store, "in/**"))
    assert [Path(path).name for path in files.download("down")] == ["table.csv"]
    assert store.download("all") == 1
    for wrong in (
        lambda: table.register(ws, "mine"),
        lambda: Dataset.get_by_name(ws, "nobody"),
        lambda: table.take(1),
        lambda: Dataset.Tabular.from_delimited_files((store, "../../fitserve.db")),
        lambda: Dataset.Tabular.from_delimited_files("https://example.invalid/a.csv"),
        lambda: Dataset.Tabular.from_parquet_files("x"),
        lambda: Datastore.get(ws, "another"),
    ):
        with pytest.raises(UserErrorException):
            wrong()


def test_a_deployment_s_limits_are_numbers(azureml: None) -> None:
    from azureml.core.webservice import AciWebservice
    from azureml.exceptions import WebserviceException

    assert AciWebservice.deploy_configuration(cpu_cores=1, memory_gb="0.5")._described()["memory_in_gb"] == 0.5
    with pytest.raises(WebserviceException, match="'much' is not a number"):
        AciWebservice.deploy_configuration(cpu_cores="much")


def test_what_a_service_is_asked_with_is_json(azureml: None) -> None:
    import numpy as np
    import pandas as pd
    from azureml.core.webservice import _body_of

    rows = [[1.0, 2.0]]
    for given in (rows, np.array(rows), {"data": rows}, '{"data": [[1.0, 2.0]]}', b'{"data": [[1.0, 2.0]]}'):
        assert json.loads(_body_of(given)) == {"data": rows}
    table = {"columns": ["a", "b"], "data": rows}
    assert (
        json.loads(_body_of(pd.DataFrame(rows, columns=["a", "b"]))) == json.loads(_body_of(table)) == {"data": table}
    )
    assert json.loads(_body_of({"image": "x"})) == {"image": "x"}


def test_models(ws: Any, tmp_path: Path) -> None:
    import joblib
    import pandas as pd
    from azureml.core import Model
    from azureml.core.resource_configuration import ResourceConfiguration
    from azureml.exceptions import ModelNotFoundException, UserErrorException, WebserviceException
    from sklearn.svm import SVC

    joblib.dump(SVC().fit([[0.0], [1.0]], [0, 1]), "model.joblib")
    sample = pd.DataFrame({"a": [0.5]})
    limits = ResourceConfiguration(0.5, 1)
    for number in (1, 2):
        model = Model.register(
            ws,
            "model.joblib",
            "iris",
            tags={"n": number},
            model_framework=Model.Framework.SCIKITLEARN,
            sample_input_dataset=sample,
            resource_configuration=limits,
        )
    assert (model.id, model.version, model.tags) == ("iris:2", 2, {"n": "2"})
    assert model.resource_configuration.serialize() == {"cpu": 0.5, "memoryInGB": 1.0, "gpu": None}
    assert model.created_time.tzinfo is not None
    assert model.sample_input_dataset is not None
    assert [each.id for each in Model.list(ws, tags=[["n", "1"]])] == ["iris:1"]
    assert [each.id for each in Model.list(ws, tags={"n": 1})] == ["iris:1"]
    with pytest.raises(WebserviceException, match="model_framework is needed"):
        Model.register(ws, "model.joblib", "iris", model_framework_version="1.0")
    assert list(ws.models) == ["iris"]
    model.add_tags({"more": "x"})
    model.update(description="about", resource_configuration=ResourceConfiguration(cpu=1))
    again = Model(ws, "iris")
    assert (again.tags, again.description, again.resource_configuration.cpu) == ({"n": "2", "more": "x"}, "about", 1.0)
    assert again.download("copy") == str(tmp_path / "copy" / "model.joblib")
    assert Path(Model.get_model_path("iris", _workspace=ws)).exists()
    Model(ws, id="iris:1").delete()
    with pytest.raises(ModelNotFoundException, match="version 1 is not registered"):
        Model(ws, "iris", version=1)
    Path("text.pkl").write_text("no model")
    with pytest.raises(WebserviceException, match="is not a model file"):
        Model.register(ws, "text.pkl", "text", model_framework="ScikitLearn")
    for wrong in (lambda: Model.register(ws, "nothing.pkl", "x"), lambda: ResourceConfiguration(cpu=-1)):
        with pytest.raises(UserErrorException):
            wrong()
