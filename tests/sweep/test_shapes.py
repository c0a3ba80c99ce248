"""What the list of estimators does not show, through a real gateway: pipelines of strings, texts, times and categories, many columns
and one, several outputs and labels, and every dialect's view of them."""

import warnings
from collections.abc import Iterator
from typing import Any

import joblib
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from registry import Model, ResourceConfiguration, Workspace
from tests.e2e.gateway import Gateway, serving
from tests.sweep.asking import asked, dense, reference_input
from tests.sweep.estimators import ROWS, methods_of
from tests.sweep.shapes import SHAPES, Shape

pytestmark = [pytest.mark.timeout(400), pytest.mark.filterwarnings("ignore:X does not have valid feature names")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, dict[str, Shape]]]:
    folder = tmp_path_factory.mktemp("shapes")
    shapes = {}
    with threadpool_limits(1), warnings.catch_warnings(), Workspace.open(folder / "ws") as workspace:
        warnings.simplefilter("ignore")
        for name, made in SHAPES.items():
            shapes[name] = shape = made()
            path = folder / f"{name}.joblib"
            joblib.dump(shape.model, path)
            sample = None
            if shape.sample is not None:
                sample = folder / shape.sample[0]
                sample.write_bytes(shape.sample[1])
            limits = ResourceConfiguration(cpu=1, memory_in_gb=0.3)
            Model.register(workspace, path, name, resource_configuration=limits, sample=sample, show_output=False)
    with serving(folder / "ws", "--start", "first-use", "--idle-s", "3") as gateway:
        yield gateway, shapes


def _rows_of(shape: Shape) -> Any:
    rows = shape.rows
    if isinstance(rows, pd.DataFrame):  # rows of all classes
        return rows.iloc[:: len(rows) // ROWS].head(ROWS).reset_index(drop=True)
    return rows[:: len(rows) // ROWS][:ROWS]


@pytest.mark.parametrize("name", SHAPES)
def test_answers_over_http_are_the_models_own(served: tuple[Gateway, dict[str, Shape]], name: str) -> None:
    gateway, shapes = served
    model, rows = shapes[name].model, _rows_of(shapes[name])
    found = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for method in methods_of(model):
            given = dense(model.transform(rows)) if method == "inverse_transform" else reference_input(rows)
            found += [f"{method}, {text}" for text in asked(gateway, model, name, method, given, rows)]
    assert not found
