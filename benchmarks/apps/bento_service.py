"""BentoML services, one of which batches."""

import os

import bentoml
import joblib
import numpy as np


class Base:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["BENCH_MODEL"])


@bentoml.service
class Plain(Base):
    @bentoml.api
    def predict(self, data: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(data)


@bentoml.service
class Batched(Base):
    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
    def predict(self, data: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(data)
