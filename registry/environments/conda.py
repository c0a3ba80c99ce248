"""Conda environment files, and how their packages are called and compared on PyPI.

conda itself is not needed: without it (see `conda_tool`) what is installed comes from PyPI, and packages that exist in conda only
(compilers, CUDA, BLAS switches) are left out and named.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from registry.errors import InvalidArgument, shown
from registry.records import Json

# conda name → PyPI name, where they differ.
PYPI_NAMES: Final[Mapping[str, str]] = {
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "py-xgboost": "xgboost",
    "py-xgboost-cpu": "xgboost",
    "py-lightgbm": "lightgbm",
    "opencv": "opencv-python-headless",
    "py-opencv": "opencv-python-headless",
    "pytables": "tables",
    "msgpack-python": "msgpack",
    "matplotlib-base": "matplotlib",
    "seaborn-base": "seaborn",
    "dask-core": "dask",
    "python-graphviz": "graphviz",
    "ruamel_yaml": "ruamel.yaml",
    "pyqt": "PyQt5",
    "pyarrow-core": "pyarrow",
    "numpy-base": "numpy",
    "tensorflow-base": "tensorflow",
    "tensorflow-mkl": "tensorflow",
    "tensorflow-eigen": "tensorflow",
    "keras-base": "keras",
    "brotli-python": "brotli",
    "python-levenshtein": "Levenshtein",
}
# Only in conda: nothing to install from PyPI.
CONDA_ONLY: Final = frozenset(
    [
        "blas",
        "libblas",
        "libcblas",
        "liblapack",
        "liblapacke",
        "nomkl",
        "mkl-service",
        "mkl_fft",
        "mkl_random",
        "openblas",
        "libopenblas",
        "cudatoolkit",
        "cudnn",
        "nccl",
        "cuda",
        "cuda-toolkit",
        "cpuonly",
        "pytorch-cuda",
        "libgcc",
        "libgcc-ng",
        "libstdcxx-ng",
        "libgomp",
        "_libgcc_mutex",
        "_openmp_mutex",
        "libgfortran-ng",
        "gcc",
        "gxx",
        "gcc_linux-64",
        "gxx_linux-64",
        "compilers",
        "c-compiler",
        "cxx-compiler",
        "make",
        "openssl",
        "ca-certificates",
        "zlib",
        "xz",
        "bzip2",
        "readline",
        "ncurses",
        "tk",
        "sqlite",
        "libffi",
        "ld_impl_linux-64",
        "libuuid",
        "libnsl",
        "expat",
        "icu",
        "libxgboost",
        "_py-xgboost-mutex",
        "arrow-cpp",
        "libprotobuf",
        "snappy",
        "lz4-c",
        "zstd",
        "git",
        "curl",
        "openjdk",
        "r-base",
        "nodejs",
        "hdf5",
        "llvm-openmp",
        "intel-openmp",
        "conda",
        "anaconda",
        "jpeg",
        "libpng",
        "libtiff",
        "freetype",
    ]
)
_MATCH: Final = re.compile(r"(?:[\w./-]+::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*)\s*(?P<rest>.*)")
_BRACKETS: Final = re.compile(r"\[(?P<keys>.*)\]$")
_VERSION: Final = re.compile(r"(?:===|==|~=|!=|<=|>=|<|>|=)?\s*[0-9][A-Za-z0-9.!+_*]*")
_UNDERSTOOD: Final = "a package such as 'numpy', 'numpy=1.16' or 'numpy>=1.16,<2'"


@dataclass(frozen=True)
class CondaFile:
    """What a conda file says, in PyPI's words. `python` is a version or a range such as ``>=3.8,<3.11``."""

    python: str | None
    packages: tuple[str, ...]  # conda entries that exist on PyPI, as requirements
    skipped: tuple[str, ...]  # names that exist in conda only
    pip_lines: tuple[str, ...]  # the section of pip, unread
    variables: Mapping[str, str]
    name: str | None = None
    entries: tuple[str, ...] = ()  # what conda itself is to install, in its own words; Python is not among it
    channels: tuple[str, ...] = ()


