"""``mlflow_save.py FOLDER``: the model in MLflow's form."""

import os
import sys

import joblib
import mlflow.sklearn

model = joblib.load(os.environ["BENCH_MODEL"])
needs = ["mlflow", "scikit-learn"]
mlflow.sklearn.save_model(
    model, sys.argv[1], pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle", pip_requirements=needs
)
