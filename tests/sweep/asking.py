"""One model asked in every way: all rows at once, one row, several callers together, columns in another order."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import pandas as pd

from tests.e2e.gateway import Gateway
from tests.sweep.comparing import differences, local, part_of
from tests.sweep.estimators import NOT_BY_ROW, ROWS, ULP

CALLERS = 6


def asked(gateway: Gateway, model: Any, name: str, method: str, given: Any, rows: Any) -> Iterator[str]:
    """How the answers to all rows at once, to one, to several callers' and to columns in another order differ from the model's own."""
    path = f"/models/{name}/{method}"
    expected = local(getattr(model, method)(given))
    whole = gateway.http.post(path, json={"data": _rows(given)})
    yield from differences("whole", whole, method, expected)
    single = gateway.http.post(path, json={"data": _rows(given[:1])})
    yield from differences("one row", single, method, local(getattr(model, method)(given[:1])), ULP.get(name, 4))
    size = ROWS // CALLERS
    parts = [given[start : start + size] for start in range(0, ROWS, size)]
    answers = asyncio.run(_together(gateway.url, path, [{"data": _rows(part)} for part in parts]))
    for number, (part, answer) in enumerate(zip(parts, answers, strict=True)):
        what, start = f"caller {number} of {CALLERS}", number * size
        if name in NOT_BY_ROW:
            yield from differences(what, answer, method, local(getattr(model, method)(part)))
        else:
            yield from differences(what, answer, method, part_of(expected, start, start + size, ROWS), ULP.get(name, 4))
    if isinstance(rows, pd.DataFrame) and method != "inverse_transform":
        shuffled = gateway.http.post(path, json={"data": _records(rows[rows.columns[::-1]])})
        yield from differences("shuffled columns", shuffled, method, expected)


async def _together(url: str, path: str, bodies: Sequence[Any]) -> list[httpx.Response]:
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        return await asyncio.gather(*(client.post(path, json=body) for body in bodies))


def reference_input(rows: Any) -> Any:
    """The array in the schema's dtypes, as the gateway sends it; a DataFrame where columns are not all numbers."""
    if isinstance(rows, pd.DataFrame) and all(kind.kind in "biuf" for kind in rows.dtypes):
        return np.ascontiguousarray(rows.to_numpy(float))
    return rows


def dense(value: Any) -> Any:
    return value.toarray() if hasattr(value, "toarray") else np.asarray(value)


def _rows(given: Any) -> Any:
    if isinstance(given, pd.DataFrame):
        return {"columns": list(given.columns), "data": _json(given.to_numpy(object).tolist())}
    return _json(given.tolist() if isinstance(given, np.ndarray) else given)


def _records(frame: pd.DataFrame) -> Any:
    return _json(frame.to_dict(orient="records"))


def _json(value: Any) -> Any:
    """As JSON has it: missing values are null, times ISO 8601."""
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if isinstance(value, list):
        return [_json(part) for part in value]
    if isinstance(value, dict):
        return {key: _json(part) for key, part in value.items()}
    return None if value is pd.NaT or (isinstance(value, float) and np.isnan(value)) else value
