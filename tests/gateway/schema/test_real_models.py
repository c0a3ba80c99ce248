"""Fitted scikit-learn models from JSON to JSON without a process: description, schema, dialect, wire and scorer agree."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from openapi_schema_validator import OAS31Validator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.image import PatchExtractor
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, MultiLabelBinarizer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC

from gateway.dataplane.collate import join
from gateway.errors import SchemaMismatch
from gateway.http.openapi import swagger
from gateway.protocols.azure import Azure
from gateway.schema.infer import schema_for
from gateway.schema.methods import METHODS
from gateway.schema.samples import read_sample
from gateway.schema.schema import ModelSchema
from gateway.types import ArrayInput, ColumnsInput, FrameResult, ScoreResult, Table, Target
from gateway.worker.describe import describe
from gateway.worker.scoring import Scorer
from gateway.worker.wire import Body, FrameReader, arrays_from, encode_frame
from tests.gateway.protocols.wire import call

azure = Azure()

# The child is quiet about it: names are checked before they come there.
pytestmark = [
    pytest.mark.filterwarnings("ignore:X does not have valid feature names"),
    pytest.mark.filterwarnings("ignore:divide by zero encountered in log"),
]


def over_the_wire(header: Any, arrays: Any) -> Any:
    reader = FrameReader()
    (frame,) = [frame for part in encode_frame(header, arrays) for frame in reader.feed(part)]
    return frame


def target_of(model: Any, sample: tuple[bytes, str] | None = None) -> Target:
    told = None if sample is None else read_sample(*sample).told()
    description = json.loads(json.dumps(describe(model, METHODS, (), told)))
    schema = json.loads(json.dumps(schema_for(description, *(sample or ()))))
    return Target("m", 1, tuple(description["methods"]), description, ModelSchema.from_json(schema))


def served(model: Any, data: Any, method: str, sample: tuple[bytes, str] | None = None) -> Any:
    """What a caller who sends `data` gets, or the error of the child."""
    target = target_of(model, sample)
    request = azure.parse(call({"data": data, "method": method}), target)
    inputs, body = join([request]), Body()
    if isinstance(inputs, ArrayInput):
        given: dict[str, Any] = {"kind": "array", "array": body.add(inputs.array)}
    elif isinstance(inputs, ColumnsInput):
        given = {"kind": "columns", "names": inputs.names, "columns": [body.add(column) for column in inputs.columns]}
    else:
        assert inputs is not None
        given = {"kind": "list", "values": inputs.values}
    header, content = over_the_wire({"id": 1, "method": method, "input": given}, body.arrays)
    scorer = Scorer(model, dict(target.description), arrays_from, Body)
    answer, arrays, _ = scorer.answer(header, content)
    answer, content = over_the_wire(answer, arrays)
    assert answer["ok"], str(answer)
    output = arrays_from(answer["output"], content)
    if type(output).__name__ == "Table":
        output = Table(tuple(output.names), output.array)
    return json.loads(azure.format(request, ScoreResult(FrameResult(output, 1), 0, -1), target))[method]


def local(answer: Any) -> Any:
    """The model's own answer as JSON has it."""
    if hasattr(answer, "toarray"):
        answer = answer.toarray()
    if isinstance(answer, pd.DataFrame):
        answer = answer.to_numpy()
    if isinstance(answer, np.ndarray):
        return local(answer.tolist())
    if isinstance(answer, list | tuple):
        return [local(part) for part in answer]
    return None if isinstance(answer, float) and not np.isfinite(answer) else answer


RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4))
HOLES = np.where(RNG.random((50, 4)) > 0.9, np.nan, X)
Y = RNG.integers(0, 2, 50)
LABELS = np.array(["nein", "ja"])[Y]
FRAME = pd.DataFrame(X, columns=list("abcd"))
MIXED = pd.DataFrame(
    {"age": RNG.integers(18, 80, 50) / 2, "town": RNG.choice(["Bern", "Rome", "Oslo"], 50), "ok": X[:, 0] > 0}
)
MIXED.loc[3, "age"] = np.nan
MIXED.loc[5, "town"] = np.nan
TOWNS = MIXED[["town"]].fillna("Oslo")
TEXTS = ["buy cheap now", "hello friend", "cheap pills", "see you, friend"] * 5
RECORDS = [{"a": 1, "b": "x"}, {"a": 2.5}, {"b": "y"}] * 4


def mixed() -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    return ColumnTransformer([("n", numbers, ["age"]), ("w", words, ["town"]), ("p", "passthrough", ["ok"])])


def records(frame: pd.DataFrame) -> Any:
    return json.loads(frame.astype(object).where(frame.notna(), None).to_json(orient="records", double_precision=15))


