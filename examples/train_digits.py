"""Train a forest on pictures of digits, 8 × 8 pixels each: 64 features, ten classes, probabilities."""

import argparse
import os

import joblib
from azureml.core.run import Run
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trees", type=int, default=100, help="number of trees in the forest")
    args = parser.parse_args()

    run = Run.get_context()
    run.log("trees", args.trees)

    digits = load_digits()
    X_train, X_test, y_train, y_test = train_test_split(digits.data, digits.target, random_state=0)
    model = RandomForestClassifier(n_estimators=args.trees, random_state=0).fit(X_train, y_train)

    accuracy = model.score(X_test, y_test)
    run.log("accuracy", accuracy)
    matrix = confusion_matrix(y_test, model.predict(X_test))
    run.log_confusion_matrix(
        "confusion",
        {
            "schema_type": "confusion_matrix",
            "schema_version": "1.0.0",
            "data": {"class_labels": model.classes_, "matrix": matrix},
        },
    )
    print(f"Accuracy on digits that it has not seen: {accuracy:.3f}")
    print(matrix)

    os.makedirs("outputs", exist_ok=True)
    joblib.dump(model, "outputs/model.joblib")


if __name__ == "__main__":
    main()
