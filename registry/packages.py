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
    "sklearn_extra": "scikit-learn-extra",
    "sklearnex": "scikit-learn-intelex",
    "skopt": "scikit-optimize",
    "sksurv": "scikit-survival",
    "sklego": "scikit-lego",
    "scikitplot": "scikit-plot",
    "feature_engine": "feature-engine",
    "quantile_forest": "quantile-forest",
    "linear_tree": "linear-tree",
    "lineartree": "linear-tree",
    "group_lasso": "group-lasso",
    "dirty_cat": "dirty-cat",
    "umap": "umap-learn",
    "category_encoders": "category-encoders",
    "xgboost": "xgboost-cpu",  # the same without 470 MB of GPU libraries
    "mapie": "MAPIE",
    "boruta": "Boruta",
    "flaml": "FLAML",
    "doubleml": "DoubleML",
    "dice_ml": "dice-ml",
    "dask_ml": "dask-ml",
    "PIL": "Pillow",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "yaml": "PyYAML",
    "bs4": "beautifulsoup4",
    "attr": "attrs",
    "dateutil": "python-dateutil",
    "unidecode": "Unidecode",
    "stop_words": "stop-words",
    "sentence_transformers": "sentence-transformers",
    "Levenshtein": "Levenshtein",
    "pythainlp": "pythainlp",
    **{
        name: name
        for name in (
            *("numpy", "scipy", "pandas", "joblib", "threadpoolctl", "cloudpickle", "dill", "skops", "lz4", "pyarrow"),
            *("polars", "lightgbm", "catboost", "ngboost", "statsmodels", "patsy", "mlxtend", "skorch", "skrub"),
            *("torch", "tensorflow", "keras", "sktime", "hdbscan", "nltk", "gensim", "spacy", "shap", "lifelines"),
            *("pygam", "fairlearn", "econml", "daal4py", "numba", "networkx", "pmdarima", "prophet", "narwhals"),
            *(
                "interpret",
                "interpretml",
                "imodels",
                "gplearn",
                "deslib",
                "mord",
                "kmodes",
                "minisom",
                "hmmlearn",
                "pyod",
            ),
            *("tslearn", "tsfresh", "aeon", "river", "tpot", "optuna", "hyperopt", "lime", "eli5", "alibi", "shapash"),
            *("yellowbrick", "optbinning", "toad", "featuretools", "autofeat", "causalml", "dowhy", "skglm", "celer"),
            *("textblob", "emoji", "regex", "contractions", "langdetect", "jieba", "konlpy", "pymorphy3", "wordcloud"),
            *(
                "rapidfuzz",
                "fuzzywuzzy",
                "holidays",
                "geopy",
                "shapely",
                "geopandas",
                "h5py",
                "sympy",
                "dask",
                "onnxruntime",
            ),
            *("matplotlib", "seaborn", "plotly", "tqdm", "requests", "pydantic", "loguru", "mlflow", "transformers"),
        )
    },
}
#: Distributions that bring the same module as another one.
SAME_MODULE: Final[Mapping[str, str]] = {"xgboost-cpu": "xgboost"}
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
