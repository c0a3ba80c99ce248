"""An entry script for Azure's inference server, in the documented shape."""

import os

import joblib
import numpy as np
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema, output_schema


def init() -> None:
    global model  # noqa: PLW0603 - as documented
    model = joblib.load(os.environ["BENCH_MODEL"])


@input_schema("data", NumpyParameterType(np.zeros((1, int(os.environ["BENCH_FEATURES"])))))
@output_schema(NumpyParameterType(np.zeros((1, 3))))
def run(data):  # type: ignore[no-untyped-def]
    return model.predict_proba(data).tolist()
