"""``kserve_app.py PORT``: a model of KServe's Python server."""

import os
import sys

import joblib
import kserve
import numpy as np


class Served(kserve.Model):
    def load(self):  # type: ignore[no-untyped-def]
        self.model = joblib.load(os.environ["BENCH_MODEL"])
        self.ready = True
        return True

    def predict(self, payload, headers=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        return {"predictions": self.model.predict_proba(np.asarray(payload["instances"])).tolist()}


if __name__ == "__main__":
    model = Served("m")
    model.load()
    server = kserve.ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, access_log_format=None)
    server.start([model])
