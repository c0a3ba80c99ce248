"""Deployments with scoring scripts, as programs of 2020 wrote them. One model under two scripts, an older and a newer one."""

import json

import joblib
from azureml.core import Environment, Workspace
from azureml.core.conda_dependencies import CondaDependencies
from azureml.core.model import InferenceConfig, Model
from azureml.core.webservice import AciWebservice, LocalWebservice, Webservice
from azureml.exceptions import WebserviceException
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, Ridge

ws = Workspace.from_config()
X, y = load_iris(return_X_y=True)
joblib.dump(LogisticRegression(max_iter=500).fit(X, y), "iris.pkl")
joblib.dump(Ridge().fit(X[:, :3], X[:, 3]), "width.pkl")
model = Model.register(ws, "iris.pkl", "iris")
other = Model.register(ws, "width.pkl", "width")

env = Environment("scoring-env")
env.python.conda_dependencies = CondaDependencies.create(pip_packages=["azureml-defaults", "scikit-learn", "joblib"])
with open("scoring.yml", "w") as file:
    file.write(env.python.conda_dependencies.serialize_to_string())
env.environment_variables = {"GREETING": "hello"}
asked = json.dumps({"data": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]})

# as the page on deploying has it: a folder, an environment, limits
inference = InferenceConfig(entry_script="deep/score.py", source_directory="./scoring", environment=env)
aci = AciWebservice.deploy_configuration(cpu_cores=1, memory_gb=0.6, tags={"data": "iris"}, description="with a script")
service = Model.deploy(workspace=ws, name="scored", models=[model], inference_config=inference, deployment_config=aci)
service.wait_for_deployment(show_output=True)
first = service.run(asked)

# the same model without a script, and with the script alone in the model's own environment
plain = Model.deploy(ws, "plain", [model])
plain.wait_for_deployment()
local = Model.deploy(ws, "local", [model], InferenceConfig("old_score.py"), LocalWebservice.deploy_configuration())
local.wait_for_deployment()

before = local.run(asked)
with open("old_score.py") as file:
    text = file.read()
with open("old_score.py", "w") as file:
    file.write(text.replace('{"old"', '{"edited"'))
local.reload(wait=True)

# several models, found below AZUREML_MODEL_DIR
both = Model.deploy(
    ws, "both", [model, other], InferenceConfig(runtime="python", entry_script="both.py", conda_file="scoring.yml")
)
both.wait_for_deployment()

# another script for a service that answers
service.update(inference_config=InferenceConfig("old_score.py"))
service.wait_for_deployment()
updated = service.run(asked)

# a script that cannot start says why
broken = Model.deploy(ws, "broken", [model], InferenceConfig("broken.py"))
try:
    broken.wait_for_deployment()
    why = None
except WebserviceException as error:
    why = str(error)

facts = {
    "first": first,
    "plain": plain.run(json.dumps({"data": [[5.1, 3.5, 1.4, 0.2]], "method": "predict"})),
    "local": [before, local.run(asked)],
    "both": both.run(asked),
    "updated": updated,
    "why": why,
    "logs": broken.get_logs(),
    "swagger": service.swagger_uri,
    "models": sorted(ws.models),
    "of both": [each.id for each in both.models],
    "kinds": {name: type(each).__name__ for name, each in ws.webservices.items()},
    "state": Webservice(ws, "scored").state,
}
print("FACTS " + json.dumps(facts))
for each in ws.webservices.values():
    each.delete()
