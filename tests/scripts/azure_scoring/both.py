import json
import os

import joblib
from azureml.core.model import Model


def init():
    global iris, width  # noqa: PLW0603  Azure\'s own way
    folder = os.environ["AZUREML_MODEL_DIR"]
    iris = joblib.load(os.path.join(folder, "iris", "1", "iris.pkl"))
    width = joblib.load(Model.get_model_path("width"))


def run(raw_data):
    data = json.loads(raw_data)["data"]
    return {"iris": iris.predict(data).tolist(), "width": width.predict([row[:3] for row in data]).round(1).tolist()}
