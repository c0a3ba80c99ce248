"""Models as people keep them: files, dicts and tuples, each with the chain that its owner writes by hand, or why it is refused."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import GradientBoostingRegressor, IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    LabelEncoder,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC

from registry.composition.search import Choices

random = np.random.default_rng(7)
N = 240
HOUSES = pd.DataFrame(
    {
        "rooms": random.integers(1, 7, N),
        "area": random.normal(90, 30, N),
        "age": random.integers(0, 80, N),
        "floor": random.integers(0, 9, N),
    }
)
PRICE = (HOUSES.rooms * 20 + HOUSES.area - HOUSES.age / 3 + random.normal(size=N)).to_numpy()
DEAR = (np.median(PRICE) < PRICE).astype(int)
CLIENTS = pd.DataFrame(
    {
        "city": random.choice(["Lodz", "Oslo", "Turin"], N),
        "plan": random.choice(["a", "b"], N),
        "paid": random.choice(["no", "yes"], N),
        "months": random.integers(1, 60, N),
        "charge": random.normal(50, 9, N),
    }
)
LEFT = ((CLIENTS.months < 20) ^ (CLIENTS["plan"] == "b")).astype(int).to_numpy()
WIDE = pd.DataFrame(random.normal(size=(N, 12)), columns=[f"m{i}" for i in range(12)])
TURN = (WIDE.m0 + WIDE.m3 > 0).astype(int).to_numpy()
PIXELS = random.integers(0, 255, (N, 64)).astype(float)
DIGIT = (PIXELS[:, 0] // 64).astype(int)
TEXTS = ["cheap pills now", "meeting at noon", "win cash now", "lunch at noon tomorrow"] * 20
KINDS = ["spam", "work", "spam", "work"] * 20

Answer = Callable[[Any], Any]


@dataclass
class Shape:
    """`files` go into a folder; `rows` is what a caller gives; `right` computes the owner's answer to them.

    A refusal has `words` that its sentence must hold.
    """

    files: dict[str, Any]
    rows: Any = None
    method: str = "predict"
    right: Answer | None = None
    words: tuple[str, ...] = ()
    choices: Choices = field(default_factory=Choices)
    names: list[str] | None = None

    def save(self, folder: Path) -> None:
        for name, value in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".json"):
                path.write_text(json.dumps(value))
            elif isinstance(value, bytes):
                path.write_bytes(value)
            else:
                joblib.dump(value, path)


def shapes() -> dict[str, Shape]:
    """All of them, fitted now."""
    found: dict[str, Shape] = {}
    house, client, wide, pixel = HOUSES[:3], CLIENTS[:3], WIDE[:3], PIXELS[:3]
    array = HOUSES.to_numpy()

    named = StandardScaler().fit(HOUSES)
    plain = StandardScaler().fit(array)
    forest = RandomForestClassifier(10, random_state=0).fit(named.transform(HOUSES), DEAR)
    found["scaler with names, model without"] = Shape(
        {"model.pkl": forest, "scaler.pkl": named},
        house,
        "predict_proba",
        lambda r: forest.predict_proba(named.transform(r)),
    )
    found["scaler without names, model without"] = Shape(
        {"model.pkl": (m := LogisticRegression().fit(plain.transform(array), DEAR)), "scaler.pkl": plain},
        house.to_numpy(),
        "predict_proba",
        lambda r: m.predict_proba(plain.transform(r)),
    )
    back = pd.DataFrame(plain.transform(array), columns=HOUSES.columns)
    found["scaler without names, model with the names put back"] = Shape(
        {"model.pkl": (mb := LogisticRegression().fit(back, DEAR)), "scaler.pkl": plain},
        house,
        "predict",
        lambda r: mb.predict(pd.DataFrame(plain.transform(r.to_numpy()), columns=HOUSES.columns)),
    )
    found["names in a list"] = Shape(
        {"model.pkl": m, "scaler.pkl": plain, "features.pkl": list(HOUSES.columns)},
        house,
        "predict_proba",
        lambda r: m.predict_proba(plain.transform(r.to_numpy())),
        names=list(HOUSES.columns),
    )
    found["names in a JSON file"] = Shape(
        {"model.pkl": m, "scaler.pkl": plain, "columns.json": list(HOUSES.columns)},
        house,
        "predict_proba",
        lambda r: m.predict_proba(plain.transform(r.to_numpy())),
        names=list(HOUSES.columns),
    )
    found["names as an Index"] = Shape(
        {"model.pkl": m, "scaler.pkl": plain, "columns.pkl": HOUSES.columns},
        house,
        "predict",
        lambda r: m.predict(plain.transform(r.to_numpy())),
        names=list(HOUSES.columns),
    )
    found["the same names twice"] = Shape(
        {"model.pkl": m, "scaler.pkl": plain, "columns.pkl": HOUSES.columns, "features.pkl": list(HOUSES.columns)},
        house,
        "predict",
        lambda r: m.predict(plain.transform(r.to_numpy())),
        names=list(HOUSES.columns),
    )

    vectorizer = TfidfVectorizer().fit(TEXTS)
    encoder = LabelEncoder().fit(KINDS)
    bayes = MultinomialNB().fit(vectorizer.transform(TEXTS), encoder.transform(KINDS))
    found["vectorizer, model, labels"] = Shape(
        {"model.pkl": bayes, "vectorizer.pkl": vectorizer, "label_encoder.pkl": encoder},
        TEXTS[:3],
        "predict",
        lambda r: encoder.inverse_transform(bayes.predict(vectorizer.transform(r))),
    )
    said = MultinomialNB().fit(vectorizer.transform(TEXTS), KINDS)
    found["labels that the model answers by itself"] = Shape(
        {"model.pkl": said, "vectorizer.pkl": vectorizer, "label_encoder.pkl": encoder},
        TEXTS[:3],
        "predict",
        lambda r: said.predict(vectorizer.transform(r)),
    )
    count = CountVectorizer().fit(TEXTS)
    tfidf = TfidfTransformer().fit(count.transform(TEXTS))
    counted = MultinomialNB().fit(tfidf.transform(count.transform(TEXTS)), KINDS)
    found["counts, weights, model"] = Shape(
        {"clf.pkl": counted, "count_vect.pkl": count, "tfidf.pkl": tfidf},
        TEXTS[:3],
        "predict_proba",
        lambda r: counted.predict_proba(tfidf.transform(count.transform(r))),
    )
    svd = TruncatedSVD(3, random_state=0).fit(vectorizer.transform(TEXTS))
    near = KNeighborsClassifier(3).fit(svd.transform(vectorizer.transform(TEXTS)), KINDS)
    found["vectorizer, reduction, neighbours"] = Shape(
        {"knn.pkl": near, "svd.pkl": svd, "tfidf_vectorizer.pkl": vectorizer},
        TEXTS[:3],
        "predict",
        lambda r: near.predict(svd.transform(vectorizer.transform(r))),
    )

    before = ColumnTransformer(
        [("o", OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]), ("n", MinMaxScaler(), ["months", "charge"])]
    ).fit(CLIENTS.drop(columns="paid"))
    ridge = Ridge().fit(before.transform(CLIENTS), CLIENTS.charge)
    found["preprocessor and model"] = Shape(
        {"preprocessor.pkl": before, "model.pkl": ridge},
        client,
        "predict",
        lambda r: ridge.predict(before.transform(r)),
    )
    found["preprocessor, model and files beside them"] = Shape(
        {
            "preprocessor.pkl": before,
            "model.pkl": ridge,
            "metrics.json": {"r2": 0.9},
            "accuracy.pkl": 0.93,
            "train.csv": b"a,b\n1,2\n",
        },
        client,
        "predict",
        lambda r: ridge.predict(before.transform(r)),
    )
    boosted = GradientBoostingRegressor(random_state=0).fit(before.transform(CLIENTS), CLIENTS.charge)
    pipe = make_pipeline(before, boosted)
    found["preprocessor in a pipeline of one file, in a dict"] = Shape(
        {"bundle.pkl": {"model": pipe, "score": 0.9}}, client, "predict", pipe.predict
    )

    coded = CLIENTS.copy()
    encoders = {column: LabelEncoder().fit(CLIENTS[column]) for column in ("city", "plan", "paid")}
    for column, each in encoders.items():
        coded[column] = each.transform(CLIENTS[column])
    trees = RandomForestClassifier(10, random_state=0).fit(coded, LEFT)

    def by_columns(rows: Any) -> Any:
        rows = rows.copy()
        for column, each in encoders.items():
            rows[column] = each.transform(rows[column])
        return rows

    found["encoders by column"] = Shape(
        {"model.pkl": trees, "encoders.pkl": encoders},
        client,
        "predict_proba",
        lambda r: trees.predict_proba(by_columns(r)),
    )
    found["encoders by column with the target's"] = Shape(
        {"model.pkl": trees, "encoders.pkl": {**encoders, "left": LabelEncoder().fit(["gone", "here"])}},
        client,
        "predict",
        lambda r: np.array(["gone", "here"])[trees.predict(by_columns(r))],
    )
    found["encoders in files named by their columns"] = Shape(
        {"model.pkl": trees, **{f"le_{column}.pkl": each for column, each in encoders.items()}},
        client,
        "predict",
        lambda r: trees.predict(by_columns(r)),
    )
    some = StandardScaler().fit(coded[["months", "charge"]])

    def scaled(rows: Any) -> Any:
        rows = by_columns(rows)
        rows[["months", "charge"]] = some.transform(rows[["months", "charge"]])
        return rows

    churn = LogisticRegression().fit(scaled(CLIENTS), LEFT)
    found["encoders by column and a scaler of some"] = Shape(
        {"churn_model.pkl": churn, "label_encoders.pkl": encoders, "scaler.pkl": some},
        client,
        "predict_proba",
        lambda r: churn.predict_proba(scaled(r)),
    )
    some_plain = StandardScaler().fit(coded[["months", "charge"]].to_numpy())
    found["a scaler of some without names, and their list"] = Shape(
        {"model.pkl": churn, "encoders.pkl": encoders, "scaler.pkl": some_plain, "num_cols.pkl": ["months", "charge"]},
        client,
        "predict_proba",
        lambda r: churn.predict_proba(scaled(r)),
    )
    tables = {"paid": {"no": 0, "yes": 1}, "plan": {"a": 0, "b": 1}, "city": {"Lodz": 0, "Oslo": 1, "Turin": 2}}
    found["tables of values in a file"] = Shape(
        {"model.pkl": trees, "maps.pkl": tables}, client, "predict", lambda r: trees.predict(by_columns(r))
    )
    found["tables of values given"] = Shape(
        {"model.pkl": trees}, client, "predict", lambda r: trees.predict(by_columns(r)), choices=Choices(maps=tables)
    )
    ordinal = OrdinalEncoder().fit(CLIENTS[["city", "plan", "paid"]])
    ranked = CLIENTS.copy()
    ranked[["city", "plan", "paid"]] = ordinal.transform(CLIENTS[["city", "plan", "paid"]])
    ranks = RandomForestClassifier(10, random_state=0).fit(ranked.astype(float), LEFT)

    def by_rank(rows: Any) -> Any:
        rows = rows.copy()
        rows[["city", "plan", "paid"]] = ordinal.transform(rows[["city", "plan", "paid"]])
        return rows.astype(float)

    found["an ordinal encoder of some"] = Shape(
        {"model.pkl": ranks, "encoder.pkl": ordinal}, client, "predict_proba", lambda r: ranks.predict_proba(by_rank(r))
    )
    dummies = pd.get_dummies(CLIENTS[["city", "months", "charge"]])
    one_hot = LogisticRegression(max_iter=500).fit(dummies.to_numpy(float), LEFT)
    found["dummies and their columns"] = Shape(
        {"model.pkl": one_hot, "columns.pkl": list(dummies.columns)},
        client[["city", "months", "charge"]],
        "predict_proba",
        lambda r: one_hot.predict_proba(dummies[: len(r)].to_numpy(float)),
        choices=Choices(dummies=["city"]),
        names=["city", "months", "charge"],
    )
    framed = LogisticRegression(max_iter=500).fit(dummies.astype(float), LEFT)
    found["dummies, and a model that knows their names"] = Shape(
        {"model.pkl": framed},
        client[["city", "months", "charge"]],
        "predict_proba",
        lambda r: framed.predict_proba(dummies[: len(r)].astype(float)),
        choices=Choices(dummies=["city"]),
    )

    chosen = SelectKBest(k=6).fit(WIDE, TURN)
    z = StandardScaler().fit(chosen.transform(WIDE))
    q = PCA(3).fit(z.transform(chosen.transform(WIDE)))
    last = RandomForestClassifier(10, random_state=0).fit(q.transform(z.transform(chosen.transform(WIDE))), TURN)
    found["four steps by width"] = Shape(
        {"model.pkl": last, "pca.pkl": q, "scaler.pkl": z, "selector.pkl": chosen},
        wide,
        "predict_proba",
        lambda r: last.predict_proba(q.transform(z.transform(chosen.transform(r)))),
    )
    poly = PolynomialFeatures(2).fit(array)
    line = LinearRegression().fit(poly.transform(array), PRICE)
    found["polynomial and line"] = Shape(
        {"poly_reg.pkl": poly, "lin_reg.pkl": line},
        house.to_numpy(),
        "predict",
        lambda r: line.predict(poly.transform(r)),
    )
    image = PCA(5, random_state=0).fit(PIXELS)
    digits = SVC().fit(image.transform(PIXELS), DIGIT)
    found["images as flat arrays"] = Shape(
        {"svm.pkl": digits, "pca.pkl": image}, pixel, "predict", lambda r: digits.predict(image.transform(r))
    )
    groups = KMeans(3, n_init=2, random_state=0).fit(plain.transform(array))
    found["scaler and clusters"] = Shape(
        {"kmeans.pkl": groups, "scaler.pkl": plain},
        house.to_numpy(),
        "predict",
        lambda r: groups.predict(plain.transform(r)),
    )
    odd = IsolationForest(n_estimators=10, random_state=0).fit(plain.transform(array))
    found["scaler and outliers"] = Shape(
        {"iso.pkl": odd, "scaler.pkl": plain},
        house.to_numpy(),
        "decision_function",
        lambda r: odd.decision_function(plain.transform(r)),
    )
    kept = VarianceThreshold().fit(np.column_stack([array, np.ones(N)]))
    five = LogisticRegression(max_iter=500).fit(kept.transform(np.column_stack([array, np.ones(N)])), DEAR)
    found["a selector that drops one"] = Shape(
        {"sel.pkl": kept, "model.pkl": five},
        np.column_stack([array, np.ones(N)])[:3],
        "predict",
        lambda r: five.predict(kept.transform(r)),
    )

    sx, sy = StandardScaler().fit(HOUSES), StandardScaler().fit(PRICE[:, None])
    y = Ridge().fit(sx.transform(HOUSES), sy.transform(PRICE[:, None]).ravel())
    found["scaled target"] = Shape(
        {"model.pkl": y, "scaler_X.pkl": sx, "scaler_y.pkl": sy},
        house,
        "predict",
        lambda r: sy.inverse_transform(y.predict(sx.transform(r))[:, None]).ravel(),
    )
    logs = Ridge().fit(array, np.log1p(np.abs(PRICE)))
    found["a model of logarithms"] = Shape(
        {"model.pkl": logs},
        house.to_numpy(),
        "predict",
        lambda r: np.expm1(logs.predict(r)),
        choices=Choices(after="numpy:expm1"),
    )
    found["a dict of all"] = Shape(
        {
            "bundle.pkl": {
                "model": m,
                "scaler": plain,
                "features": list(HOUSES.columns),
                "threshold": 0.3,
                "accuracy": 0.9,
            }
        },
        house,
        "predict_proba",
        lambda r: m.predict_proba(plain.transform(r.to_numpy())),
        names=list(HOUSES.columns),
    )
    found["a tuple"] = Shape(
        {"both.pkl": (vectorizer, said)}, TEXTS[:3], "predict", lambda r: said.predict(vectorizer.transform(r))
    )
    found["a list"] = Shape(
        {"both.pkl": [plain, m]}, house.to_numpy(), "predict", lambda r: m.predict(plain.transform(r))
    )
    found["a dict beside a file"] = Shape(
        {"model.pkl": m, "preprocess.pkl": {"scaler": plain, "columns": list(HOUSES.columns)}},
        house,
        "predict",
        lambda r: m.predict(plain.transform(r.to_numpy())),
        names=list(HOUSES.columns),
    )
    found["labels given"] = Shape(
        {"scaler.pkl": named, "model.pkl": forest},
        house,
        "predict",
        lambda r: np.array(["cheap", "dear"])[forest.predict(named.transform(r))],
        choices=Choices(labels=["cheap", "dear"]),
    )
    found["a threshold given"] = Shape(
        {"scaler.pkl": named, "model.pkl": forest},
        HOUSES[:50],
        "predict",
        lambda r: (forest.predict_proba(named.transform(r))[:, 1] >= 0.8).astype(int),
        choices=Choices(threshold=0.8),
    )
    robust = RobustScaler().fit(HOUSES)
    twice = RandomForestClassifier(10, random_state=0).fit(named.transform(robust.transform(HOUSES)), DEAR)
    two = {"model.pkl": twice, "robust.pkl": robust, "standard.pkl": named}
    found["two scalers in the order that is given"] = Shape(
        two,
        house,
        "predict",
        lambda r: twice.predict(named.transform(robust.transform(r))),
        choices=Choices(order=["robust.pkl", "standard.pkl", "model.pkl"]),
    )

    pclass = pd.DataFrame(
        {"fare": random.normal(30, 5, N), "pclass": random.integers(1, 4, N), "alone": random.random(N) < 0.5}
    )
    ship = pd.get_dummies(pclass, columns=["pclass", "alone"])
    sunk = LogisticRegression(max_iter=500).fit(ship.to_numpy(float), LEFT)
    found["dummies of numbers and of yes and no"] = Shape(
        {"model.pkl": sunk, "columns.pkl": list(ship.columns)},
        pclass.astype({"pclass": float})[:5],
        "predict_proba",
        lambda r: sunk.predict_proba(ship[: len(r)].to_numpy(float)),
        choices=Choices(dummies=["pclass", "alone"]),
        names=["pclass", "alone", "fare"],
    )

    inner = make_pipeline(StandardScaler(), LogisticRegression()).fit(HOUSES, DEAR)
    found["a scaler that is inside the model too"] = Shape(
        {"model.pkl": inner, "scaler.pkl": inner[0]}, house, "predict_proba", inner.predict_proba
    )
    found["the same scaler twice"] = Shape(
        {"model.pkl": forest, "scaler.pkl": named, "std.pkl": named},
        house,
        "predict_proba",
        lambda r: forest.predict_proba(named.transform(r)),
    )

    # refused
    found["another scaler than the one inside the model"] = Shape(
        {"model.pkl": inner, "scaler.pkl": StandardScaler().fit(HOUSES + 1)}, words=("scaler.pkl", "inside")
    )
    found["an encoder that may be of the answers or of a column"] = Shape(
        {"model.pkl": m, "scaler.pkl": plain, "gender_encoder.pkl": LabelEncoder().fit(["f", "m"])},
        words=("gender_encoder.pkl", "--labels"),
    )
    found["dummies whose columns do not stand together"] = Shape(
        {
            "model.pkl": LogisticRegression().fit(random.normal(size=(N, 4)), LEFT),
            "columns.pkl": ["city_size", "age", "city_Lodz", "city_Oslo"],
        },
        words=("city_size", "--dummies"),
        choices=Choices(dummies=["city"]),
    )
    found["two scalers of one width"] = Shape(two, words=("robust.pkl", "standard.pkl", "2 ways", "--order"))
    found["imputer and scaler of one width"] = Shape(
        {"model.pkl": m, "imputer.pkl": SimpleImputer().fit(array), "scaler.pkl": plain},
        words=("imputer.pkl", "--order"),
    )
    found["widths that do not fit"] = Shape(
        {"model.pkl": forest, "scaler.pkl": StandardScaler().fit(WIDE)}, words=("scaler.pkl", "12", "4")
    )
    found["columns whose order nobody knows"] = Shape(
        {
            "model.pkl": LogisticRegression().fit(random.normal(size=(N, 9)), LEFT),
            "ohe_city.pkl": OneHotEncoder().fit(CLIENTS[["city"]]),
            "ohe_plan.pkl": OneHotEncoder().fit(CLIENTS[["plan"]]),
        },
        words=("ohe_city.pkl", "ohe_plan.pkl", "--entry-script"),
    )
    found["only names"] = Shape({"features.pkl": list(HOUSES.columns)}, words=("features.pkl", "no model"))
    found["two models"] = Shape({"a.pkl": m, "b.pkl": forest}, words=("a.pkl", "b.pkl", "are models"))
    found["an unfitted scaler"] = Shape(
        {"model.pkl": m, "scaler.pkl": StandardScaler()}, words=("scaler.pkl", "not fitted")
    )
    found["a stale vectorizer"] = Shape(
        {"model.pkl": bayes, "vectorizer.pkl": TfidfVectorizer().fit([*TEXTS, "new words"])},
        words=("vectorizer.pkl", "do not fit"),
    )
    found["labels of another model"] = Shape(
        {"model.pkl": bayes, "vectorizer.pkl": vectorizer, "le.pkl": LabelEncoder().fit(["a", "b", "c"])},
        words=("le.pkl", "3 labels"),
    )
    found["an encoder of a column that the model does not take"] = Shape(
        {"model.pkl": trees, "encoders.pkl": {**encoders, "street": LabelEncoder().fit(["x", "y", "z"])}},
        words=("encoders.pkl",),
    )
    found["a scaler of columns that the model does not take"] = Shape(
        {"model.pkl": trees, "encoders.pkl": encoders, "scaler.pkl": StandardScaler().fit(WIDE[["m0", "m1"]])},
        words=("scaler.pkl", "do not fit"),
    )
    found["names in another order than the scaler's"] = Shape(
        {"model.pkl": mb, "scaler.pkl": StandardScaler().fit(HOUSES[HOUSES.columns[::-1]])},
        words=("scaler.pkl", "do not fit"),
    )
    found["too few labels given"] = Shape(
        {"model.pkl": m, "scaler.pkl": plain}, words=("--labels", "1 label"), choices=Choices(labels=["one"])
    )
    found["an order that leaves a step out"] = Shape(
        two, words=("standard.pkl",), choices=Choices(order=["robust.pkl", "model.pkl"])
    )
    found["an order of files that are not there"] = Shape(
        two, words=("nothing.pkl",), choices=Choices(order=["nothing.pkl", "model.pkl"])
    )
    return found
