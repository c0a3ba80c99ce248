"""After the public sample "train within notebook"."""

import json
import os

import azureml.core
import joblib
from azureml.core import Experiment, Model, Workspace
from azureml.core.webservice import AciWebservice, Webservice
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

print("SDK version:", azureml.core.VERSION)
ws = Workspace.from_config()
print(ws.name, ws.resource_group, ws.location, ws.subscription_id, sep="\n")

experiment = Experiment(workspace=ws, name="train-within-notebook")
X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0)
data = {"train": {"X": X_train, "y": y_train}, "test": {"X": X_test, "y": y_test}}

run = experiment.start_logging(snapshot_directory=None)
run.tag("Description", "My first run!")
run.log("alpha", 0.03)
reg = Ridge(alpha=0.03)
reg.fit(data["train"]["X"], data["train"]["y"])
run.log("mse", mean_squared_error(data["test"]["y"], reg.predict(data["test"]["X"])))
joblib.dump(value=reg, filename="model.pkl")
run.upload_file(name="outputs/model.pkl", path_or_stream="./model.pkl")
print(run.get_file_names())
run.complete()
print(run.get_status(), run)
assert run.get_status() == "Completed", run.get_status()

model_name = "model.pkl"
alphas = [0.0, 0.1, 0.5, 1.0]
with experiment.start_logging(snapshot_directory=None) as root_run:
    for alpha in alphas:
        with root_run.child_run("alpha" + str(alpha)) as child:
            reg = Ridge(alpha=alpha)
            reg.fit(data["train"]["X"], data["train"]["y"])
            preds = reg.predict(data["test"]["X"])
            mse = mean_squared_error(preds, data["test"]["y"])
            root_run.log("alpha", alpha)
            root_run.log("mse", mse)
            child.log(name="alpha", value=alpha)
            child.log(name="mse", value=mse)
            with open(model_name, "wb") as file:
                joblib.dump(value=reg, filename=file)
            child.upload_file(name="outputs/" + model_name, path_or_stream=model_name)

root_run_metrics = root_run.get_metrics()
assert root_run_metrics["alpha"] == alphas, root_run_metrics
child_runs, child_run_metrics = {}, {}
for r in root_run.get_children():
    child_runs[r.id] = r
    child_run_metrics[r.id] = r.get_metrics()
assert len(child_runs) == 4
assert set(root_run.get_metrics(recursive=True)) == set(child_runs) | {root_run.id}
best_run_id = min(child_run_metrics, key=lambda k: child_run_metrics[k]["mse"])
best_run = child_runs[best_run_id]
print("Best run is:", best_run_id, "Metrics:", child_run_metrics[best_run_id])
best_run.tag("Best run")
assert "Best run" in best_run.get_tags()
assert best_run.parent.id == root_run.id
assert best_run.get_file_names() == ["outputs/model.pkl"], best_run.get_file_names()
best_run.download_file(name="outputs/" + model_name, output_file_path="best/best.pkl")
assert os.path.exists("best/best.pkl")
model = best_run.register_model(model_name="best_model", model_path="outputs/model.pkl")
print(model.name, model.version, model.id, sep="\t")
assert Model(ws, "best_model").run_id == best_run.id
models = ws.models
assert models["best_model"].version == model.version

try:
    Webservice(ws, "my-aci-svc").delete()
except Exception as error:
    print("no such service yet:", error)
aciconfig = AciWebservice.deploy_configuration(
    cpu_cores=1, memory_gb=1, tags={"data": "diabetes", "method": "sklearn"}, description="Predict diabetes"
)
service = Model.deploy(ws, "my-aci-svc", [model], deployment_config=aciconfig)
service.wait_for_deployment(show_output=True)
test_samples = json.dumps({"data": X_test[0:2, :].tolist(), "method": "predict"})
result = service.run(input_data=test_samples)
print(result, service.scoring_uri, service.state)
assert len(result["predict"]) == 2
assert ws.webservices["my-aci-svc"].state == "Healthy"
service.delete()
print("all well")
