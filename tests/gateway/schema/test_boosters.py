"""Models of LightGBM, XGBoost and CatBoost, with categories and without, fitted on frames and on arrays, and their own boosters."""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from gateway.worker.boosters import servable
from registry.sample import read_sample as bytes_of
from tests.gateway.schema.test_real_models import served

catboost = pytest.importorskip("catboost", reason="the dev extra has it")
lightgbm = pytest.importorskip("lightgbm", reason="the dev extra has it")
xgboost = pytest.importorskip("xgboost", reason="the dev extra has it")

pytestmark = pytest.mark.filterwarnings("ignore")  # these libraries use pandas in ways that pandas 3 warns of

N = 300
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
NUMBERS = pd.DataFrame(X, columns=["a", "b c", "d"])
CODES = np.column_stack([RNG.normal(size=N), RNG.integers(0, 4, N)])
FRAME = pd.DataFrame(
    {
        "n": RNG.normal(size=N),
        "c": pd.Categorical(RNG.choice(list("abc"), N)),
        "k": pd.Categorical(RNG.choice([7, 1, 5], N)),
        "m": RNG.normal(size=N),
    }
)
Y = ((FRAME["c"] == "a") | (FRAME["k"] == 7)).astype(int).to_numpy()
TEXTS = FRAME.assign(c=FRAME["c"].astype(str), k=FRAME["k"].astype(int))


def cat(**options: Any) -> Any:
    return catboost.CatBoostClassifier(iterations=10, verbose=0, allow_writing_files=False, **options)


def light(**options: Any) -> Any:
    return lightgbm.LGBMClassifier(n_estimators=10, verbose=-1, **options)


def xgb(**options: Any) -> Any:
    return xgboost.XGBClassifier(n_estimators=10, **options)


def lights(frame: Any, **options: Any) -> Any:
    return lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(frame, Y, **options), 10)


def xgbs(frame: Any, **options: Any) -> Any:
    return xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(frame, Y, **options), 10)


MODELS: dict[str, tuple[Any, Any]] = {  # what is fitted, and the rows that it is asked for
    "catboost": (lambda: cat().fit(X, Y), X),
    "catboost, frame": (lambda: cat().fit(NUMBERS, Y), NUMBERS),
    "catboost, categories": (lambda: cat(cat_features=["c", "k"]).fit(FRAME, Y), FRAME),
    "catboost, text and integers": (lambda: cat(cat_features=["c", "k"]).fit(TEXTS, Y), TEXTS),
    "catboost, array of objects": (
        lambda: cat(cat_features=[1, 2]).fit(TEXTS.to_numpy(object), Y),
        TEXTS.to_numpy(object),
    ),
    "catboost, regressor": (
        lambda: catboost.CatBoostRegressor(iterations=5, verbose=0, allow_writing_files=False).fit(X, X[:, 0]),
        X,
    ),
    "catboost, plain": (
        lambda: catboost.CatBoost(
            {"iterations": 5, "verbose": 0, "allow_writing_files": False, "loss_function": "Logloss"}
        ).fit(catboost.Pool(TEXTS, Y, cat_features=["c", "k"])),
        TEXTS,
    ),
    "catboost after a step": (
        lambda: make_pipeline(FunctionTransformer(), cat(cat_features=["c", "k"])).fit(TEXTS, Y),
        TEXTS,
    ),
    "lightgbm": (lambda: light().fit(X, Y), X),
    "lightgbm, frame": (lambda: light().fit(NUMBERS, Y), NUMBERS),
    "lightgbm, categories": (lambda: light().fit(FRAME, Y), FRAME),
    "lightgbm, categories by place": (lambda: light().fit(CODES, Y, categorical_feature=[1]), CODES),
    "lightgbm, booster": (lambda: lights(X), X),
    "lightgbm, booster of categories": (lambda: lights(FRAME), FRAME),
    "lightgbm after a step": (lambda: make_pipeline(FunctionTransformer(), light()).fit(FRAME, Y), FRAME),
    "xgboost": (lambda: xgb().fit(X, Y), X),
    "xgboost, frame": (lambda: xgb().fit(NUMBERS, Y), NUMBERS),
    "xgboost, categories": (lambda: xgb(enable_categorical=True).fit(FRAME, Y), FRAME),
    "xgboost, codes": (lambda: xgb(enable_categorical=True, feature_types=["q", "c"]).fit(CODES, Y), CODES),
    "xgboost, dart": (lambda: xgb(enable_categorical=True, booster="dart").fit(FRAME, Y), FRAME),
    "xgboost, booster": (lambda: xgbs(X), X),
    "xgboost, booster of a frame": (lambda: xgbs(NUMBERS), NUMBERS),
    "xgboost, booster of categories": (lambda: xgbs(FRAME, enable_categorical=True), FRAME),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_answers_as_it_does_here(name: str) -> None:
    fit, rows = MODELS[name]
    model = servable(pickle.loads(pickle.dumps(fit())))
    part = rows[:9]
    data = part.astype(object).to_dict("records") if isinstance(part, pd.DataFrame) else part.tolist()
    for method in ("predict", "predict_proba"):
        if hasattr(model, method):
            assert np.allclose(served(model, data, method), getattr(model, method)(part), rtol=1e-9)
    if isinstance(part, pd.DataFrame):
        assert np.allclose(
            served(model, [list(row.values()) for row in data], "predict"), model.predict(part), rtol=1e-9
        )


@pytest.mark.parametrize("name", ["lightgbm, categories", "xgboost, categories", "catboost, categories"])
def test_a_category_that_was_never_seen(name: str) -> None:
    model = MODELS[name][0]()
    row = {"n": 0.5, "c": "zebra", "k": 7, "m": 0.1}
    if name.startswith("xgboost"):
        with pytest.raises(AssertionError, match=r"'kind': 'input'.*column 'c': 'zebra' is not a category"):
            served(model, [row], "predict_proba")
        return
    known = FRAME.dtypes
    frame = pd.DataFrame([row]).astype({"k": known["k"], **({"c": known["c"]} if name.startswith("lightgbm") else {})})
    assert np.allclose(served(model, [row], "predict_proba"), model.predict_proba(frame))


def test_what_catboost_refuses_is_the_callers_mistake() -> None:
    model = MODELS["catboost, categories"][0]()
    with pytest.raises(AssertionError, match="'kind': 'input', 'type': 'CatBoostError'"):
        served(model, [{"n": 0.5, "c": 1.5, "k": 7, "m": 0.1}], "predict")


def test_categories_that_an_older_xgboost_did_not_keep_are_those_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["xgboost, categories"][0]()
    monkeypatch.setattr("gateway.worker.boosters._xgboost_categories", lambda booster: [])
    data = FRAME[:5].astype(object).to_dict("records")
    with pytest.raises(AssertionError, match=r"column 'c': this release of XGBoost does not keep the categories"):
        served(model, data, "predict")
    sample = bytes_of("sample", FRAME[:3])
    assert np.allclose(served(model, data, "predict_proba", sample), model.predict_proba(FRAME[:5]))
