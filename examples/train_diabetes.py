"""Train a Pipeline on named columns: a request may then give its columns by name, in any order.

Besides the model it writes ``outputs/sample.csv``, two rows from which the endpoint's schema takes its example.
"""

import argparse
import os

import joblib
from azureml.core.run import Run
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

SQUARED = ["bmi", "bp", "s5"]  # progress does not follow these in a straight line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alpha", type=float, default=1.0, help="strength of the regularisation")
    args = parser.parse_args()

    run = Run.get_context()
    run.log("alpha", args.alpha)

    data = load_diabetes(as_frame=True, scaled=False)
    X_train, X_test, y_train, y_test = train_test_split(data.data, data.target, random_state=0)
    model = make_pipeline(
        make_column_transformer(
            (make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False)), SQUARED),
            remainder=StandardScaler(),
        ),
        Ridge(alpha=args.alpha),
    ).fit(X_train, y_train)

    predicted = model.predict(X_test)
    run.log("r2", r2_score(y_test, predicted))
    run.log_row("errors", mean_absolute=mean_absolute_error(y_test, predicted), largest=abs(y_test - predicted).max())
    print(f"Explained variance on patients that it has not seen: {r2_score(y_test, predicted):.3f}")

    os.makedirs("outputs", exist_ok=True)
    joblib.dump(model, "outputs/model.joblib")
    X_test.head(2).to_csv("outputs/sample.csv", index=False)


if __name__ == "__main__":
    main()
