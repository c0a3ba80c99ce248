"""The table in docs/azureml.md says of every module and name of the shim what becomes of it, and says the truth."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "trainer" / "shim"

#: What the contract of Azure's SDK names, by class or function; each can be imported, and asked for these.
CONTRACT = {
    "azureml.core.workspace.Workspace": (
        "from_config write_config get create list delete name subscription_id resource_group location sku "
        "tags compute_targets environments models webservices experiments datastores datasets images "
        "get_default_datastore set_default_datastore get_default_keyvault get_run get_details "
        "get_mlflow_tracking_uri get_default_compute_target"
    ),
    "azureml.core.experiment.Experiment": (
        "submit start_logging get_runs list delete archive reactivate tag set_tags remove_tags refresh "
        "workspace name id tags archived_time"
    ),
    "azureml.core.environment.Environment": (
        "get list register clone from_conda_specification from_pip_requirements "
        "from_existing_conda_environment from_docker_image from_dockerfile from_docker_build_context build "
        "build_local save_to_directory load_from_directory get_image_details label add_private_pip_wheel "
        "python docker environment_variables inferencing_stack_version version spark r"
    ),
    "azureml.core.run.Run": (
        "get_context log log_list log_row log_table log_image log_confusion_matrix log_accuracy_table "
        "log_residuals log_predictions get_metrics upload_file upload_folder upload_files get_file_names "
        "download_file download_files wait_for_completion get_status get_details get_details_with_logs "
        "get_all_logs cancel complete fail start flush child_run create_children submit_child get_children "
        "parent tag set_tags remove_tags get_tags add_properties get_properties display_name description "
        "number type id name get_portal_url take_snapshot restore_snapshot get_environment get list "
        "register_model experiment"
    ),
    "azureml.core.model.Model": (
        "register deploy list get_model_path package profile print_configuration download delete update "
        "add_tags remove_tags add_properties update_tags_properties serialize Framework name id version tags "
        "properties description model_framework model_framework_version created_time created_by run_id run "
        "experiment_name workspace datasets resource_configuration sample_input_dataset sample_output_dataset "
        "mime_type unpack url parent_id derived_model_ids"
    ),
    "azureml.core.webservice.Webservice": (
        "list name state scoring_uri swagger_uri auth_enabled tags properties error created_time updated_time "
        "compute_type models image_id wait_for_deployment run get_logs get_keys regen_key get_token update "
        "update_deployment_state delete serialize"
    ),
    "azureml.core.webservice.AciWebservice": "deploy_configuration",
    "azureml.core.webservice.AksWebservice": "",
    "azureml.core.webservice.LocalWebservice": "deploy_configuration reload port deploy_to_cloud update delete",
    "azureml.core.webservice.AksEndpoint": "create_version deploy_configuration",
    "azureml.core.model.InferenceConfig": "",
    "azureml.core.model.ModelPackage": "wait_for_creation pull save get_logs",
    "azureml.core.conda_dependencies.CondaDependencies": "create add_pip_package add_conda_package add_channel",
    "azureml.core.runconfig.MpiConfiguration": "",
    "azureml.core.runconfig.PyTorchConfiguration": "",
    "azureml.core.runconfig.TensorflowConfiguration": "",
    "azureml.core.runconfig.DockerConfiguration": "",
    "azureml.core.resource_configuration.ResourceConfiguration": "",
    "azureml.train.hyperdrive.HyperDriveConfig": "",
    "azureml.train.hyperdrive.HyperDriveRun": "get_best_run_by_primary_metric get_children_sorted_by_primary_metric get_hyperparameters get_metrics",
    "azureml.core.compute.ComputeTarget": "create wait_for_completion get_status",
    "azureml.core.compute.AmlCompute": "provisioning_configuration",
    "azureml.core.compute.AksCompute": "provisioning_configuration create wait_for_completion",
    "azureml.core.compute_target.ComputeTargetException": "",
    "azureml.widgets.RunDetails": "show",
    "azureml.telemetry.set_diagnostics_collection": "",
    "azureml.core.datastore.Datastore": "upload_files",
    "azureml.core.dataset.Dataset": "Tabular",
    "azureml.core.script_run_config.ScriptRunConfig": "",
    "azureml.core.run.get_run": "",
    "azureml._restclient.snapshots_client.SNAPSHOT_MAX_SIZE_BYTES": "",
}


class Row(NamedTuple):
    works: list[str]
    ignored: list[str]
    refused: list[str]


def table() -> dict[str, Row]:
    rows = {}
    for line in (ROOT / "docs" / "azureml.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].startswith("`azureml"):
            names = [re.findall(r"`([A-Z_a-z]+(?:\.[a-z_]+)?)`(?: with(?:out)? [^,]*)?", cell) for cell in cells[1:]]
            rows[cells[0].strip("`")] = Row(*names)
    return rows


def files() -> dict[str, ast.Module]:
    """The modules that people import and that have a file."""
    found = {}
    for file in sorted((SHIM / "azureml").rglob("*.py")):
        parts = file.relative_to(SHIM).with_suffix("").parts
        if "_fitserve" not in parts and parts[-1] != "_bootstrap":
            found[".".join(parts).removesuffix(".__init__")] = ast.parse(file.read_text(encoding="utf-8"))
    return found


def handed_on() -> dict[str, list[str]]:
    """Module → names of the modules that are made of a table."""
    code = "import json, azureml._fitserve.modules as m; print(json.dumps(m.MODULES))"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SHIM)}, capture_output=True, check=True)
    return {name: " ".join(given.values()).split() for name, given in json.loads(done.stdout).items()}


def modules() -> dict[str, list[str]]:
    """Those that people import, and what they offer."""
    found = {name: list(offered(tree)) for name, tree in files().items()} | handed_on()
    return {name: names for name, names in sorted(found.items()) if names}


def offered(tree: ast.Module) -> Iterator[str]:
    """`__all__`, else what is defined with a public name."""
    names = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name) and target.id == "__all__":
                return (name for name in ast.literal_eval(node.value) if not name.startswith("_"))
            if isinstance(target, ast.Name):
                names.append(target.id)
    return (name for name in names if not name.startswith("_"))


def refusing_methods(tree: ast.Module) -> set[str]:
    """``Class.method`` of all that call `refuse`."""
    return {
        f"{cls.name}.{function.name}"
        for cls in tree.body
        if isinstance(cls, ast.ClassDef) and not cls.name.startswith("_")
        for function in cls.body
        if isinstance(function, ast.FunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "refuse"
    }


def is_refused(value: Any) -> bool:
    return inspect.isclass(value) and type(value).__name__ == "_Refusing"


MODULES = modules()


def test_the_table_has_every_module_and_no_other() -> None:
    assert set(table()) == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_every_name_is_in_the_table_and_the_other_way_round(module: str, azureml: None) -> None:
    row = table()[module]
    listed = {name for cell in row for name in cell if "." not in name}
    assert set(MODULES[module]) <= listed
    imported = importlib.import_module(module)
    assert [name for name in listed if not hasattr(imported, name)] == []
    assert len(listed) == len([name for cell in row for name in cell if "." not in name]), "a name is in two columns"


@pytest.mark.parametrize("module", MODULES)
def test_what_the_table_calls_refused_is_refused_with_a_sentence_and_nothing_else_is(
    module: str, azureml: None
) -> None:
    from azureml.exceptions import UserErrorException

    row, imported = table()[module], importlib.import_module(module)
    assert [name for name in row.works + row.ignored if is_refused(getattr(imported, name))] == []
    for name in row.refused:
        if "." not in name:
            with pytest.raises(UserErrorException, match=f"{name} is not supported by fitserve: .{{10}}"):
                getattr(imported, name)("anything", more=1)
    assert {name for name in row.refused if "." in name} == (
        refusing_methods(files()[module]) if module in files() else set()
    )


def test_the_page_s_programs_name_only_what_works(azureml: None) -> None:
    page = (ROOT / "docs" / "azureml.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert programs
    for node in (node for program in programs for node in ast.walk(ast.parse(program))):
        if isinstance(node, ast.ImportFrom):
            assert {alias.name for alias in node.names} <= set(table()[str(node.module)].works)
