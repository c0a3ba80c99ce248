"""Every estimator of the installed scikit-learn through a real gateway: what comes over HTTP is what the model itself says.

A new release with a new estimator fails here until somebody says what data suits it, or why it is left out.
"""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
from threadpoolctl import threadpool_limits

from registry import Model, ResourceConfiguration, Workspace
from tests.e2e.gateway import Gateway, serving
from tests.sweep.asking import asked, dense, reference_input
from tests.sweep.estimators import LEFT_OUT, ROWS, WITHOUT_METHOD, estimators, fitted, methods_of

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:X does not have valid feature names"),
    pytest.mark.filterwarnings("ignore:divide by zero encountered in log"),
]

SERVED = {name: kind for name, kind in estimators().items() if name not in LEFT_OUT}


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
            given = dense(model.transform(rows)) if method == "inverse_transform" else reference_input(rows)
            assert len(given) == ROWS
            found += [f"{method}, {text}" for text in asked(gateway, model, name, method, given, rows)]
    assert not found
    refused = gateway.score(name, [[0]], method="fit")
    assert refused.json()["message"] == f"the model has no method 'fit'; it has: {', '.join(methods)}"


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
