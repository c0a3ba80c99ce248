"""Which environment serves a version: a pure decision, so every rule is asked for by itself."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from registry.artifacts.facts import read_artifact
from registry.environments.interpreters import interpreter_key, numpy_bound
from registry.environments.packages import package_of, scipy_bound
from registry.environments.serving import Own, ServingEnvironment, decide, same_version
from registry.records import TRAINED_IN, Artifact, ModelVersion

OWN = Own((3, 11), {"scikit-learn": "1.9.1", "numpy": "2.4.6", "scipy": "1.17", "joblib": "1.6.0", "pandas": "3.1.1"})
ARTIFACTS = Path(__file__).parent / "artifacts"
FACTS = {"format": "joblib", "sklearn_version": "1.9.1", "numpy_major": 2, "modules": ["numpy", "sklearn", "joblib"]}


def version(facts: dict[str, Any], **more: Any) -> ModelVersion:
    artifact = Artifact(digest="0" * 64, size=1, kind="file", name="model.joblib", format="joblib")
    return ModelVersion(name="iris", version=1, created_time=datetime.now(UTC), artifact=artifact, facts=facts, **more)


def declared(facts: dict[str, Any], number: str | None, **more: Any) -> ServingEnvironment:
    return decide(version(facts, framework="ScikitLearn", framework_version=number, **more), OWN)


def test_what_the_gateway_has_is_not_built() -> None:
    found = declared(FACTS, None)
    assert (found.rule, found.spec, found.warnings) == ("artifact", None, ())
    assert "scikit-learn 1.9.1" in found.reason


def test_what_wrote_the_file_counts_and_not_what_was_declared() -> None:
    found = declared(FACTS, "0.19.1")
    assert (found.rule, found.spec) == ("artifact", None)
    assert found.warnings == ("scikit-learn 0.19.1 is declared, but 1.9.1 wrote the file",)


@pytest.mark.parametrize(
    ("change", "python", "numpy"),
    [
        ({"sklearn_version": "1.3.2", "numpy_major": 1}, ">=3.8,<3.13", "numpy<2"),
        ({"sklearn_version": "0.24.2", "numpy_major": 1, "min_python": [3, 8]}, ">=3.8,<3.10", "numpy<1.24"),
        ({"sklearn_version": "0.19.1", "numpy_major": 1}, ">=3.6,<3.7", "numpy<1.24"),
        ({"sklearn_version": "1.5.2", "numpy_major": 2}, ">=3.9,<3.14", "numpy>=2"),
        ({"numpy_major": 1}, ">=3.11,<3.15", "numpy<2"),
        ({"sklearn_version": "1.9.0"}, ">=3.11,<3.15", "numpy>=2"),
    ],
)
def test_the_file_decides_the_releases(change: dict[str, Any], python: str, numpy: str) -> None:
    facts = FACTS | change
    found = declared(facts, None)
    assert found.rule == "artifact"
    assert found.spec is not None
    assert found.spec["python"] == python
    assert f"scikit-learn=={facts['sklearn_version']}" in found.spec["pip"]
    assert numpy in found.spec["pip"]
    assert {"pandas", "joblib"} <= set(found.spec["pip"])


def test_packages_that_the_file_names_are_installed_if_they_are_known() -> None:
    found = declared(FACTS | {"modules": ["sklearn", "imblearn", "helpers"]}, None)
    assert found.spec is not None
    assert "imbalanced-learn" in found.spec["pip"]
    assert not any("helpers" in requirement for requirement in found.spec["pip"])
    assert "unknown package helpers" in found.warnings[0]


def test_modules_that_travel_with_the_model_are_no_packages() -> None:
    found = decide(version(FACTS | {"modules": ["sklearn", "helpers"]}), OWN, code={"helpers"})
    assert (found.spec, found.warnings) == (None, ())


def test_a_model_without_scikit_learn_gets_the_gateways_beside_its_own_package() -> None:
    found = declared({"format": "pickle", "modules": ["lightgbm"]}, None)
    assert found.spec is not None
    assert {"lightgbm", "scikit-learn==1.9.1"} <= set(found.spec["pip"])


def test_a_file_that_does_not_tell_is_served_with_what_was_declared() -> None:
    facts = {"format": "pickle", "modules": ["numpy"]}
    found = declared(facts, "1.5.2")
    assert found.rule == "declared"
    assert found.spec is not None
    assert "scikit-learn==1.5.2" in found.spec["pip"]
    assert declared(facts, "1.9").spec is None  # any 1.9 will do
    assert "scikit-learn==1.4.*" in (declared(facts, "1.4").spec or {})["pip"]


@pytest.mark.parametrize("number", [None, "latest", "about 1.5"])
def test_without_anything_known_the_gateways_own_serves_with_a_warning(number: str | None) -> None:
    found = declared({"format": "pickle", "modules": ["numpy"]}, number)
    assert (found.rule, found.spec) == ("own", None)
    assert "served with the gateway's own" in found.warnings[0]


def test_a_development_version_cannot_be_installed() -> None:
    found = declared(FACTS | {"sklearn_version": "1.10.dev0"}, None)
    assert found.spec is None
    assert "1.10.dev0 is not a release" in found.warnings[0]


def test_a_named_environment_comes_first() -> None:
    spec = {"python": "3.8", "pip": ["scikit-learn==1.0.2"], "variables": {}}
    found = decide(version(FACTS, environment="e" * 64), OWN, spec=spec)
    assert (found.rule, found.spec, found.frozen) == ("named", spec, None)
    assert found.warnings == ("scikit-learn 1.9.1 wrote the file, and 1.0.2 serves it",)


def test_the_gateways_own_can_be_named() -> None:
    spec: dict[str, Any] = {"python": None, "pip": [], "variables": {}}
    found = decide(version(FACTS | {"sklearn_version": "1.3.2"}, environment="e" * 64), OWN, spec=spec)
    assert (found.rule, found.spec, found.name) == ("named", None, "own")
    assert found.warnings == ("scikit-learn 1.3.2 wrote the file, and 1.9.1 serves it",)


def test_a_runs_environment_is_taken_as_it_was_resolved() -> None:
    spec = {"python": "3.6.2", "pip": ["numpy", "scikit-learn"], "variables": {}}
    trained = {
        "environment": "e" * 64,
        "name": "sklearn-env",
        "python": "3.6.15",
        "frozen": ["numpy==1.19.5", "scikit-learn==0.24.2", "mine @ file:///here"],
        "warnings": ["as in the run"],
    }
    facts = FACTS | {"sklearn_version": "0.24.2", TRAINED_IN: trained}
    record = version(facts, environment="e" * 64, run_id="run_1")
    found = decide(record, OWN, spec=spec)
    assert (found.rule, found.name, found.warnings) == ("run", "sklearn-env", ("as in the run",))
    assert "run_1" in found.reason
    assert found.frozen is not None
    exact = found.frozen.spec(spec)
    assert (exact["python"], exact["pip"]) == ("3.6.15", ["numpy==1.19.5", "scikit-learn==0.24.2"])
    other = decide(replace(record, environment="f" * 64), OWN, spec=spec)
    assert (other.rule, other.frozen) == ("named", None)


def test_equal_needs_have_equal_keys() -> None:
    old = FACTS | {"sklearn_version": "1.3.2"}
    assert (
        declared(old, None).key
        == declared(old, "0.19.1").key
        != declared(FACTS | {"sklearn_version": "1.3.1"}, None).key
    )
    assert declared(FACTS, None).key is None


@pytest.mark.parametrize("wrote", ["1.3.2", "1.5.2", "1.8.0"])
@pytest.mark.parametrize(
    "change",
    [
        {"format": "pickle", "modules": ["numpy", "sklearn"]},
        {"modules": ["numpy", "sklearn", "joblib", "scipy", "pandas"]},
        {"format": "pickle", "modules": ["sklearn"], "numpy_major": None},  # it holds no array
        {"format": "folder"},
    ],
)
def test_one_scikit_learn_is_one_environment_however_the_file_was_written(wrote: str, change: dict[str, Any]) -> None:
    facts = FACTS | {"sklearn_version": wrote, "numpy_major": 1 if wrote == "1.3.2" else 2}
    one, other = declared(facts, None), declared(facts | change, None)
    assert one.key is not None
    assert one.key == other.key
    assert interpreter_key(one.spec or {}) == interpreter_key(other.spec or {})


def test_a_numpy_that_the_file_needs_is_another_environment() -> None:
    facts = FACTS | {"sklearn_version": "1.5.2"}
    assert declared(facts, None).key != declared(facts | {"numpy_major": 1}, None).key


@pytest.mark.parametrize("name", ["0.19.1-svc-bundled.bin", "0.19.1-svc-joblib.bin"])
def test_files_by_the_bundled_joblib_share_the_environment_of_others(name: str) -> None:
    found = declared(read_artifact(ARTIFACTS / name).to_json(), None)
    assert found.spec is not None
    assert found.spec["python"] == ">=3.6,<3.7"
    assert found.key == declared(read_artifact(ARTIFACTS / "0.19.1-svc-joblib.bin").to_json(), None).key


def test_files_that_no_python_loads_need_no_environment() -> None:
    assert declared({"format": "onnx"}, "1.5.2").rule == "own"


def test_bounds_for_old_releases() -> None:
    assert [scipy_bound(v) for v in ("0.19.1", "0.24.2", "1.0.2", "1.9.1")] == [
        "scipy<1.6",
        "scipy<1.8",
        "scipy<1.9",
        "scipy",
    ]
    assert [numpy_bound(v) for v in ("0.24.2", "1.3.2", "1.9.1")] == ["numpy<1.24", "numpy<2", None]
    assert (package_of("sklearn"), package_of("helpers")) == ("scikit-learn", None)
    assert same_version("1.5", "1.5.2")
    assert not same_version("1.5.1", "1.5.2")
    assert not same_version("1.5.1", None)


def test_this_interpreter_knows_itself() -> None:
    own = Own.here()
    assert own.numpy_major is not None
    assert own.scikit_learn is not None
