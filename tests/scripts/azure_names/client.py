"""Imports every module of the page's table and uses each of its names once: `python client.py TABLE.json`. Python 3.6 and later.

Gives, as JSON, the names whose use is not known here or went otherwise than the table says.
"""

import importlib
import json
import sys

from azureml.exceptions import UserErrorException

ws = importlib.import_module("azureml.core").Workspace.from_config()
environment = importlib.import_module("azureml.core").Environment("env")
script = importlib.import_module("azureml.core").ScriptRunConfig(".", "script.py", environment=environment)


def raised(error):
    """An exception is used by being raised, and caught as Azure's."""
    from azureml.exceptions import AzureMLException

    try:
        raise error("words")
    except AzureMLException as caught:
        return "words" in str(caught)


def sampled(sampling):
    from azureml.train.hyperdrive import HyperDriveConfig, PrimaryMetricGoal, choice

    made = sampling({"--kernel": choice("linear", "rbf")})
    goal = PrimaryMetricGoal.MAXIMIZE
    return HyperDriveConfig(made, "Accuracy", goal, 2, max_concurrent_runs=1, run_config=script)


def dataset(_):
    from azureml.core import Dataset

    with open("rows.csv", "w") as file:
        file.write("a,b\n1,2\n")
    store = ws.get_default_datastore()
    store.upload_files(files=["rows.csv"], target_path="rows", overwrite=True)
    return Dataset.Tabular.from_delimited_files(path=[(store, "rows/rows.csv")])


def telemetry(function):
    function(send_diagnostics=False) if "set" in function.__name__ else function()
    return True


