"""What shorter ways gain: ``python -m benchmarks.scoring_paths``, microseconds of the public method and of the way, for 1 and 32 rows.

Processor time, so that a busy machine matters little; one thread, as in a child. See gateway/worker/shortcut.py.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from gateway.worker import scoring, shortcut_verify

MODELS = {
    "SVC": SVC(kernel="linear"),
    "scaler + LogisticRegression": make_pipeline(StandardScaler(), LogisticRegression()),
    "Ridge": Ridge(),
    "DecisionTreeClassifier": DecisionTreeClassifier(random_state=0),
    "RandomForestClassifier(100)": RandomForestClassifier(100, random_state=0),
    "RandomForestRegressor(100)": RandomForestRegressor(100, random_state=0),
    "HistGradientBoostingClassifier": HistGradientBoostingClassifier(random_state=0),
}


def microseconds(call: Callable[[Any], Any], rows: Any) -> float:
    """The best of five goes of about 50 ms."""
    call(rows)
    began = time.process_time()
    call(rows)
    times = max(1, int(0.05 / max(time.process_time() - began, 1e-5)))
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(times):
            call(rows)
        best = min(best, (time.process_time() - began) / times)
    return best * 1e6


def main() -> None:
    X, y = load_iris(return_X_y=True)
    scoring.quiet_warnings()
    shortcut_verify.PATIENCE_S = 60
    print("| model | method | path | 1 row, public | own | gain | 32 rows, public | own | gain |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, model in MODELS.items():
        model.fit(X, y)
        methods = {each: getattr(model, each) for each in ("predict", "predict_proba") if hasattr(model, each)}
        proved = shortcut_verify.Proof(model, methods)
        for _ in proved.steps():
            pass
        for method, way in proved.found.items():
            cells = []
            for count in (1, 32):
                rows = np.ascontiguousarray(X[:count])
                public, own = microseconds(methods[method], rows), microseconds(way.call, rows)
                cells += [f"{public:.0f}", f"{own:.1f}", f"{public / own:.0f}×"]
            print(f"| {name} | {method} | {way.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
