"""Train a support vector classifier on the iris flowers: the smallest whole example.

Run it with ``fitserve up examples/train_iris.py -- --kernel rbf --penalty 0.5``, or alone with ``python``: then what it
logs is printed. It is fitted on a plain array, so the model knows how many values a row has but no names.
"""

import argparse
import json
import os

import joblib
from azureml.core.run import Run
from sklearn.datasets import load_iris
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", default="linear", help="kernel of the classifier: linear, rbf, poly or sigmoid")
    parser.add_argument("--penalty", type=float, default=1.0, help="penalty C of the error term")
    args = parser.parse_args()

    run = Run.get_context()
    run.log("Kernel type", args.kernel)
    run.log("Penalty", args.penalty)

    iris = load_iris()
    X_train, X_test, y_train, y_test = train_test_split(iris.data, iris.target, random_state=0)
    model = SVC(kernel=args.kernel, C=args.penalty).fit(X_train, y_train)

    accuracy = model.score(X_test, y_test)
    run.log("Accuracy", accuracy)
    print(f"Accuracy on flowers that it has not seen: {accuracy:.3f}")
    print("Confusion matrix, a row for each true kind:")
    print(confusion_matrix(y_test, model.predict(X_test)))

    os.makedirs("outputs", exist_ok=True)
    joblib.dump(model, "outputs/model.joblib")
    # A sample beside the model becomes the example of its endpoint.
    with open("outputs/sample.json", "w", encoding="utf-8") as file:
        json.dump(iris.data[:3].tolist(), file)


if __name__ == "__main__":
    main()
