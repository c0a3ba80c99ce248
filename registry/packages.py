"""Packages by the modules that pickles name, and what fits beside an old scikit-learn."""

import re
from collections.abc import Mapping
from typing import Final

# Top-level module → name on PyPI. A module that is not here is never installed: a stranger may own that name.
_PACKAGES: Final[Mapping[str, str]] = {
    "sklearn": "scikit-learn",
    "imblearn": "imbalanced-learn",
    "sklearn_pandas": "sklearn-pandas",
    "sklearn_crfsuite": "sklearn-crfsuite",
    "sklearnex": "scikit-learn-intelex",
    "skopt": "scikit-optimize",
    "sksurv": "scikit-survival",
    "feature_engine": "feature-engine",
    "quantile_forest": "quantile-forest",
    "umap": "umap-learn",
    "category_encoders": "category-encoders",
    "PIL": "Pillow",
    "cv2": "opencv-python-headless",
    "yaml": "PyYAML",
    "dateutil": "python-dateutil",
    **{
        name: name
        for name in (
            *("numpy", "scipy", "pandas", "joblib", "threadpoolctl", "cloudpickle", "dill", "skops", "lz4", "pyarrow"),
            *("polars", "xgboost", "lightgbm", "catboost", "ngboost", "statsmodels", "patsy", "mlxtend", "skorch"),
            *("torch", "tensorflow", "keras", "sktime", "hdbscan", "nltk", "gensim", "spacy", "shap", "lifelines"),
            *("pygam", "fairlearn", "econml", "daal4py", "numba", "networkx", "pmdarima", "prophet", "narwhals"),
        )
    },
}
# scikit-learn before this, and the first scipy that came after what it was made for. Its own metadata has no upper bound.
_SCIPY: Final = (
    ((0, 23), "1.6"),
    ((1, 0), "1.8"),
    ((1, 1), "1.9"),
    ((1, 3), "1.11"),
    ((1, 4), "1.13"),
    ((1, 5), "1.14"),
)


def package_of(module: str) -> str | None:
    """Name on PyPI of the package that holds a top-level module; None where that is not known."""
    return _PACKAGES.get(module)


def scipy_bound(scikit_learn: str) -> str:
    """The requirement for scipy beside that scikit-learn."""
    version = tuple(int(n) for n in re.findall(r"\d+", scikit_learn)[:2])
    return next((f"scipy<{bound}" for before, bound in _SCIPY if version < before), "scipy")
