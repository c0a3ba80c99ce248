"""What one writes by hand, with `def` (in a thread) and with `async def` (in the loop)."""

import os

import joblib
from fastapi import FastAPI
from pydantic import BaseModel

model = joblib.load(os.environ["BENCH_MODEL"])
app = FastAPI()


class Request(BaseModel):
    data: list[list[float]]


@app.post("/predict")
def predict(request: Request) -> dict[str, list[list[float]]]:
    return {"predict_proba": model.predict_proba(request.data).tolist()}


@app.post("/predict_async")
async def predict_async(request: Request) -> dict[str, list[list[float]]]:
    return {"predict_proba": model.predict_proba(request.data).tolist()}
