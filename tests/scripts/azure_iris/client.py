"""What the published page has its readers do, from the workspace to the answer. `python client.py [curated|conda|none]`"""

import json
import sys
import time

from azureml.core import Environment, Experiment, ScriptRunConfig, Workspace
from azureml.core.model import Model
from azureml.core.resource_configuration import ResourceConfiguration

which = sys.argv[1]
ws = Workspace.from_config()
sklearn_env = None
if which == "curated":
    sklearn_env = Environment.get(workspace=ws, name="AzureML-Tutorial")
elif which == "conda":
    sklearn_env = Environment.from_conda_specification(name="sklearn-env", file_path="conda_dependencies.yml")

src = ScriptRunConfig(
    source_directory=".",
    script="train_iris.py" if sklearn_env is not None else "train_iris_today.py",
    arguments=["--kernel", "linear", "--penalty", 1.0],
    environment=sklearn_env,
    compute_target=ws.compute_targets["cpu-cluster"],
)
began = time.time()
run = Experiment(ws, "Tutorial-TrainIRIS").submit(src)
run.wait_for_completion(show_output=True)
model = run.register_model(
    model_name="sklearn-iris",
    model_path="outputs/model.joblib",
    model_framework=Model.Framework.SCIKITLEARN,
    model_framework_version="0.19.1",
    resource_configuration=ResourceConfiguration(cpu=1, memory_in_gb=0.5),
)
service = Model.deploy(ws, "scikit-learn-service", [model])
service.wait_for_deployment(show_output=True)
answer = service.run(json.dumps({"data": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], "method": "predict"}))
took = time.time() - began
facts = {
    "client": sys.version.split()[0],
    "metrics": run.get_metrics(),
    "status": run.get_status(),
    "model": [
        model.id,
        model.model_framework_version,
        model.resource_configuration.serialize(),
        model.run_id == run.id,
    ],
    "state": service.state,
    "scoring_uri": service.scoring_uri,
    "answer": answer,
    "seconds from submit to the first answer": round(took, 1),
    "logs": service.get_logs(),
    "interpreter": run.get_details().get("interpreter"),
    "warnings": run.get_details().get("warnings"),
}
print("FACTS " + json.dumps(facts))
service.delete()
