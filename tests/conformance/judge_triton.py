"""Triton's HTTP client against a gateway: readiness, metadata, repository, JSON and binary tensors. Needs tritonclient[http]."""

import sys

import numpy as np
import tritonclient.http as triton

ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]])

client = triton.InferenceServerClient(sys.argv[1].removeprefix("http://"))
assert client.is_server_live()
assert client.is_server_ready()
assert client.is_model_ready("iris")
assert client.get_model_metadata("iris")["name"] == "iris"
assert "iris" in {model["name"] for model in client.get_model_repository_index()}
for binary in (False, True):
    tensor = triton.InferInput("input-0", list(ROWS.shape), "FP64")
    tensor.set_data_from_numpy(ROWS, binary_data=binary)
    wanted = [triton.InferRequestedOutput("predict", binary_data=binary)]
    answer = client.infer("iris", [tensor], outputs=wanted)
    assert answer.as_numpy("predict").tolist() == [0, 2], binary
assert client.infer("iris", [tensor]).get_response()["model_name"] == "iris"
try:
    client.infer("nobody", [tensor])
except triton.InferenceServerException as error:
    assert "404" in str(error.status()), error
else:
    raise AssertionError("a model that is not there answered")
