"""A training script as people wrote them for Azure ML's SDK v1, with its habit of `np.str` and `np.float`."""

import argparse
import os

import joblib
import numpy as np
from azureml.core.run import Run
from sklearn import datasets
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split

run = Run.get_context()


def main():
    from sklearn.svm import SVC

    parser = argparse.ArgumentParser()
    parser.add_argument("--kernel", type=str, default="linear")
    parser.add_argument("--penalty", type=float, default=1.0)
    args = parser.parse_args()
    as_text = getattr(np, "str", str) if np.__version__ < "1.24" else str
    as_number = np.float if np.__version__ < "1.20" else float
    run.log("Kernel type", as_text(args.kernel))
    run.log("Penalty", as_number(args.penalty))

    iris = datasets.load_iris()
    X_train, X_test, y_train, y_test = train_test_split(iris.data, iris.target, random_state=0)
    model = SVC(kernel=args.kernel, C=args.penalty).fit(X_train, y_train)
    accuracy = model.score(X_test, y_test)
    print(f"Accuracy on the test set: {accuracy:.2f}")
    print(confusion_matrix(y_test, model.predict(X_test)))
    run.log("Accuracy", as_number(accuracy))
    os.makedirs("outputs", exist_ok=True)
    joblib.dump(model, "outputs/model.joblib")


if __name__ == "__main__":
    main()
