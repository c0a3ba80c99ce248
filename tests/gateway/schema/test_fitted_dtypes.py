"""Models fitted on columns that JSON does not have: each gets back the dtype that it was fitted on, or the column is refused by name."""

import datetime
import io
import json
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, TargetEncoder

from gateway.errors import SchemaMismatch
from registry.sample import read_sample as bytes_of
from tests.gateway.schema.test_real_models import served

N = 40
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, N)
HOURS = pd.date_range("2024-01-01", periods=N, freq="h", tz="Europe/Warsaw")

#: name: a column of dtype that JSON has not
COLUMNS: dict[str, Any] = {
    "zoned": pd.Series(HOURS),
    "zoned over a change of offset": pd.Series(
        pd.date_range("2024-03-30 22:00", periods=N, freq="h", tz="Europe/Warsaw")
    ),
    "fixed offset": pd.Series(HOURS.tz_convert("+02:00")),
    "zoned, nanoseconds": pd.Series(HOURS.as_unit("ns") + pd.Timedelta(1, "ns")),
    "naive": pd.Series(HOURS.tz_localize(None)),
    "naive, seconds": pd.Series(HOURS.tz_localize(None).as_unit("s")),
    "period": pd.Series(pd.period_range("2020-01", periods=N, freq="M")),
    "week": pd.Series(pd.period_range("2020-01-06", periods=N, freq="W-SUN")),
    "timedelta": pd.Series(pd.to_timedelta(np.arange(N), unit="min")),
    "interval": pd.Series(pd.interval_range(0, N)),
    "interval of times": pd.Series(pd.interval_range(pd.Timestamp("2024-01-01"), periods=N, freq="D", closed="left")),
    "category of times": pd.Series(pd.Categorical(HOURS)),
    "category of text": pd.Series(pd.Categorical(["abc"[i % 3] for i in range(N)])),
    "ordered category": pd.Series(pd.Categorical(["abc"[i % 3] for i in range(N)], ["c", "b", "a"], ordered=True)),
    "category of integers": pd.Series(pd.Categorical([[7, 1, 5][i % 3] for i in range(N)])),
    "text of arrow": pd.Series(pd.array(["abc"[i % 3] for i in range(N)], "string[pyarrow]")),
    "text of python": pd.Series(pd.array(["abc"[i % 3] for i in range(N)], "string[python]")),
    "boolean": pd.Series(pd.array([i % 2 == 0 for i in range(N)], "boolean")),
    "Int64": pd.Series(pd.array(np.arange(N) % 5, "Int64")),
    "int64": pd.Series(np.arange(N) % 5),
    "int8": pd.Series((np.arange(N) % 5).astype("int8")),
    "float32": pd.Series(np.linspace(0, 1, N).astype("float32")),
    "object": pd.Series(["abc"[i % 3] for i in range(N)], dtype=object),
    "date": pd.Series([datetime.date(2024, 1, 1 + i % 9) for i in range(N)], dtype=object),
    "decimal": pd.Series([Decimal(i % 7) / 10 for i in range(N)], dtype=object),
}
WITH_GAPS = {
    "text of arrow": None,
    "boolean": None,
    "Int64": None,
    "zoned": pd.NaT,
    "period": pd.NaT,
    "timedelta": pd.NaT,
}


def frame_of(name: str) -> pd.DataFrame:
    return pd.DataFrame({"x": COLUMNS[name].copy(), "n": RNG.normal(size=N)})


def sent(frame: pd.DataFrame) -> Any:
    """Rows as a caller writes them."""
    return [
        {
            key: None if pd.isna(value) else value if isinstance(value, str) else written(value)
            for key, value in row.items()
        }
        for row in frame.astype(object).to_dict("records")
    ]


def written(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool | int | float):
        return value
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


def seen(X: pd.DataFrame) -> pd.DataFrame:
    """What somebody's own code makes of a column: all that tells one dtype from another."""
    column = X["x"]
    words = [str(column.dtype), *(f"{type(value).__name__} {value!r}" for value in column.head(1))]
    marks = [float(sum(map(ord, f"{column.dtype} {value!r}"))) for value in column]
    return pd.DataFrame({"mark": marks, "words": float(len(" ".join(words)))})


def hour(X: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"hour": X["x"].dt.hour.astype(float)})


@pytest.mark.parametrize("name", COLUMNS)
def test_an_encoder_meets_the_values_that_it_was_fitted_on(name: str) -> None:
    frame = frame_of(name)
    for encoder in (
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        OrdinalEncoder(),
    ):
        model = make_pipeline(ColumnTransformer([("x", encoder, ["x"])], remainder="passthrough"), Ridge())
        model.fit(frame, np.arange(N))
        got = served(model, sent(frame[5:12]), "predict")
        assert np.allclose(got, model.predict(frame[5:12]), rtol=1e-12)
        assert len(set(got)) > 1