def read_conda_file(path: Path) -> CondaFile:
    """A conda environment file, by `yaml.safe_load`.

    Raises:
        InvalidArgument: it is missing, not YAML, or not a conda environment; the sentence names the entry.
    """
    import yaml  # late: nothing else in a workspace needs it

    try:
        data = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise InvalidArgument(path.name, f"it cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise InvalidArgument(path.name, f"it is not YAML{where}") from None
    return parse_conda(data, path.name)


def parse_conda(data: Json, source: str) -> CondaFile:
    """The same from what YAML gave.

    Raises:
        InvalidArgument: it is not a conda environment.
    """
    if not isinstance(data, dict) or not isinstance(data.get("dependencies", []), list):
        raise InvalidArgument(source, "it is not a conda environment: a mapping with a list 'dependencies' is expected")
    python: str | None = None
    entries: list[str] = []
    packages: list[str] = []
    skipped: list[str] = []
    pip_lines: list[str] = []
    for entry in data.get("dependencies") or []:
        if isinstance(entry, dict) and list(entry) == ["pip"]:
            pip_lines += _pip_section(entry["pip"], source)
            continue
        name, version = conda_requirement(entry, source)
        if name == "python":
            python = version.removeprefix("==").removesuffix(".*") or None
            continue
        entries.append(entry.strip())
        if name in CONDA_ONLY:
            skipped.append(name)
        elif name != "pip":
            packages.append(f"{PYPI_NAMES.get(name, name)}{version}")
    return CondaFile(
        python,
        tuple(packages),
        tuple(skipped),
        tuple(pip_lines),
        _variables(data.get("variables"), source),
        data.get("name"),
        tuple(sorted(set(entries))),
        _channels(data.get("channels"), source),
    )


def conda_requirement(entry: Any, source: str) -> tuple[str, str]:
    """Name and version of a conda match specification, the version in pip's words.

    ``numpy=1.16.4=py36_0`` → ``("numpy", "==1.16.4.*")``; ``conda-forge::numpy >=1.16,<2`` → ``("numpy", ">=1.16,<2")``.

    Raises:
        InvalidArgument: it is not one that pip could express.
    """
    found = _MATCH.fullmatch(entry.strip()) if isinstance(entry, str) else None
    if not found:
        raise InvalidArgument(source, f"the dependency {shown(entry)} is not understood; expected is {_UNDERSTOOD}")
    name, rest = found["name"].lower(), found["rest"].strip()
    brackets = _BRACKETS.search(rest)
    if brackets:
        version = re.search(r"version\s*=\s*(['\"]?)([^'\"\]]*)\1", brackets["keys"])
        rest = (version.group(2) if version else rest[: brackets.start()]).strip()
    try:
        return name, _pip_version(rest)
    except ValueError:
        raise InvalidArgument(
            source, f"the version in {shown(entry)} is not understood by pip; expected is {_UNDERSTOOD}"
        ) from None


def _pip_version(text: str) -> str:
    if text in ("", "*", "=*", "=", "==*"):
        return ""
    exact = re.fullmatch(r"(=|==)?\s*([0-9][A-Za-z0-9.!+_]*?)(\.\*|\*)?\s*(?:(?:=|\s+)\s*[A-Za-z0-9_.*]+)?", text)
    if exact:  # one '=' is a prefix match and two are exact; what follows the version is conda's build string
        sign, version, star = exact.groups()
        return f"=={version}" if sign == "==" and not star else f"=={version}.*"
    parts = [part.strip() for part in text.split(",")]
    if not all(_VERSION.fullmatch(part) for part in parts):
        raise ValueError
    return ",".join(_pip_part(part) for part in parts)


def _pip_part(part: str) -> str:
    sign, version = re.fullmatch(r"([=~!<>]*)\s*(.*)", part).groups()  # type: ignore[union-attr]
    if sign in ("", "="):
        return f"=={version.removesuffix('.*').removesuffix('*')}.*"
    return f"{sign}{version if sign in ('==', '!=') else version.removesuffix('.*')}"


def _pip_section(lines: Any, source: str) -> Sequence[str]:
    if lines is None:
        return []
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise InvalidArgument(source, "the section 'pip' must be a list of requirements")
    return lines


def _channels(values: Any, source: str) -> tuple[str, ...]:
    if values is None:
        return ()
    if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
        raise InvalidArgument(source, "the section 'channels' must be a list of names")
    return tuple(dict.fromkeys(values))


def _variables(values: Any, source: str) -> dict[str, str]:
    if values is None:
        return {}
    if not isinstance(values, dict) or any(isinstance(value, dict | list) for value in values.values()):
        raise InvalidArgument(source, "the section 'variables' must map names to text")
    return {str(key): str(value) for key, value in values.items()}
