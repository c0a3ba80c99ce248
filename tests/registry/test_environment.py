"""Environments from conda files, requirements files and Azure's objects; their canonical specs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import Workspace
from registry.conda import conda_requirement
from registry.curated import CURATED, find_curated
from registry.environment import CondaDependencies, Environment
from registry.errors import EnvironmentNotFound, InvalidArgument, InvalidName
from registry.requirements import has_version, package_name, pinned_version

PAGE = """
# the file of Azure's page
dependencies:
- python=3.6.2
- scikit-learn
- numpy
- pip:
  - azureml-defaults
"""


def conda(text: str, folder: Path) -> Environment:
    path = folder / "conda_dependencies.yml"
    path.write_text(text)
    return Environment.from_conda_specification("sklearn-env", path)


def pip(text: str, folder: Path) -> Environment:
    path = folder / "requirements.txt"
    path.write_text(text)
    return Environment.from_pip_requirements("env", path)


def test_the_conda_file_of_the_page(tmp_path: Path) -> None:
    assert conda(PAGE, tmp_path).spec() == {
        "python": "3.6.2",
        "pip": ["numpy", "scikit-learn"],
        "variables": {},
        "conda": ["numpy", "scikit-learn"],
        "shimmed": ["azureml-defaults"],
    }


def test_a_full_conda_file(tmp_path: Path) -> None:
    environment = conda(
        """
name: project
channels: [conda-forge, defaults]
variables: {MODE: fast, N: 3}
dependencies:
  - python>=3.8,<3.11
  - pip=21
  - conda-forge::pandas=1.5
  - numpy ==1.23.5
  - pytorch[version='>=1.10']
  - cudatoolkit=11.3
  - libgcc-ng
  - pyyaml 6.0 py38h1
  - pip:
      - --extra-index-url https://example.org/simple
      - joblib>=1.0  # a comment
      - azureml-core==1.61
      - Azureml_Telemetry
