import json

import joblib
from azureml.core.model import Model


def init():
    global model  # noqa: PLW0603  Azure\'s own way
    model = joblib.load(Model.get_model_path(model_name="iris"))


def run(raw_data):
    data = json.loads(raw_data)["data"]
    return json.dumps({"old": model.predict(data).tolist()})
