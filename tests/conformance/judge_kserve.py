"""KServe's own client against a gateway: V1, Open Inference in JSON and binary. Its V1 liveness is not asked: it reads JSON from
`/`, which is Azure's `Healthy` here. Run in an environment with kserve."""

import asyncio
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]


async def judge(url: str) -> None:
    v1 = InferenceRESTClient(RESTConfig(protocol="v1", timeout=30))
    answer = await v1.infer(url, {"instances": ROWS}, model_name="iris")
    assert answer["predictions"] == [0, 2], answer
    v2 = InferenceRESTClient(RESTConfig(protocol="v2", timeout=30))
    assert await v2.is_server_ready(url)
    assert await v2.is_server_live(url)
    assert await v2.is_model_ready(url, "iris")
    for binary in (False, True):
        tensor = InferInput("input-0", [2, 4], "FP64")
        tensor.set_data_from_numpy(np.array(ROWS), binary_data=binary)
        outputs = [RequestedOutput("predict", {"binary_data": binary})]
        request = InferRequest("iris", [tensor], request_outputs=outputs)
        answer = await v2.infer(url, request, model_name="iris")
        assert answer.outputs[0].as_numpy().tolist() == [0, 2], (binary, answer)

    answer = await v2.infer(
        url,
        InferRequest(
            "iris", [tensor], request_outputs=[RequestedOutput("predict"), RequestedOutput("decision_function")]
        ),
        model_name="iris",
    )
    assert [output.name for output in answer.outputs] == ["predict", "decision_function"], answer
    assert answer.outputs[1].as_numpy().shape == (2, 3), answer


asyncio.run(judge(sys.argv[1]))
