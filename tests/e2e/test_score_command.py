"""`fitserve score` with files larger than one request, against a real gateway with a small limit for bodies."""

import json
import subprocess
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from tests.e2e.gateway import ENVIRONMENT, FITSERVE, fitserve, serving
from tests.e2e.models import iris_svc


def test_a_large_file_goes_in_parts_that_the_gateway_takes(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(3_000, 4))
    model = LinearRegression().fit(rows, rows @ [1.0, 2.0, 3.0, 4.0])
    joblib.dump(model, tmp_path / "model.joblib")
    np.save(tmp_path / "rows.npy", rows)
    workspace = tmp_path / "ws"
    assert fitserve("register", str(tmp_path / "model.joblib"), "--name", "m", workspace=workspace).returncode == 0
    with serving(workspace, "--body-limit-mb", "0.05") as gateway:
        gateway.wait_for("m")
        out = tmp_path / "out.csv"
        done = fitserve("score", "m", str(tmp_path / "rows.npy"), "--output", str(out), workspace=workspace)
        assert done.returncode == 0, done.stderr
        assert "3,000 rows answered" in done.stderr
        assert np.allclose(np.loadtxt(out, skiprows=1), model.predict(rows), rtol=1e-12)
        shown = fitserve("score", "m", "[[1, 1, 1, 1]]", workspace=workspace)
        assert np.allclose(json.loads(shown.stdout)["predict"], model.predict([[1, 1, 1, 1]]))
        refused = fitserve("score", "m", "[[1, 1, 1, 1]]", "--output", "answers.txt", workspace=workspace)
        assert refused.returncode == 2
        assert ".csv" in refused.stderr


def test_parquet_is_a_sample_and_the_file_that_is_scored_and_written(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "town": ["Bern", "Oslo", None, "Bern"] * 10,
            "at": pd.date_range("2026-01-01", periods=40, freq="7h").astype("datetime64[ms]"),
            "size": [1.5, None, 3.0, 4.0] * 10,
        }
    )
    year = FunctionTransformer(pd.DataFrame.astype, kw_args={"dtype": "int64"})
    columns = ColumnTransformer(
        [("town", OneHotEncoder(), ["town"]), ("at", year, ["at"]), ("size", SimpleImputer(), ["size"])]
    )
    model = make_pipeline(columns, LinearRegression()).fit(frame, np.arange(40.0))
    joblib.dump(model, tmp_path / "model.joblib")
    frame.to_parquet(tmp_path / "rows.parquet")
    workspace, rows, out = tmp_path / "ws", str(tmp_path / "rows.parquet"), tmp_path / "out.parquet"
    register = ("register", str(tmp_path / "model.joblib"), "--name", "m", "--sample", rows)
    assert fitserve(*register, workspace=workspace).returncode == 0
    with serving(workspace) as gateway:
        gateway.wait_for("m")
        done = fitserve("score", "m", rows, "--rows", "7", "--output", str(out), workspace=workspace)
        assert done.returncode == 0, done.stderr
        assert np.allclose(pd.read_parquet(out)["predict"], model.predict(frame), rtol=1e-9)
        document = gateway.http.get("/models/m/swagger.json?version=3").json()
    assert document["components"]["schemas"]["ServiceInput"]["example"]["data"][0]["town"] == "Bern"


def test_a_sample_that_cannot_be_read_is_refused_before_anything_is_stored(tmp_path: Path) -> None:
    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), tmp_path / "model.joblib")
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "good.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    register = ("register", str(tmp_path / "model.joblib"), "--name", "m", "--sample")
    refused = fitserve(*register, str(tmp_path / "bad.json"), workspace=tmp_path / "ws")
    assert refused.returncode != 0
    assert "the sample bad.json cannot be used" in refused.stderr
    assert "m" not in fitserve("models", "--json", workspace=tmp_path / "ws").stdout
    assert fitserve(*register, str(tmp_path / "good.jsonl"), workspace=tmp_path / "ws").returncode == 0


def test_a_csv_without_a_header_keeps_its_first_row_on_every_way(tmp_path: Path) -> None:
    """A file, a pipe, text/csv over HTTP and a sample; and a first line that is said to be a header, or none."""
    rows = tmp_path / "rows.csv"
    rows.write_text("5.1,3.5,1.4,0.2\n6.0,3.0,5.0,2.0\n5.1,3.5,1.4,0.2\n")
    words = tmp_path / "words.csv"
    words.write_text("red\nblue\n")
    texts = make_pipeline(CountVectorizer(), LogisticRegression()).fit(["red", "blue"], [0, 1])
    joblib.dump(texts, tmp_path / "texts.joblib")
    workspace, out = tmp_path / "ws", tmp_path / "out.csv"
    register = ("register", str(iris_svc(tmp_path)), "--name", "iris", "--sample", str(rows))
    assert fitserve(*register, workspace=workspace).returncode == 0
    assert fitserve("register", str(tmp_path / "texts.joblib"), "--name", "texts", workspace=workspace).returncode == 0
    with serving(workspace) as gateway:
        gateway.wait_for("iris")
        gateway.wait_for("texts")
        assert len(gateway.http.get("/models/iris").json()["schema"]["example"]) == 3
        assert json.loads(fitserve("score", "iris", str(rows), workspace=workspace).stdout) == {"predict": [0, 2, 0]}
        piped = subprocess.run(
            [*FITSERVE, "--workspace", str(workspace), "score", "iris", "-", "-o", str(out)],
            input=b"\xef\xbb\xbf5,1;3,5;1,4;0,2\r\n6,0;3,0;5,0;2,0\r\n",
            env=ENVIRONMENT,
            capture_output=True,
            timeout=60,
        )
        assert (piped.returncode, b"2 rows answered" in piped.stderr) == (0, True), piped.stderr
        assert out.read_text().split() == ["predict", "0", "2"]
        guessed = fitserve("score", "texts", str(words), "--method", "predict", workspace=workspace)
        assert json.loads(guessed.stdout) == {"predict": [1]}
        assert "note: the first line is taken as the header: red; --header or --no-header" in guessed.stderr
        told = fitserve("score", "texts", str(words), "--method", "predict", "--no-header", workspace=workspace)
        assert (json.loads(told.stdout), told.stderr) == ({"predict": [0, 1]}, "")
        for parameter, answers in (("absent", [0, 1]), ("present", [1])):
            headers = {"content-type": f"text/csv; header={parameter}"}
            answer = gateway.http.post("/models/texts/invocations", content=words.read_bytes(), headers=headers)
            assert answer.json() == {"predictions": answers}
