"""What each dialect's adapter costs: parse and format in one process, beside orjson alone on the same bytes.

    python benchmarks/adapters.py

Rows become the array that a child would get (for one row in a batch that is once a frame, not once a request), and the answer
has one number a row.
"""

import json
import statistics
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from gateway.dataplane.collate import join
from gateway.protocols import dialects
from gateway.schema.infer import schema_for
from gateway.schema.schema import ModelSchema
from gateway.types import Call, FrameResult, ScoreResult, Target


def target(width: int) -> Target:
    description = {"kind": "array", "n_features": width, "allows_nan": False}
    return Target("m", 1, ("predict",), description, ModelSchema.from_json(schema_for(description)))


def bodies(rows: list[list[float]]) -> dict[str, tuple[Any, bytes, dict[bytes, bytes]]]:
    """Name → dialect, body, headers."""
    azure, v2, v1, mlflow = dialects()
    shape = [len(rows), len(rows[0])]
    tensor = {"name": "x", "shape": shape, "datatype": "FP64"}
    array = np.array(rows)
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": array.nbytes}}]}).encode()
    csv = "\n".join(",".join(map(repr, row)) for row in rows).encode()
    names = [f"x{index}" for index in range(shape[1])]
    kind = {b"content-type": b"application/json"}
    return {
        "azure": (azure, json.dumps({"data": rows}).encode(), kind),
        "azure, records": (
            azure,
            json.dumps({"data": [dict(zip(names, row, strict=True)) for row in rows]}).encode(),
            kind,
        ),
        "open inference, JSON": (v2, json.dumps({"inputs": [tensor | {"data": array.ravel().tolist()}]}).encode(), {}),
        "open inference, binary": (
            v2,
            head + array.tobytes(),
            {b"inference-header-content-length": str(len(head)).encode()},
        ),
        "kserve v1": (v1, json.dumps({"instances": rows}).encode(), {}),
        "mlflow, split": (mlflow, json.dumps({"dataframe_split": {"columns": names, "data": rows}}).encode(), kind),
        "mlflow, CSV": (mlflow, csv, {b"content-type": b"text/csv"}),
    }


def microseconds(work: Callable[[], Any], seconds: float = 0.3) -> float:
    """Median of five."""
    once = max(timeit.timeit(work, number=3) / 3, 1e-7)
    number = max(1, int(seconds / 5 / once))
    return statistics.median(timeit.repeat(work, number=number, repeat=5)) / number * 1e6


def measured(name: str, dialect: Any, call: Call, whom: Target, answer: Any) -> str:
    request = dialect.parse(call, whom)
    result = ScoreResult(FrameResult(answer, 1), 0, -1)
    times = [
        microseconds(lambda: orjson.loads(call.body)) if "CSV" not in name and "binary" not in name else 0.0,
        microseconds(lambda: dialect.parse(call, whom)),
        microseconds(lambda: join([request])),
        microseconds(lambda: dialect.format(request, result, whom)),
    ]
    return f"{name:28}" + "".join(f"{time:>10.1f}" for time in times)


def main() -> None:
    rng = np.random.default_rng(0)
    for n_rows, width in ((1, 4), (64, 4), (10_000, 20)):
        rows = rng.normal(size=(n_rows, width)).tolist()
        print(f"\n{f'{n_rows:,} x {width}, µs':28}{'orjson':>10}{'parse':>10}{'to array':>10}{'format':>10}")
        whom = target(width)
        for name, (dialect, body, headers) in bodies(rows).items():
            print(measured(name, dialect, Call(body, headers), whom, np.zeros(n_rows)))


if __name__ == "__main__":
    main()