#: Parquet does not keep the categories of these, or has no type for them.
NOT_IN_PARQUET = ("category of times", "category of integers", "decimal")


@pytest.mark.parametrize(
    ("name", "form"),
    [(name, "frame") for name in COLUMNS] + [(name, "parquet") for name in COLUMNS if name not in NOT_IN_PARQUET],
)
def test_own_code_meets_the_dtype_of_the_sample(name: str, form: str) -> None:
    frame = frame_of(name)
    model = make_pipeline(FunctionTransformer(seen), Ridge()).fit(frame, np.arange(N))
    got = served(model, sent(frame[5:12]), "predict", sample_of(frame[:20], form))
    assert np.allclose(got, model.predict(frame[5:12]), rtol=1e-12)


@pytest.mark.parametrize("name", WITH_GAPS)
def test_missing_values_of_pandas_own_dtypes(name: str) -> None:
    frame = frame_of(name)
    frame.loc[[3, 6], "x"] = WITH_GAPS[name]
    model = make_pipeline(FunctionTransformer(seen), Ridge()).fit(frame, np.arange(N))
    got = served(model, sent(frame[5:12]), "predict", sample_of(frame[:20], "frame"))
    assert np.allclose(got, model.predict(frame[5:12]), rtol=1e-12)


def sample_of(frame: pd.DataFrame, form: str) -> tuple[bytes, str]:
    if form == "frame":
        return bytes_of("sample", frame)
    if form == "csv":
        return frame.to_csv(index=False).encode(), "s.csv"
    if form == "json":
        return json.dumps(json.loads(frame.to_json(orient="records", date_format="iso"))).encode(), "s.json"
    stream = io.BytesIO()
    frame.to_parquet(stream)
    return stream.getvalue(), "s.parquet"


def test_zoned_times_must_be_told_with_their_offset_and_any_offset_will_do() -> None:
    frame = frame_of("zoned")
    model = make_pipeline(FunctionTransformer(hour), Ridge()).fit(frame, np.arange(N))
    sample = sample_of(frame[:5], "frame")
    right = model.predict(frame[:1])[0]
    for text in ("2024-01-01T00:00:00+01:00", "2023-12-31T23:00:00Z", "2024-01-01 04:30:00+05:30"):
        assert served(model, [{"x": text, "n": 0.0}], "predict", sample) == pytest.approx([right])
    with pytest.raises(SchemaMismatch, match=r"column 'x'.* have a zone, so their offset from UTC must be given"):
        served(model, [{"x": "2024-01-01T00:00:00", "n": 0.0}], "predict", sample)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_zone_that_a_text_sample_does_not_tell_is_refused_by_name(form: str) -> None:
    frame = frame_of("zoned")
    model = make_pipeline(FunctionTransformer(hour), Ridge()).fit(frame, np.arange(N))
    with pytest.raises(AssertionError, match=r"'kind': 'input'.*column 'x': the sample gives its times as text"):
        served(model, sent(frame[:3]), "predict", sample_of(frame[:5], form))
    # Where the model was fitted on the text itself, it is right.
    texts = frame.assign(x=frame["x"].map(lambda when: when.isoformat()))
    model = make_pipeline(FunctionTransformer(parsed_hour), Ridge()).fit(texts, np.arange(N))
    assert served(model, sent(texts[:3]), "predict", sample_of(texts[:5], form)) == pytest.approx(
        model.predict(texts[:3])
    )


def parsed_hour(X: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"hour": [float(text[11:13]) for text in X["x"]]})


def test_a_dtype_that_the_models_environment_cannot_make_is_refused_by_name() -> None:
    form = {"columns": ["x", "n"], "data": [["a", 0.5]], "dtypes": {"x": {"dtype": "hours[decimal]"}}}
    model = make_pipeline(FunctionTransformer(seen), Ridge()).fit(frame_of("object"), np.arange(N))
    with pytest.raises(
        AssertionError, match=r"column 'x': the dtype hours\[decimal\] .* cannot be made in its environment"
    ):
        served(model, [{"x": "a", "n": 0.5}], "predict", (json.dumps(form).encode(), "s.json"))


def test_what_is_no_category_of_a_sample_is_refused_by_name() -> None:
    frame = frame_of("category of text")
    model = make_pipeline(FunctionTransformer(seen), Ridge()).fit(frame, np.arange(N))
    with pytest.raises(AssertionError, match="column 'x': 'd' is not a category of the model; it knows a, b, c"):
        served(model, [{"x": "d", "n": 0.0}], "predict", sample_of(frame, "frame"))


