"""Azure's curated environments: Python and packages by the public definitions, without what belongs to Azure's own machines."""

import re
from collections.abc import Mapping
from typing import Final

#: Name → Python, packages.
CURATED: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "AzureML-Minimal": ("3.6.2", ()),
    "AzureML-Tutorial": ("3.6.2", ("scikit-learn", "numpy", "pandas", "matplotlib", "joblib")),
    "AzureML-Scikit-learn-0.20.3": (
        "3.6.2",
        ("scikit-learn==0.20.3", "numpy==1.16.2", "scipy==1.2.1", "joblib==0.13.2", "pandas"),
    ),
    "AzureML-sklearn-0.24-ubuntu18.04-py37-cpu": (
        "3.7",
        (
            "scikit-learn==0.24.1",
            "numpy<1.20,>=1.10",
            "scipy<1.6,>=1.5",
            "pandas<1.2,>=1.1",
            "matplotlib<3.4,>=3.3",
            "joblib",
        ),
    ),
    "AzureML-sklearn-1.0-ubuntu20.04-py38-cpu": (
        "3.8",
        ("scikit-learn~=1.0.0", "numpy~=1.21.0", "scipy~=1.7.0", "pandas~=1.3.0", "matplotlib~=3.5.0", "joblib"),
    ),
    "AzureML-sklearn-1.1": (
        "3.9",
        (
            "scikit-learn~=1.1.0",
            "numpy~=1.22.0",
            "scipy~=1.10.0",
            "pandas~=1.3.0",
            "matplotlib~=3.5.0",
            "joblib~=1.2.0",
        ),
    ),
    "azureml-sklearn-1.5": (
        "3.10",
        (
            "scikit-learn~=1.5.0",
            "numpy~=1.22.0",
            "scipy~=1.10.0",
            "pandas~=1.5.3",
            "matplotlib~=3.5.0",
            "joblib~=1.2.0",
        ),
    ),
}
_SUFFIX: Final = re.compile(r"(:\d+|@latest)$")
_SKLEARN: Final = re.compile(r"azureml-(?:sklearn|scikit-learn)-(\d+\.\d+)(?:\.\d+)?(?:-[a-z0-9.-]+)?$")


def _key(name: str) -> str:
    found = _SKLEARN.match(name.lower())
    return name.lower() if found is None else found[1]


_BY_KEY: Final = {_key(name): name for name in CURATED}


def find_curated(name: str) -> tuple[str, str] | None:
    """The name as asked for, without a version, and that of the table; None when there is no such environment.

    Case does not matter. Of scikit-learn's, the version decides, not the operating system's and Python's behind it.
    """
    plain = _SUFFIX.sub("", name)
    found = _BY_KEY.get(_key(plain))
    return None if found is None else (plain, found)
