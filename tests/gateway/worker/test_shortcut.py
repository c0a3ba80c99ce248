"""Shorter ways give the public method's bits, or are not taken."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from gateway.schema.methods import METHODS
from gateway.worker import describe, shortcut, shortcut_base, shortcut_verify, wire
from gateway.worker.scoring import Scorer

X, Y = load_iris(return_X_y=True)
TWO = (Y > 0).astype(int)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]

MODELS: dict[str, Callable[[], Any]] = {
    "svc": lambda: SVC(kernel="linear").fit(X, NAMES),
    "svc of two": lambda: SVC().fit(X, TWO),
    "svr": lambda: SVR().fit(X, Y),
    "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y),
    "logistic of two": lambda: make_pipeline(MinMaxScaler(), LogisticRegression()).fit(X, TWO),
    "sgd": lambda: SGDClassifier(random_state=0).fit(X, NAMES),
    "linear svc": lambda: LinearSVC().fit(X, Y),
    "ridge of two": lambda: Ridge().fit(X, np.c_[X[:, 0], Y]),
    "forest": lambda: RandomForestClassifier(30, random_state=0).fit(X, NAMES),
    "forest of numbers": lambda: RandomForestRegressor(30, random_state=0).fit(X, X[:, 0] - 5),
    "extra trees": lambda: ExtraTreesClassifier(20, random_state=0).fit(X, TWO),
    "boosting": lambda: HistGradientBoostingClassifier(max_iter=20).fit(X, Y),
    "boosting of two": lambda: HistGradientBoostingClassifier(max_iter=20).fit(X, TWO),
    "boosting of numbers": lambda: HistGradientBoostingRegressor(max_iter=20).fit(X, X[:, 0]),
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=15, random_state=0).fit(X, NAMES),
    "gradient boosting of two": lambda: GradientBoostingClassifier(n_estimators=15, init="zero").fit(X, TWO),
    "gradient boosting of numbers": lambda: GradientBoostingRegressor(n_estimators=15).fit(X, X[:, 0]),
    "isolation forest": lambda: IsolationForest(n_estimators=30, random_state=0, contamination=0.1).fit(X),
    "neighbours": lambda: KNeighborsClassifier(3, algorithm="kd_tree").fit(X, NAMES),
    "neighbours of numbers": lambda: KNeighborsRegressor(algorithm="ball_tree").fit(X, X[:, :2]),
    "naive Bayes": lambda: GaussianNB().fit(X, NAMES),
    "layers": lambda: MLPClassifier(hidden_layer_sizes=8, max_iter=1000, tol=1, random_state=0).fit(X, Y),
    "layers of numbers": lambda: make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=8, max_iter=3000, tol=10, random_state=0)
    ).fit(X, Y),
    "tree": lambda: DecisionTreeClassifier(random_state=0).fit(X, Y),
}
FITTED: dict[str, Any] = {}

value = (
    st.floats(-2, 10, width=32)
    | st.sampled_from(X.ravel().tolist())
    | st.sampled_from([0.0, -0.0, 1e300, -1e39, 1e-320])
)


def fitted(name: str) -> Any:
    if name not in FITTED:
        FITTED[name] = MODELS[name]()
    return FITTED[name]


@pytest.fixture(autouse=True)
def _quiet_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine may be busy: no proof ends for lack of time. One thread, as in a child."""
    monkeypatch.setattr(shortcut_verify, "PATIENCE_S", 60)
    with threadpool_limits(1):
        yield


def scorer_of(model: Any) -> Scorer:
    """One that has proved what it can."""
    scorer = Scorer(model, describe.describe(model, METHODS), wire.arrays_from, wire.Body)
    for _ in scorer.prove():
        pass
    return scorer


def ways_of(model: Any) -> dict[str, shortcut_verify.Shortcut]:
    proved = shortcut_verify.Proof(
        model, {method: getattr(model, method) for method in METHODS if hasattr(model, method)}
    )
    for _ in proved.steps():
        pass
    return proved.found