@pytest.mark.parametrize(
    ("name", "text"), [("period", "soon"), ("timedelta", "soon"), ("interval", "soon"), ("interval", "[0, 1]")]
)
def test_text_that_is_no_value_of_the_column_is_refused_by_name(name: str, text: str) -> None:
    model = make_pipeline(ColumnTransformer([("x", OrdinalEncoder(), ["x"])]), Ridge()).fit(
        frame_of(name), np.arange(N)
    )
    with pytest.raises(AssertionError, match=r"'kind': 'input'.*column 'x'"):
        served(model, [{"x": text, "n": 0.0}], "predict")


def test_objects_that_json_does_not_have() -> None:
    keys = [uuid.UUID(int=i % 4) for i in range(N)]
    frame = pd.DataFrame({"x": pd.Series(keys, dtype=object), "n": RNG.normal(size=N)})
    model = make_pipeline(
        ColumnTransformer([("x", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["x"])]), Ridge()
    )
    model.fit(frame, np.arange(N))
    assert np.allclose(served(model, sent(frame[:8]), "predict"), model.predict(frame[:8]))
    own = make_pipeline(FunctionTransformer(seen), Ridge()).fit(frame, np.arange(N))
    with pytest.raises(AssertionError, match="column 'x': it held objects of the type UUID"):
        served(own, sent(frame[:8]), "predict", sample_of(frame[:5], "frame"))


EMPTY: dict[str, Any] = {"None": None, "NaN": np.nan}
STEPS: dict[str, Any] = {
    "one hot": lambda: OneHotEncoder(handle_unknown="ignore"),
    "one hot, closed": OneHotEncoder,
    "ordinal": lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-9, encoded_missing_value=-1),
}


#: scikit-learn's imputer turns None into NaN where it converts an array.
IMPUTED: dict[str, Any] = {
    "none imputed": lambda: make_pipeline(
        SimpleImputer(missing_values=None, strategy="constant", fill_value="Bern"), OneHotEncoder()
    )
}
CASES = [(step, empty, as_array) for step in STEPS for empty in EMPTY for as_array in (False, True)]


@pytest.mark.parametrize(("step", "empty", "as_array"), [*CASES, ("none imputed", "None", False)])
def test_null_is_what_the_encoder_was_fitted_with(step: str, empty: str, as_array: bool) -> None:
    rows = pd.DataFrame({"city": pd.Series(["Rome", "Oslo", EMPTY[empty]] * 20, dtype=object)})
    X: Any = rows.to_numpy(object) if as_array else rows
    columns: Any = [0] if as_array else ["city"]
    model = make_pipeline(ColumnTransformer([("c", (STEPS | IMPUTED)[step](), columns)]), LogisticRegression()).fit(
        X, [1, 0, 1] * 20
    )
    data = [["Oslo"], [None]] if as_array else [{"city": "Oslo"}, {"city": None}]
    assert np.allclose(served(model, data, "predict_proba"), model.predict_proba(X[1:3]))


@pytest.mark.parametrize("empty", EMPTY)
def test_own_code_gets_none_or_nan_as_the_sample_had_it(empty: str) -> None:
    frame = pd.DataFrame({"x": pd.Series(["Rome", "Oslo", EMPTY[empty]] * 20, dtype=object)})
    model = make_pipeline(FunctionTransformer(seen), Ridge()).fit(frame, np.arange(60))
    got = served(model, sent(frame[:6]), "predict", sample_of(frame[:9], "frame"))
    assert np.allclose(got, model.predict(frame[:6]))


def test_categories_of_the_gradient_boosting_of_scikit_learn() -> None:
    frame = frame_of("category of text").assign(k=pd.Categorical(np.arange(N) % 4))
    model = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=1, categorical_features="from_dtype").fit(
        frame, LABELS
    )
    assert np.allclose(served(model, sent(frame[:9]), "predict_proba"), model.predict_proba(frame[:9]))


@pytest.mark.parametrize("unit", ["D", "s", "us", "ns"])
def test_an_array_of_times(unit: str) -> None:
    X = np.array(["2024-01-01", "2024-01-02", "2024-01-03"] * 20, f"datetime64[{unit}]").reshape(-1, 1)
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(X, [0, 1, 1] * 20)
    data = [["2024-01-01"], ["2024-01-03T00:00:00"]]
    assert np.allclose(served(model, data, "predict_proba"), model.predict_proba(X[[0, 2]]))


def test_a_target_encoder_takes_missing_and_unknown_values() -> None:
    frame = pd.DataFrame({"d": pd.Series(["a", None, "b"] * 20, dtype=object)})
    model = make_pipeline(TargetEncoder(), LogisticRegression()).fit(frame, [0, 1, 1] * 20)
    rows = pd.DataFrame({"d": pd.Series(["a", None, "never seen"], dtype=object)})
    assert np.allclose(served(model, sent(rows), "predict_proba"), model.predict_proba(rows))
