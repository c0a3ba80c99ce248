"""Every estimator of the installed scikit-learn through a real gateway: what comes over HTTP is what the model itself says.

A new release with a new estimator fails here until somebody says what data suits it, or why it is left out.
"""

import asyncio
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from registry import Model, ResourceConfiguration, Workspace
from tests.e2e.gateway import Gateway, serving
from tests.sweep.comparing import differences, local, part_of
from tests.sweep.estimators import LEFT_OUT, NOT_BY_ROW, ROWS, ULP, WITHOUT_METHOD, estimators, fitted, methods_of

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:X does not have valid feature names"),
    pytest.mark.filterwarnings("ignore:divide by zero encountered in log"),
]

SERVED = {name: kind for name, kind in estimators().items() if name not in LEFT_OUT}
CALLERS = 6


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, dict[str, Any]]]:
    """A gateway with a model of each kind, and (model, rows to ask about) by name, or why it could not be fitted."""
    folder = tmp_path_factory.mktemp("sweep")
    models: dict[str, Any] = {}
    with threadpool_limits(1), Workspace.open(folder / "ws") as workspace:
        for name, kind in SERVED.items():
            try:
                models[name] = fitted(name, kind)
            except Exception as error:
                models[name] = error
                continue
            _register(workspace, name, models[name][0], folder)
    with serving(folder / "ws", "--start", "first-use", "--idle-s", "3") as gateway:
        yield gateway, models


def _register(workspace: Workspace, name: str, model: Any, folder: Path) -> None:
    path = folder / f"{name}.joblib"
    joblib.dump(model, path)
    limits = ResourceConfiguration(cpu=1, memory_in_gb=0.2)
    Model.register(workspace, path, name, resource_configuration=limits, show_output=False)


@pytest.mark.parametrize("name", SERVED)
def test_answers_over_http_are_the_models_own(served: tuple[Gateway, dict[str, Any]], name: str) -> None:
    gateway, models = served
    if isinstance(models[name], Exception):
        raise AssertionError(f"say in tests/sweep/estimators.py which data suits {name}") from models[name]
    model, rows = models[name]
    methods = methods_of(model)
    assert methods
    found = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for method in methods:
            given = _dense(model.transform(rows)) if method == "inverse_transform" else _reference_input(rows)
            assert len(given) == ROWS
            found += [f"{method}, {text}" for text in _asked(gateway, model, name, method, given, rows)]
    assert not found
    refused = gateway.score(name, [[0]], method="fit")
    assert refused.json()["message"] == f"the model has no method 'fit'; it has: {', '.join(methods)}"


def _asked(gateway: Gateway, model: Any, name: str, method: str, given: Any, rows: Any) -> Iterator[str]:
    path = f"/models/{name}/{method}"
    expected = local(getattr(model, method)(given))
    whole = gateway.http.post(path, json={"data": _rows(given)})
    yield from differences("whole", whole, method, expected)
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


def _reference_input(rows: Any) -> Any:
    """The array in the schema's dtypes, as the gateway sends it; a DataFrame where columns are not all numbers."""
    if isinstance(rows, pd.DataFrame) and all(kind.kind in "biuf" for kind in rows.dtypes):
        return np.ascontiguousarray(rows.to_numpy(float))
    return rows


def _dense(value: Any) -> Any:
    return value.toarray() if hasattr(value, "toarray") else np.asarray(value)


def _rows(given: Any) -> Any:
    if isinstance(given, pd.DataFrame):
        return {"columns": list(given.columns), "data": _without_nan(given.to_numpy(object).tolist())}
    return _without_nan(given.tolist() if isinstance(given, np.ndarray) else given)


def _records(frame: pd.DataFrame) -> Any:
    return _without_nan(frame.to_dict(orient="records"))


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value


def test_the_list_is_scikit_learns_own() -> None:
    """What has nothing to serve really has nothing, and nothing is left out without a reason."""
    from sklearn.utils import all_estimators

    listed = dict(all_estimators())
    assert listed.keys() >= WITHOUT_METHOD
    for name in WITHOUT_METHOD:
        assert not methods_of(listed[name]), name
    assert set(LEFT_OUT) <= listed.keys()
    assert all(LEFT_OUT.values())
    assert SERVED.keys() | LEFT_OUT.keys() | WITHOUT_METHOD == listed.keys()
    assert json.dumps(LEFT_OUT)