USES = {
    "SNAPSHOT_MAX_SIZE_BYTES": lambda number: number == 300 * 1024 * 1024,
    "VERSION": lambda text: text.startswith("1."),
    "DEFAULT": lambda text: isinstance(text, str),
    "DEFAULT_CPU_IMAGE": lambda text: isinstance(text, str),
    "DEFAULT_GPU_IMAGE": lambda text: isinstance(text, str),
    "DEFAULT_SDK_ORIGIN": lambda text: isinstance(text, str),
    "AmlComputeStatus": lambda cls: cls.__name__,
    "ComputeTargets": lambda cls: ws.compute_targets["cpu-cluster"].name == "cpu-cluster",
    "ComputeTarget": lambda cls: cls.create(ws, "cpu", amlcompute()).get_status().serialize(),
    "AmlCompute": lambda cls: cls.provisioning_configuration(vm_size="D2", max_nodes=4),
    "AksCompute": lambda cls: cls.provisioning_configuration(agent_count=3, vm_size="D3", ssl_cname="www"),
    "ProvisioningConfiguration": lambda cls: cls.__name__,
    "CondaDependencies": lambda cls: cls.create(conda_packages=["numpy"], python_version="3.8").serialize_to_string(),
    "Dataset": dataset,
    "TabularDataset": lambda cls: isinstance(dataset(cls), cls),
    "FileDataset": lambda cls: isinstance(
        importlib.import_module("azureml.core").Dataset.File.from_files(
            path=[(ws.get_default_datastore(), "rows/rows.csv")]
        ),
        cls,
    ),
    "Datastore": lambda cls: isinstance(ws.get_default_datastore(), cls),
    "Environment": lambda cls: cls.from_pip_requirements("env", "requirements.txt").register(ws).version,
    "PythonSection": lambda cls: cls().conda_dependencies,
    "DockerSection": lambda cls: cls().shm_size,
    "Experiment": lambda cls: list(cls(ws, "none").get_runs()) == [],
    "Run": lambda cls: cls.get_context().id.startswith("OfflineRun"),
    "get_run": lambda function: ws.get_run is not None and callable(function),
    "RunConfiguration": lambda cls: cls().environment.python,
    "DockerConfiguration": lambda cls: cls(use_docker=True).shm_size,
    "ScriptRun": lambda cls: callable(cls.wait_for_completion) and cls.__mro__[1].__name__ == "Run",
    "ScriptRunConfig": lambda cls: cls(".", "script.py", arguments=["--a", 1.0]).arguments,
    "ResourceConfiguration": lambda cls: cls(cpu=1, memory_in_gb=0.5),
    "Model": lambda cls: cls.list(ws) == [] and cls.Framework.SCIKITLEARN == "ScikitLearn",
    "ModelPackage": lambda cls: cls(ws, []).creation_state,
    "InferenceConfig": lambda cls: cls(entry_script="score.py", source_directory="."),
    "Webservice": lambda cls: cls.list(ws) == [],
    "AciWebservice": lambda cls: cls.deploy_configuration(cpu_cores=1, memory_gb=1),
    "AksWebservice": lambda cls: cls.deploy_configuration(cpu_cores=1, memory_gb=1, autoscale_enabled=False),
    "LocalWebservice": lambda cls: cls.deploy_configuration(port=8890),
    "DeploymentConfiguration": lambda cls: cls("ACI", {}),
    "ContainerResourceRequirements": lambda cls: cls.__name__,
    "Workspace": lambda cls: cls.from_config().name == ws.name and ws.get_details(),
    "PrimaryMetricGoal": lambda cls: cls.MAXIMIZE is not cls.MINIMIZE,
    "HyperDriveConfig": lambda cls: isinstance(sampled(hyperdrive().RandomParameterSampling), cls),
    "HyperDriveRun": lambda cls: callable(cls.get_best_run_by_primary_metric),
    "BayesianParameterSampling": sampled,
    "GridParameterSampling": sampled,
    "RandomParameterSampling": sampled,
    "BanditPolicy": lambda cls: cls(evaluation_interval=1, slack_factor=0.1),
    "MedianStoppingPolicy": lambda cls: cls(evaluation_interval=1, delay_evaluation=5),
    "NoTerminationPolicy": lambda cls: cls(),
    "TruncationSelectionPolicy": lambda cls: cls(20, evaluation_interval=1),
    "choice": lambda function: function("linear", "rbf"),
    "randint": lambda function: function(10),
    "uniform": lambda function: function(0, 1),
    "loguniform": lambda function: function(-3, 0),
    "normal": lambda function: function(0, 1),
    "lognormal": lambda function: function(0, 1),
    "quniform": lambda function: function(0, 1, 0.1),
    "qloguniform": lambda function: function(-3, 0, 0.1),
    "qnormal": lambda function: function(0, 1, 0.1),
    "qlognormal": lambda function: function(0, 1, 0.1),
    "RunDetails": lambda cls: callable(cls(None).show),
    "set_diagnostics_collection": telemetry,
    "get_telemetry_log_handler": telemetry,
    "AbstractAuthentication": lambda cls: cls(),
    "InteractiveLoginAuthentication": lambda cls: cls(tenant_id="t"),
    "ServicePrincipalAuthentication": lambda cls: cls("t", "id", "password"),
    "AzureCliAuthentication": lambda cls: cls(),
    "MsiAuthentication": lambda cls: cls(),
    "TokenAuthentication": lambda cls: cls(lambda audience: ("token", 0)),
}


def hyperdrive():
    return importlib.import_module("azureml.train.hyperdrive")


def amlcompute():
    return importlib.import_module("azureml.core.compute").AmlCompute.provisioning_configuration(vm_size="D2")


def problem(name, thing, refused):
    if refused:
        try:
            thing("anything", more=1)
        except UserErrorException as error:
            sentence = f"{name} is not supported by fitserve: "
            return None if str(error).startswith(sentence) and len(str(error)) > len(sentence) + 10 else str(error)
        return "it is not refused"
    if isinstance(thing, type) and issubclass(thing, Exception):
        return None if raised(thing) else "it cannot be raised"
    if name not in USES:
        return "how it is used is not known here"
    try:
        return None if USES[name](thing) else "its use gave nothing"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


with open(sys.argv[1]) as file:
    table = json.load(file)
problems, count = {}, 0
for module_name, row in sorted(table.items()):
    module = importlib.import_module(module_name)
    for column in ("works", "ignored", "refused"):
        for name in row[column]:
            if "." in name:
                continue
            count += 1
            found = problem(name, getattr(module, name), column == "refused")
            if found is not None:
                problems[f"{module_name}.{name}"] = found
print("FACTS " + json.dumps({"client": sys.version.split()[0], "count": count, "problems": problems}))