""",
        tmp_path,
    )
    assert environment.spec() == {
        "python": ">=3.8,<3.11",
        "pip": ["joblib>=1.0", "numpy==1.23.5", "pandas==1.5.*", "pyyaml==6.0.*", "torch>=1.10"],
        "variables": {"MODE": "fast", "N": "3"},
        "options": ["--extra-index-url https://example.org/simple"],
        "conda": [
            "conda-forge::pandas=1.5",
            "cudatoolkit=11.3",
            "libgcc-ng",
            "numpy ==1.23.5",
            "pip=21",
            "pytorch[version='>=1.10']",
            "pyyaml 6.0 py38h1",
        ],
        "channels": ["conda-forge", "defaults"],
        "shimmed": ["Azureml_Telemetry", "azureml-core==1.61"],
        "skipped": ["cudatoolkit", "libgcc-ng"],
    }


@pytest.mark.parametrize(
    ("entry", "requirement"),
    [
        ("numpy", ("numpy", "")),
        ("numpy=1.16", ("numpy", "==1.16.*")),
        ("numpy=1.16.4=py36_0", ("numpy", "==1.16.4.*")),
        ("numpy==1.16.4", ("numpy", "==1.16.4")),
        ("numpy==1.16.*", ("numpy", "==1.16.*")),
        ("numpy=1.16.*", ("numpy", "==1.16.*")),
        ("numpy 1.16.*", ("numpy", "==1.16.*")),
        ("numpy 1.16.4 py36_0", ("numpy", "==1.16.4.*")),
        ("numpy >=1.16,<2", ("numpy", ">=1.16,<2")),
        ("numpy>=1.16,1.*", ("numpy", ">=1.16,==1.*")),
        ("numpy!=1.17", ("numpy", "!=1.17")),
        ("numpy *", ("numpy", "")),
        ("NumPy", ("numpy", "")),
        ("conda-forge/linux-64::numpy=1.16", ("numpy", "==1.16.*")),
        ("numpy[version='>=1.16']", ("numpy", ">=1.16")),
        ("numpy[build=py36_0]", ("numpy", "")),
    ],
)
def test_conda_versions_in_the_words_of_pip(entry: str, requirement: tuple[str, str]) -> None:
    assert conda_requirement(entry, "file.yml") == requirement


@pytest.mark.parametrize("entry", ["numpy=1.11|1.12", "=1", "", 3, None, "numpy>=", "numpy @ x", ["numpy"]])
def test_what_conda_says_and_pip_cannot_is_refused_by_entry(entry: object) -> None:
    with pytest.raises(InvalidArgument, match=r"file\.yml: the (dependency|version in) "):
        conda_requirement(entry, "file.yml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1, 2]", "not a conda environment"),
        ("dependencies: numpy", "not a conda environment"),
        ("a: [", r"it is not YAML \(line 1\)"),
        ("dependencies: [{pip: numpy}]", "the section 'pip' must be a list"),
        ("dependencies: [{npm: [x]}]", "the dependency"),
        ("dependencies: [python=2.7]", "only Python 3 is supported"),
        ("dependencies: ['python=3.x']", "python '3.x' is not a version"),
        ("variables: [a]", "the section 'variables'"),
        ("!!python/object/apply:os.system ['touch hacked']", "it is not YAML"),
        ("dependencies: [{pip: ['numpy; rm -rf', 'a b']}]", "'a b' is not a requirement"),
        ("", "not a conda environment"),
    ],
)
def test_a_bad_conda_file_is_refused_with_the_reason(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        conda(text, tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"none\.yml: it cannot be read"):
        Environment.from_conda_specification("env", tmp_path / "none.yml")
    with pytest.raises(InvalidArgument, match=r"none\.txt: it cannot be read"):
        Environment.from_pip_requirements("env", tmp_path / "none.txt")


def test_a_requirements_file_with_an_include(tmp_path: Path) -> None:
    (tmp_path / "base.txt").write_text("numpy<2\n# comment\n\nazureml-sdk\n")
    environment = pip(
        "-r base.txt\nscikit-learn [alldeps] == 1.5.2\njoblib>=1 ; python_version > '3'\n"
        "pandas \\\n  >=2\n-i https://example.org/simple\n--pre\nwheel --hash=sha256:00\nmine @ https://example.org/mine.whl\n",
        tmp_path,
    )
    assert environment.spec() == {
        "python": None,
        "pip": [
            "joblib>=1 ; python_version>'3'",
            "mine @ https://example.org/mine.whl",
            "numpy<2",
            "pandas>=2",
            "scikit-learn[alldeps]==1.5.2",
            "wheel",
        ],
        "variables": {},
        "options": ["--index-url https://example.org/simple", "--pre"],
        "shimmed": ["azureml-sdk"],
    }


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("-e .", "names a folder"),
        ("--target /tmp", "the option '--target' is not taken"),
        ("--pre yes", "takes no value"),
        ("--index-url", "takes a value"),
        ("./wheels/a.whl", "has no package name"),
        ("git+https://example.org/a", "has no package name"),
        ("numpy==", "is not a requirement"),
        ("numpy = 1", "is not a requirement"),
        ("-r requirements.txt", "includes itself"),
        ("-r none.txt", "cannot be read"),
    ],
)
def test_a_line_that_is_not_taken_is_named(line: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        pip(line, tmp_path)


def test_parts_of_requirements() -> None:
    assert package_name("Scikit_Learn [all]>=1") == "scikit-learn"
    assert pinned_version("scikit-learn==1.5.2") == "1.5.2"
    assert pinned_version("scikit-learn==1.5.2; python_version>'3'") == "1.5.2"
    assert [pinned_version(r) for r in ("a", "a>=1", "a==1.*", "a~=1.5.0", "a==1,>0")] == [None] * 5
    assert [has_version(r) for r in ("a", "a>=1", "a;python_version>'3'", "a @ https://b")] == [
        False,
        True,
        False,
        True,
    ]


def test_the_digest_is_that_of_the_description_and_not_of_the_name_or_the_order(tmp_path: Path) -> None:
    one = pip("numpy\njoblib\n", tmp_path)
    other = pip("joblib\nnumpy\nnumpy\n", tmp_path)
    other.name = "other"
    assert one.digest == other.digest
    assert one.digest != pip("joblib\n", tmp_path).digest
    assert len(one.digest) == 64
    other.environment_variables["A"] = "1"
    assert one.digest != other.digest


def test_azure_s_objects_describe_the_same(tmp_path: Path) -> None:
    environment = Environment("sklearn-env")
    environment.python.conda_dependencies = CondaDependencies.create(
        conda_packages=["scikit-learn", "numpy"], pip_packages=["azureml-defaults"], python_version="3.6.2"
    )
    assert environment.spec() == conda(PAGE, tmp_path).spec()
    dependencies = CondaDependencies()
    dependencies.add_conda_package("python=3.6.2")
    dependencies.add_conda_package("scikit-learn")
    dependencies.add_conda_package("numpy")
    dependencies.add_pip_package("azureml-defaults")
    dependencies.add_pip_package("extra")
    dependencies.remove_pip_package("extra")
    environment.python.conda_dependencies = dependencies
    assert environment.digest == conda(PAGE, tmp_path).digest
    dependencies.add_channel("conda-forge")
    assert environment.spec()["channels"] == dependencies.conda_channels == ["conda-forge"]
    dependencies.remove_channel("conda-forge")
    assert environment.digest == conda(PAGE, tmp_path).digest
    dependencies.set_pip_index_url("https://example.org/simple")
    assert environment.spec()["options"] == ["--index-url https://example.org/simple"]


def test_user_managed_dependencies_install_nothing() -> None:
    environment = Environment("own")
    environment.python.user_managed_dependencies = True
    environment.python.conda_dependencies.add_pip_package("numpy")
    assert environment.spec() == {"python": None, "pip": [], "variables": {}}


def test_an_empty_environment_asks_for_nothing() -> None:
    assert not any(Environment("empty").spec().values())


def test_a_bad_name_is_refused() -> None:
    with pytest.raises(InvalidName):
        Environment("../escape")


@pytest.mark.parametrize("name", CURATED)
def test_curated_names_of_azure_have_specs(name: str, tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "ws") as workspace:
        environment = Environment.get(workspace=workspace, name=name)
    assert environment.name == name
    assert environment.spec()["python"]
    assert any(package_name(r) == "scikit-learn" for r in environment.spec()["pip"]) == (name != "AzureML-Minimal")


@pytest.mark.parametrize(
    ("asked", "name", "python", "pins"),
    [
        ("AzureML-sklearn-1.5", "AzureML-sklearn-1.5", "3.10", {"numpy~=1.22.0", "scipy~=1.10.0", "pandas~=1.5.3"}),
        ("azureml-SKLEARN-1.5", "azureml-SKLEARN-1.5", "3.10", {"scikit-learn~=1.5.0", "joblib~=1.2.0"}),
        ("azureml-sklearn-1.5:12", "azureml-sklearn-1.5", "3.10", {"numpy~=1.22.0"}),
        (
            "AzureML-sklearn-1.5-ubuntu24.04-py310-cpu@latest",
            "AzureML-sklearn-1.5-ubuntu24.04-py310-cpu",
            "3.10",
            set(),
        ),
        ("AzureML-sklearn-1.1-ubuntu20.04-py38-cpu", "AzureML-sklearn-1.1-ubuntu20.04-py38-cpu", "3.9", set()),
        ("AzureML-sklearn-1.0", "AzureML-sklearn-1.0", "3.8", {"scikit-learn~=1.0.0", "numpy~=1.21.0"}),
        (
            "AzureML-sklearn-0.24-ubuntu18.04-py37-cuda11-gpu",
            "AzureML-sklearn-0.24-ubuntu18.04-py37-cuda11-gpu",
            "3.7",
            set(),
        ),
        ("azureml-tutorial", "azureml-tutorial", "3.6.2", {"scikit-learn", "pandas"}),
        ("AZUREML-MINIMAL", "AZUREML-MINIMAL", "3.6.2", set()),
        ("azureml-scikit-learn-0.20.3", "azureml-scikit-learn-0.20.3", "3.6.2", {"numpy==1.16.2"}),
    ],
)
def test_curated_environments_are_found_by_every_spelling(
    asked: str, name: str, python: str, pins: set[str], tmp_path: Path
) -> None:
    with Workspace.open(tmp_path / "ws") as workspace:
        environment = Environment.get(workspace, asked)
    spec = environment.spec()
    assert (environment.name, spec["python"]) == (name, python)
    assert pins <= set(spec["pip"])


@pytest.mark.parametrize("name", ["AzureML-sklearn-0.23", "AzureML-sklearn", "sklearn-1.5", "AzureML-Tutorials"])
def test_other_names_are_no_curated_environments(name: str) -> None:
    assert find_curated(name) is None


def test_registered_environments_come_back_with_their_versions(tmp_path: Path) -> None:
    full = conda(
        "dependencies: [python=3.8, numpy=1.20, cudnn, {pip: [azureml-core, --pre, joblib]}]\nvariables: {A: b}",
        tmp_path,
    )
    with Workspace.open(tmp_path / "ws") as workspace:
        assert full.register(workspace) is full
        assert full.version == "1"
        again = Environment.get(workspace, "sklearn-env")
        assert (again.spec(), again.version, again.digest) == (full.spec(), "1", full.digest)
        assert full.register(workspace).version == "1"
        changed = Environment.get(workspace, "sklearn-env")
        changed.python.conda_dependencies.add_pip_package("pandas")
        assert changed.register(workspace).version == "2"
        assert Environment.get(workspace, "sklearn-env").digest == changed.digest
        assert Environment.get(workspace, "sklearn-env", version="1").digest == full.digest
        assert {"sklearn-env", *CURATED} == set(Environment.list(workspace)) == set(workspace.environments)
        assert Environment.get(workspace, "sklearn-env", label="latest").digest == changed.digest


def test_what_is_not_registered_is_not_found(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "ws") as workspace:
        with pytest.raises(EnvironmentNotFound, match="'nothing'"):
            Environment.get(workspace, "nothing")
        with pytest.raises(EnvironmentNotFound, match="there is: AzureML-Minimal, AzureML-"):
            Environment.get(workspace, "AzureML-Nothing")
        with pytest.raises(InvalidArgument, match="'x' is not a number"):
            Environment.get(workspace, "nothing", version="x")
        with pytest.raises(InvalidArgument, match="only 'latest'"):
            Environment.get(workspace, "nothing", label="stable")
        with pytest.raises(InvalidArgument, match="reserved"):
            Environment("AzureML-mine").register(workspace)


def test_a_clone_is_the_same_under_another_name(tmp_path: Path) -> None:
    environment = conda(PAGE, tmp_path)
    clone = environment.clone("copy")
    assert (clone.name, clone.digest, clone.version) == ("copy", environment.digest, None)


@given(st.lists(st.text(max_size=20), max_size=4))
def test_no_text_raises_anything_but_a_refusal(entries: list[str]) -> None:
    environment = Environment("any")
    for entry in entries:
        environment.python.conda_dependencies.add_pip_package(entry)
    try:
        spec = environment.spec()
    except InvalidArgument:
        return
    assert Environment.from_spec("any", spec).digest == environment.digest
    assert not any("\n" in line for line in spec["pip"])
