"""The script that is served twice: by Azure's inference server and by a gateway."""

import numpy as np
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema


def init() -> None:
    pass


@input_schema("data", NumpyParameterType(np.array([[1.0, 2.0]])))
@input_schema("how", StandardPythonParameterType("sum"), optional=True)
@output_schema(NumpyParameterType(np.array([1.0])))
def run(data, how="sum", request_headers=None):  # type: ignore[no-untyped-def]
    if how == "raise":
        raise ValueError("secret")
    if how == "array":
        return data
    if how == "set":
        return {1, 2}
    if how == "none":
        return None
    if how == "text":
        return "größe"
    if how == "nan":
        return [float("nan")]
    if how == "header":
        return request_headers.get("X-Colour")
    return data.sum(axis=1).tolist()