def asked(scorer: Scorer, method: str, rows: Any, **more: Any) -> Any:
    body = wire.Body()
    spec = {"kind": "array", "array": body.add(np.asarray(rows))}
    data = b"".join(bytes(part) for part in wire.encode_frame({}, body.arrays))[32:]
    header, arrays, _ = scorer.answer({"id": 1, "method": method, "input": spec, **more}, bytearray(data))
    return (header, arrays) if header["ok"] else header["error"]


@pytest.mark.parametrize("name", MODELS)
def test_every_method_of_the_usual_models_has_a_way(name: str) -> None:
    """Lesson: single rows of forests."""
    scoring = scorer_of(fitted(name)).scoring()
    asked_for = {"predict", "predict_proba", "decision_function", "predict_log_proba"} & scoring.keys()
    ways = {method: scoring[method]["path"] for method in asked_for}
    assert "public" not in ways.values(), ways
    assert all(scoring[method]["gain"] > 1 for method in asked_for)


@pytest.mark.parametrize("name", MODELS)
def test_the_bits_are_those_of_the_public_method(name: str) -> None:
    model = fitted(name)
    methods = {method: getattr(model, method) for method in METHODS if hasattr(model, method)}
    found = ways_of(model)
    assert found

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.lists(value, min_size=4, max_size=4), min_size=1, max_size=40))
    def check(rows: list[list[float]]) -> None:
        Z = np.array(rows)
        with np.errstate(all="ignore"):
            for method, way in found.items():
                try:
                    got = way.call(Z.copy())
                except shortcut_base.Unsupported:
                    continue
                assert shortcut_verify.same(methods[method](Z.copy()), got), method

    check()


@pytest.mark.filterwarnings("ignore:overflow encountered")  # the public method gives it too
def test_what_the_checks_would_refuse_is_still_refused() -> None:
    scorer = scorer_of(fitted("forest"))
    assert scorer.scoring()["predict"]["path"] == "trees"
    too_large = asked(scorer, "predict", [[1e39, 1, 1, 1]], checked=True)  # finite, but not as float32
    assert too_large["kind"] == "input"
    assert "too large for dtype('float32')" in too_large["message"]
    svc = scorer_of(fitted("svc"))
    assert "contains NaN" in asked(svc, "predict", [[np.nan, 1, 1, 1]])["message"]
    assert "expecting 4 features" in asked(svc, "predict", [[1.0, 1, 1]])["message"]
    assert "0 sample(s)" in asked(svc, "predict", np.empty((0, 4)))["message"]
    scaled = scorer_of(make_pipeline(StandardScaler(), LogisticRegression()).fit(X * 1e-3, Y))
    assert "infinity" in asked(scaled, "predict", [[1e308, 1, 1, 1]], checked=True)["message"]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", shortcut_verify.OTHERS)
def test_whole_and_short_numbers_give_the_public_methods_bits(name: str, dtype: str) -> None:
    model, scorer = fitted(name), scorer_of(fitted(name))
    Z = np.array([[5.1, 3.5, 1.4, 0.2], [6.9, 3.2, 5.7, 2.3], [300, -7, 0, 2**24]]).astype(dtype)
    asked_the_public_one: list[str] = []
    for method, told in scorer.scoring().items():
        public = getattr(model, method)

        def noted(X: Any, method: str = method, public: Any = public) -> Any:
            asked_the_public_one.append(method)
            return public(X)

        if told["path"] == "public":
            continue
        with np.errstate(all="ignore"):
            assert shortcut_verify.same(public(Z.copy()), scorer._called(method, noted, Z.copy(), {}))
        assert (method in asked_the_public_one) is (dtype not in told["dtypes"])


def test_large_whole_numbers_go_the_public_way() -> None:
    scorer = scorer_of(fitted("svc"))
    assert {"int64", "int32"} <= set(scorer.scoring()["predict"]["dtypes"])
    _, arrays = asked(scorer, "predict", [[2**60, 1, 1, 1]], checked=True)
    assert not arrays  # labels are text and travel in the header
    header, _ = asked(scorer, "predict", [[5, 3, 1, 0]], checked=True)
    assert header["output"]["values"] == ["setosa"]


