"""``litserve_app.py PORT Plain|Batched``: LitServe APIs, one of which batches."""

import os
import sys

import joblib
import litserve
import numpy as np


class Plain(litserve.LitAPI):
    def setup(self, device):  # type: ignore[no-untyped-def]  # noqa: ARG002
        self.model = joblib.load(os.environ["BENCH_MODEL"])

    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return np.asarray(request["data"], dtype=float)

    def predict(self, rows):  # type: ignore[no-untyped-def]
        return self.model.predict_proba(rows)

    def encode_response(self, output):  # type: ignore[no-untyped-def]
        return {"predict_proba": output.tolist()}


class Batched(Plain):
    def batch(self, inputs):  # type: ignore[no-untyped-def]
        return inputs

    def predict(self, many):  # type: ignore[no-untyped-def]
        answers = self.model.predict_proba(np.concatenate(many))
        return np.split(answers, np.cumsum([len(each) for each in many])[:-1])

    def unbatch(self, output):  # type: ignore[no-untyped-def]
        return output


if __name__ == "__main__":
    api = Batched(max_batch_size=32, batch_timeout=0.005) if sys.argv[2] == "Batched" else Plain()
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
