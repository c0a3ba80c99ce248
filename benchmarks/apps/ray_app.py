"""``ray_app.py PORT Plain|Batched``: Ray Serve deployments, one of which batches."""

import os
import sys

import joblib
import numpy as np
import ray
from ray import serve


@serve.deployment(num_replicas=1, max_ongoing_requests=128)
class Plain:
    def __init__(self, path: str) -> None:
        self.model = joblib.load(path)

    async def __call__(self, request):  # type: ignore[no-untyped-def]
        data = (await request.json())["data"]
        return {"predict_proba": self.model.predict_proba(data).tolist()}


@serve.deployment(num_replicas=1, max_ongoing_requests=128)
class Batched:
    def __init__(self, path: str) -> None:
        self.model = joblib.load(path)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
    async def score(self, many: list[np.ndarray]) -> list[np.ndarray]:
        answers = self.model.predict_proba(np.concatenate(many))
        return np.split(answers, np.cumsum([len(each) for each in many])[:-1])

    async def __call__(self, request):  # type: ignore[no-untyped-def]
        data = np.asarray((await request.json())["data"], dtype=float)
        return {"predict_proba": (await self.score(data)).tolist()}


if __name__ == "__main__":
    ray.init(address="local", include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    served = {"Plain": Plain, "Batched": Batched}[sys.argv[2]]
    serve.run(served.bind(os.environ["BENCH_MODEL"]), blocking=True)
