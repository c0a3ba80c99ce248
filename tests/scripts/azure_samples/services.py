"""Deploy, update, keys."""

import json
import urllib.error
import urllib.request

import joblib
from azureml.core import Model, Webservice, Workspace
from azureml.core.resource_configuration import ResourceConfiguration
from azureml.core.webservice import AksWebservice, LocalWebservice
from azureml.exceptions import UserErrorException, WebserviceException
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

ws = Workspace.from_config()
X = [[0.0, 1.0], [1.0, 0.0], [0.2, 0.9], [0.8, 0.1]]
y = [0, 1, 0, 1]
joblib.dump(SVC().fit(X, y), "one.joblib")
joblib.dump(LogisticRegression().fit(X, y), "two.joblib")
one = Model.register(
    workspace=ws,
    model_path="one.joblib",
    model_name="svc",
    model_framework=Model.Framework.SCIKITLEARN,
    resource_configuration=ResourceConfiguration(cpu=0.5, memory_in_gb=0.4),
    tags={"area": "x"},
)
two = Model.register(ws, "two.joblib", "svc", model_framework="ScikitLearn", model_framework_version="1.0")
assert (one.version + 1, two.name) == (two.version, "svc")
svc = Model.deploy(
    ws,
    "mysvc",
    [one],
    deployment_config=AksWebservice.deploy_configuration(
        cpu_cores=0.5, memory_gb=0.3, primary_key="a-primary-key-of-mine"
    ),
    overwrite=True,
)
svc.wait_for_deployment(True)
assert svc.state == "Healthy" and svc.auth_enabled and svc.compute_type == "AKS", (svc.state, svc.compute_type)
assert svc.container_resource_requirements.cpu == 0.5
body = json.dumps({"data": [[0.1, 0.9]]})
assert svc.run(body) == {"predict": [0]}, svc.run(body)
primary, secondary = svc.get_keys()
print(primary, bool(secondary))


def post(key):
    request = urllib.request.Request(
        svc.scoring_uri, body.encode(), {"Content-Type": "application/json", "Authorization": "Bearer " + str(key)}
    )
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code


assert post("wrong") == 401 and post(secondary) == 200 and post("a-primary-key-of-mine") == 200
svc.regen_key("Secondary")
new = svc.get_keys()[1]
assert new != secondary
import time

end = time.time() + 10
while post(new) != 200 and time.time() < end:
    time.sleep(0.05)
assert post(new) == 200 and post(secondary) == 401
svc.update(models=[two], tags={"v": "2"}, description="now the second")
svc.wait_for_deployment()
assert "predict_proba" in svc.run(body), svc.run(body)
assert svc.tags == {"v": "2"} and svc.models[0].id == two.id, (svc.tags, svc.models)
svc.update(cpu_cores=1, memory_gb=0.35)
svc.wait_for_deployment()
assert svc.container_resource_requirements.memory_in_gb == 0.35
print(svc.get_logs()[:80])
try:
    svc.get_token()
    raise SystemExit("a token")
except UserErrorException as error:
    print(error)
try:
    svc.run("not json")
    raise SystemExit("no error")
except WebserviceException as error:
    print(str(error)[:100])
try:
    Model.deploy(ws, "mysvc", [one])
    raise SystemExit("twice")
except WebserviceException as error:
    print(error)
try:
    two.delete()
    raise SystemExit("deleted though in use")
except WebserviceException as error:
    print(error)
local = Model.deploy(ws, "mylocal", [one], deployment_config=LocalWebservice.deploy_configuration(), overwrite=True)
local.wait_for_deployment(show_output=True)
assert local.state == "running" and local.run(body) == {"predict": [0]}, local.state
assert isinstance(Webservice(ws, "mylocal"), LocalWebservice) and isinstance(
    Webservice(ws, name="mysvc"), AksWebservice
)
print(
    [s.name for s in Webservice.list(ws)],
    [s.name for s in Webservice.list(ws, compute_type="Local")],
    [s.name for s in Webservice.list(workspace=ws, model_name="svc")],
)
print(svc.serialize()["computeType"], svc)
local.delete()
svc.delete()
try:
    Webservice(ws, "mysvc")
    raise SystemExit("still there")
except WebserviceException as error:
    print(error)
print("all well")