def test_models_with_code_of_others_have_no_way() -> None:
    class Mine(SVC):
        def predict(self, X: Any) -> Any:
            return super().predict(X)[::-1]

    assert scorer_of(Mine().fit(X, Y)).scoring()["predict"] == {"path": "public"}
    pipeline = make_pipeline(FunctionTransformer(np.log1p), SVC()).fit(X, Y)
    assert scorer_of(pipeline).scoring()["predict"] == {"path": "public"}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (lambda found: found + 0, True),
        (lambda found: np.nextafter(found, np.inf), False),
        (lambda found: found.astype(np.float32), False),
        (lambda found: found[:1], False),
    ],
)
def test_a_way_that_differs_in_one_bit_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Any], Any], right: bool
) -> None:
    model = fitted("ridge of two")
    usual = shortcut.candidates(model)[1][0][2]
    monkeypatch.setattr(shortcut, "candidates", lambda _: (4, [("predict", "odd", lambda Z: wrong(usual(Z)))]))
    assert ("predict" in ways_of(model)) is right


def test_golden_rows_that_differ_end_a_way(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted("ridge of two")
    usual = shortcut.candidates(model)[1][0][2]
    odd = X[2:3] + 1e-3  # no probe is this row
    monkeypatch.setattr(
        shortcut, "candidates", lambda _: (4, [("predict", "odd", lambda Z: usual(Z) + (odd == Z).all())])
    )
    assert "predict" in ways_of(model)
    scorer = Scorer(model, describe.describe(model, METHODS), wire.arrays_from, wire.Body)
    _, arrays = asked(scorer, "predict", odd, prove=True)
    assert arrays[0].tobytes() == model.predict(odd).tobytes()
    for _ in scorer.prove():
        pass
    assert scorer.scoring()["predict"] == {"path": "public"}


def test_golden_rows_of_methods_that_answer_with_several_things() -> None:
    """A forest's `decision_path` is a sparse matrix and an array of another length."""
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(3, random_state=0).fit(X, X[:, 0] > X[:, 1])
    scorer = Scorer(model, describe.describe(model, METHODS), wire.arrays_from, wire.Body)
    for method in METHODS:
        if hasattr(model, method):
            header, _ = asked(scorer, method, X[:3], prove=True)
            assert header["ok"], (method, header)


def test_what_an_earlier_child_proved_is_taken_over_but_for_golden_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    known = scorer_of(fitted("svc")).scoring()
    monkeypatch.setattr(shortcut_verify, "probes", None)  # not asked again

    def second() -> Scorer:
        return Scorer(fitted("svc"), describe.describe(fitted("svc"), METHODS), wire.arrays_from, wire.Body)

    scorer = second()
    asked(scorer, "predict", X[:3], prove=True)
    for _ in scorer.prove(known):
        pass
    assert scorer.scoring() == known
    scorer = second()
    scorer._golden.append(("predict", X[:1], np.array(["another"])))
    for _ in scorer.prove(known):
        pass
    assert scorer.scoring()["predict"] == {"path": "public"}
    assert scorer.scoring()["decision_function"] == known["decision_function"]


def test_until_the_proof_the_public_method_answers_also_between_its_steps() -> None:
    scorer = Scorer(fitted("forest"), describe.describe(fitted("forest"), METHODS), wire.arrays_from, wire.Body)
    expected = fitted("forest").predict_proba(X[:5]).tobytes()
    for _ in scorer.prove():
        _, arrays = asked(scorer, "predict_proba", X[:5])
        assert arrays[0].tobytes() == expected
    assert scorer.scoring()["predict_proba"]["path"] == "trees"


def test_without_time_for_a_proof_there_is_no_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcut_verify, "PATIENCE_S", 0)
    assert scorer_of(fitted("forest")).scoring()["predict"] == {"path": "public"}


def test_deep_trees_and_many_rows_give_the_same_bits() -> None:
    random = np.random.default_rng(0)
    Z = random.normal(size=(2000, 4))
    model = RandomForestRegressor(20, random_state=0).fit(Z, random.normal(size=2000))
    way = ways_of(model)["predict"]
    for rows in (1, 3, 500):
        assert shortcut_verify.same(model.predict(Z[:rows]), way.call(Z[:rows]))
