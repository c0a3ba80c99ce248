"""Write the model files under tests/registry/artifacts, once per old Python and scikit-learn.

Run it with the interpreter whose files are wanted; Python 3.6 syntax, so that it runs there:

    python3.6 -m venv v && v/bin/pip install "pip==21.3.1" && v/bin/pip install scikit-learn==0.19.1 "numpy<1.20" scipy "joblib<1" lz4
    v/bin/python scripts/make_old_artifacts.py tests/registry/artifacts

The files made so far: Python 3.6 with 0.19.1, 3.8 with 0.24.2, 3.9 with 1.0.2, 3.11 with 1.3.2. File names say what they hold:
`<scikit-learn>-<model>-<how>.bin`; those that are there are kept. The two of joblib 0.9.4 were written by
`joblib.dump({"a": numpy.arange(5)}, "m.pkl")` and `joblib.dump({"a": numpy.arange(5), "b": "x"}, "z.pkl", compress=3)`.
"""

import os
import pickle
import sys

import joblib
import sklearn
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


def models():
    X, y = load_iris(return_X_y=True)
    X, y = X[::5], y[::5]
    yield "svc", SVC(kernel="linear", C=1.0).fit(X, y)
    yield "forest", RandomForestClassifier(n_estimators=2, max_depth=2, random_state=0).fit(X, y)
    yield "pipeline", Pipeline([("scale", StandardScaler()), ("svc", SVC(kernel="linear", C=1.0))]).fit(X, y)


def main(folder):
    bundled = None
    if sklearn.__version__.startswith("0.19"):
        from sklearn.externals import joblib as bundled
    for name, model in models():
        stem = os.path.join(folder, f"{sklearn.__version__}-{name}")
        for protocol in (0, 2, pickle.HIGHEST_PROTOCOL):
            if not os.path.exists(f"{stem}-pickle{protocol}.bin"):
                with open(f"{stem}-pickle{protocol}.bin", "wb") as file:
                    pickle.dump(model, file, protocol)
        for compressor in (None, "zlib", "gzip", "bz2", "xz", "lzma", "lz4"):
            path = stem + ("-joblib_" + compressor if compressor else "-joblib") + ".bin"
            if not os.path.exists(path):
                joblib.dump(model, path, compress=(compressor, 3) if compressor else 0)
        if bundled is not None and not os.path.exists(stem + "-bundled.bin"):
            bundled.dump(model, stem + "-bundled.bin")


if __name__ == "__main__":
    main(sys.argv[1])
