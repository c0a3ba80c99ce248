"""``ray_app.py PORT``: a Ray Serve deployment that batches."""

import os
import sys

import joblib
import numpy as np
import ray
from ray import serve


@serve.deployment(num_replicas=1, max_ongoing_requests=128)
class Served:
    def __init__(self, path: str) -> None:
        self.model = joblib.load(path)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
    async def score(self, many: list[np.ndarray]) -> list[np.ndarray]:
        answers = self.model.predict_proba(np.concatenate(many))
        return np.split(answers, np.cumsum([len(each) for each in many])[:-1])

    async def __call__(self, request):  # type: ignore[no-untyped-def]
        data = np.asarray((await request.json())["data"], dtype=float)
        return {"predict_proba": (await self.score(data)).tolist()}


ray.init(address="local", include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(Served.bind(os.environ["BENCH_MODEL"]), blocking=True)
