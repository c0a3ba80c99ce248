"""As notebooks of Azure's registered and deployed a model that they had fitted themselves."""

import json
import sys

import joblib
from azureml.core import Dataset, Environment, Workspace
from azureml.core.model import InferenceConfig, Model
from azureml.core.resource_configuration import ResourceConfiguration
from azureml.core.webservice import AksWebservice, LocalWebservice, Webservice
from azureml.exceptions import AzureMLException, WebserviceException
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

ws = Workspace.from_config()
X, y = load_diabetes(return_X_y=True, as_frame=True)
joblib.dump(Ridge().fit(X.values, y.values), "sklearn_regression_model.pkl")
X.to_csv("features.csv", index=False)

datastore = ws.get_default_datastore()
datastore.upload_files(files=["./features.csv"], target_path="sklearn_regression/", overwrite=True)
input_dataset = Dataset.Tabular.from_delimited_files(path=[(datastore, "sklearn_regression/features.csv")])
model = Model.register(
    workspace=ws,
    model_name="my-sklearn-model",
    model_path="./sklearn_regression_model.pkl",
    model_framework=Model.Framework.SCIKITLEARN,
    model_framework_version="1.5",
    sample_input_dataset=input_dataset,
    resource_configuration=ResourceConfiguration(cpu=1, memory_in_gb=0.5),
    description="Ridge regression model to predict diabetes progression.",
    tags={"area": "diabetes", "type": "regression"},
)
print("Name:", model.name, "Version:", model.version)

service = Model.deploy(ws, "my-sklearn-service", [model], overwrite=True)
service.wait_for_deployment(show_output=True)
first = service.run(json.dumps({"data": X.values[:2].tolist(), "method": "predict"}))
try:
    service.run(json.dumps({"data": [[1.0]]}))
    wrong = None
except WebserviceException as error:
    wrong = str(error)

local = Model.deploy(ws, "my-local-service", [model], deployment_config=LocalWebservice.deploy_configuration(port=8890))
local.wait_for_deployment(show_output=True)
with_key = Model.deploy(ws, "with-key", [model], deployment_config=AksWebservice.deploy_configuration(cpu_cores=1))
with_key.wait_for_deployment()
keys = with_key.get_keys()
answered = with_key.run(json.dumps({"data": X.values[:1].tolist()}))
with_key.regen_key("Primary")
try:
    Model.deploy(ws, "scripted", [model], InferenceConfig(entry_script="score.py", environment=Environment("e")))
    refused = None
except AzureMLException as error:
    refused = str(error)
facts = {
    "expected": Ridge().fit(X.values, y.values).predict(X.values[:2]).tolist(),
    "first": first,
    "wrong": wrong,
    "local": [local.state, local.compute_type, local.port, local.run(json.dumps({"data": X.values[:1].tolist()}))],
    "keys": [keys, with_key.get_keys(), answered, with_key.scoring_uri, type(Webservice(ws, "with-key")).__name__],
    "refused": refused,
    "services": sorted(ws.webservices),
    "models": sorted(ws.models),
    "tags": model.tags,
}
print("FACTS " + json.dumps(facts))
sys.stdout.flush()
for each in (service, local, with_key):
    each.delete()
