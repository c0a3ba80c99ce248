import json
import os

import joblib
import numpy as np
from azureml.core.model import Model
from helpers.names import NAMES
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    global model, limits  # noqa: PLW0603  Azure\'s own way
    model = joblib.load(Model.get_model_path("iris"))
    assert os.path.samefile(Model.get_model_path("iris"), os.path.join(os.environ["AZUREML_MODEL_DIR"], "iris.pkl"))
    with open(os.path.join(os.path.dirname(__file__), "..", "limits.json")) as file:
        limits = json.load(file)


@input_schema("data", NumpyParameterType(np.array([[5.1, 3.5, 1.4, 0.2]])))
@output_schema(NumpyParameterType(np.array([0])))
def run(data):
    return {"names": [NAMES[i] for i in model.predict(data)], "greeting": os.environ["GREETING"], "limits": limits}
