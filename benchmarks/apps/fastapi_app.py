"""What one writes by hand."""

import os

import joblib
from fastapi import FastAPI
from pydantic import BaseModel

model = joblib.load(os.environ["BENCH_MODEL"])
app = FastAPI()


class Request(BaseModel):
    data: list[list[float]]


@app.post("/predict")
async def predict(request: Request) -> dict[str, list[list[float]]]:
    return {"predict_proba": model.predict_proba(request.data).tolist()}
