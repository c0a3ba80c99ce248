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
several = [
    triton.InferRequestedOutput("decision_function", binary_data=True),
    triton.InferRequestedOutput("predict", binary_data=False),
]
answer = client.infer("iris", [tensor], outputs=[*several, triton.InferRequestedOutput("classes")])
assert answer.as_numpy("decision_function").shape == (2, 3)
assert answer.as_numpy("predict").tolist() == [0, 2]
assert answer.as_numpy("classes").tolist() == [0, 1, 2]
best = client.infer("iris", [tensor], outputs=[triton.InferRequestedOutput("decision_function", class_count=1)])
assert [text.decode().split(":")[1:] for (text,) in best.as_numpy("decision_function")] == [["0", "0"], ["2", "2"]]
(stats,) = client.get_inference_statistics("iris")["model_stats"]
assert stats["inference_stats"]["success"]["count"] == stats["inference_count"] >= 5, stats
for packing in ("gzip", "deflate"):
    packed = client.infer(
        "iris", [tensor], request_compression_algorithm=packing, response_compression_algorithm=packing
    )
    assert packed.as_numpy("predict").tolist() == [0, 2], packing
try:
    client.infer("nobody", [tensor])
except triton.InferenceServerException as error:
    assert "404" in str(error.status()), error
else:
    raise AssertionError("a model that is not there answered")

client.unload_model("iris", unload_dependents=True)
assert not client.is_model_ready("iris")
(entry,) = [entry for entry in client.get_model_repository_index() if entry["name"] == "iris"]
assert entry["state"] == "UNAVAILABLE", entry
client.load_model("iris")
assert client.is_model_ready("iris")
assert client.infer("iris", [tensor]).as_numpy("predict").tolist() == [0, 2]