MODELS: dict[str, tuple[Any, Any, Any]] = {  # name: model, JSON, what the model gets locally
    "columns of all kinds": (make_pipeline(mixed(), LogisticRegression()).fit(MIXED, LABELS), records(MIXED), MIXED),
    "shuffled columns": (mixed().fit(MIXED), records(MIXED[["ok", "town", "age"]]), MIXED),
    "numbers by name": (
        make_pipeline(StandardScaler(), SVC()).fit(FRAME, Y),
        FRAME[list("dcba")].to_dict("records"),
        FRAME,
    ),
    "pandas output": (StandardScaler().set_output(transform="pandas").fit(FRAME), FRAME.to_dict("records"), FRAME),
    "texts": (make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, [1, 0] * 10), TEXTS, TEXTS),
    "sparse": (HashingVectorizer(n_features=64), TEXTS, TEXTS),
    "records": (make_pipeline(DictVectorizer(), LogisticRegression()).fit(RECORDS, [0, 1, 0] * 4), RECORDS, RECORDS),
    "labels": (LabelEncoder().fit(LABELS), LABELS.tolist(), LABELS),
    "label sets": (MultiLabelBinarizer().fit([["a", "b"], ["c"]]), [["a"], ["b", "c"]], [["a"], ["b", "c"]]),
    "text in an array": (
        OneHotEncoder().fit(TOWNS.to_numpy(object)),
        TOWNS.to_numpy().tolist(),
        TOWNS.to_numpy(object),
    ),
    "text in a frame": (OneHotEncoder().fit(TOWNS), TOWNS.to_dict("records"), TOWNS),
    "numeric categories": (OrdinalEncoder().fit([[1, 2], [3, 4]]), [[3, 2]], np.array([[3, 2]])),
    "holes": (HistGradientBoostingClassifier(max_iter=5).fit(HOLES, Y), local(HOLES), HOLES),
    "several outputs": (RandomForestClassifier(5).fit(X, np.c_[LABELS, LABELS]), X.tolist(), X),
    "a search": (GridSearchCV(SVC(), {"C": [1, 2]}).fit(X, LABELS), X.tolist(), X),
    "neighbours": (KNeighborsClassifier().fit(X, LABELS), X.tolist(), X),
    "one feature": (IsotonicRegression().fit(X[:, 0], Y), X[:, :1].tolist(), X[:, :1]),
    "images": (PatchExtractor(patch_size=(2, 2)), X.reshape(2, 10, 10).tolist(), X.reshape(2, 10, 10)),
    "10,000 features": (
        LinearRegression().fit(RNG.random((3, 10_000)), [1, 2, 3]),
        [[0.5] * 10_000],
        np.full((1, 10_000), 0.5),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_method_answers_as_the_model_itself_does(name: str) -> None:
    model, data, given = MODELS[name]
    methods = [method for method in target_of(model).methods if method != "inverse_transform"]
    assert methods
    for method in methods:
        assert served(model, data, method) == local(getattr(model, method)(given)), method


@pytest.mark.parametrize("name", MODELS)
def test_bodies_and_answers_are_as_the_documents_say(name: str) -> None:
    model, data, _ = MODELS[name]
    target = target_of(model)
    schemas = swagger(target, "3.1")["components"]["schemas"]
    takes, gives = (OAS31Validator(schemas[key]) for key in ("ServiceInput", "ServiceOutput"))
    for method in [method for method in target.methods if method != "inverse_transform"]:
        takes.validate({"data": data, "method": method})
        gives.validate({method: served(model, data, method)})


@pytest.mark.parametrize("name", MODELS)
def test_the_documented_example_is_answered(name: str) -> None:
    model, _, _ = MODELS[name]
    document = swagger(target_of(model), "3.1")["components"]["schemas"]["ServiceInput"]
    if "example" in document:  # some tell no more than how many numbers they want, or not even that
        served(model, document["example"]["data"], target_of(model).methods[0])


def test_what_a_transformer_gave_can_be_sent_back() -> None:
    for name in ("labels", "numeric categories", "text in a frame"):
        model, data, _ = MODELS[name]
        there = served(model, data, "transform")
        back = served(model, there, "inverse_transform")
        assert local(back) == local(model.inverse_transform(np.array(there)))


def test_a_missing_value_that_a_later_step_refuses_is_refused_with_its_column() -> None:
    parts = ColumnTransformer([("n", StandardScaler(), ["age"]), ("w", OneHotEncoder(), ["town"])])
    whole = MIXED[["age", "town"]].dropna()
    model = make_pipeline(parts, LogisticRegression()).fit(whole, Y[whole.index])
    for row, column in (({"age": None, "town": "Bern"}, "age"), ({"age": 1, "town": None}, "town")):
        with pytest.raises(SchemaMismatch, match=f"row 0, column '{column}'.* is missing"):
            served(model, [row], "predict")
