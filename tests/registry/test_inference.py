"""A service's own script and environment, as they are written down: what is kept, what is refused, what it is served with."""

from pathlib import Path

import pytest

from registry import services
from registry.environments.requirements import package_name
from registry.errors import InvalidArgument, LocalPathNotFound, ModelNotFound
from registry.inference import InferenceConfig, answering, content_of
from registry.prune import needed_artifacts, prune
from registry.sdk.environment import Environment
from registry.sdk.model import Model
from registry.sdk.workspace import Workspace
from tests.e2e.models import iris_svc

SCRIPT = "def init():\n    pass\n\n\ndef run(data):\n    return data\n"


@pytest.fixture
def model(workspace: Workspace, tmp_path: Path) -> Model:
    return Model.register(workspace, iris_svc(tmp_path), "iris", show_output=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    for name, text in {"a/score.py": SCRIPT, "helper.py": "", "labels.json": "[]", "outputs/kept.txt": "x"}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    for name in (".git/config", "__pycache__/helper.pyc", "venv/pyvenv.cfg"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("not needed")
    return source


def environment(workspace: Workspace, *packages: str) -> str:
    made = Environment("scoring")
    for package in packages:
        made.python.conda_dependencies.add_pip_package(package)
    return workspace.metadata.put_environment(made.name, made.digest, made.spec()).digest


def test_a_folder_travels_along_and_the_model_stays_as_it_is(workspace: Workspace, model: Model, folder: Path) -> None:
    config = InferenceConfig("a/score.py", str(folder))
    record = services.deploy(workspace, "scored", [model], inference=config)
    assert services.runs_alone(record)
    assert services.target(record) == ("iris", 1)
    served = services.own_version(record, model.record)
    assert (served.id, served.artifact, served.settings["entry_script"]) == (
        "iris:1",
        model.record.artifact,
        "a/score.py",
    )
    assert sorted(workspace.artifacts.files(str(served.code))) == [
        "a/score.py",
        "helper.py",
        "labels.json",
        "outputs/kept.txt",
    ]
    assert "entry_script" not in Model(workspace, "iris").record.settings
    assert content_of(served) != content_of(model.record)


def test_without_a_folder_the_script_alone_travels(workspace: Workspace, model: Model, folder: Path) -> None:
    record = services.deploy(workspace, "alone", ["iris"], inference=InferenceConfig(str(folder / "a" / "score.py")))
    assert (record.models, services.target(record)) == (("iris",), ("iris", None))
    code = answering(record, model.record).code
    assert list(workspace.artifacts.files(str(code))) == ["score.py"]


def test_several_models_lie_in_one_folder(workspace: Workspace, model: Model, folder: Path, tmp_path: Path) -> None:
    other = Model.register(workspace, iris_svc(tmp_path / "other"), "other", show_output=False)
    config = InferenceConfig("a/score.py", str(folder))
    record = services.deploy(workspace, "both", [model, other], inference=config)
    assert record.models == ("iris:1", "other:1")
    served = answering(record, model.record)
    name = model.record.artifact.name
    assert sorted(workspace.artifacts.files(served.artifact.digest)) == [f"iris/1/{name}", f"other/1/{name}"]
    assert served.settings["folder_of_models"] is True
    fewer = services.update(workspace, "both", models=[other])
    assert fewer.models == ("other:1",)
    again = answering(fewer, other.record)
    assert (again.artifact, again.code) == (other.record.artifact, served.code)
    with pytest.raises(InvalidArgument, match="exactly one model"):
        services.deploy(workspace, "plain", [model, other])
    with pytest.raises(InvalidArgument, match="several"):
        services.deploy(workspace, "two", [model, other], inference=InferenceConfig(environment=environment(workspace)))


def test_its_environment_has_what_scoring_needs(workspace: Workspace, model: Model, folder: Path) -> None:
    def packages(*given: str, text: str = SCRIPT) -> list[str]:
        (folder / "a" / "score.py").write_text(text)
        config = InferenceConfig("a/score.py", str(folder), environment(workspace, *given))
        record = services.deploy(workspace, "scored", [model], inference=config, overwrite=True)
        digest = services.own_version(record, model.record).environment
        spec = workspace.metadata.get_environment_by_digest(str(digest)).spec
        return sorted(package_name(requirement) for requirement in spec["pip"])

    decorated = "from inference_schema.schema_decorators import input_schema\n" + SCRIPT
    assert packages("joblib", "numpy==1.26.4") == ["joblib", "numpy"]
    assert packages("joblib") == ["joblib", "numpy"]
    assert packages("azureml-defaults", "joblib", text=decorated) == ["inference-schema", "joblib", "numpy"]
    assert packages("joblib", text=decorated) == ["joblib", "numpy"]
    assert packages("azureml-defaults") == []  # fitserve's own Python, which has it all


def test_an_environment_alone_keeps_the_golden_rows(workspace: Workspace, model: Model) -> None:
    digest = environment(workspace, "numpy", "scikit-learn==1.5.2")
    config = InferenceConfig(environment=digest, strict_python=True)
    record = services.deploy(workspace, "older", [model], inference=config)
    served = services.own_version(record, model.record)
    assert (served.environment, served.code, served.golden) == (digest, model.record.code, model.record.golden)
    assert served.settings["strict_python"] is True
    assert "entry_script" not in served.settings


def test_what_is_wrong_is_named_and_leaves_no_service(workspace: Workspace, model: Model, folder: Path) -> None:
    for config, error, words in (
        (InferenceConfig("none.py", str(folder)), LocalPathNotFound, "none.py does not exist"),
        (InferenceConfig("../source/helper.py", str(folder)), InvalidArgument, "inside it"),
        (InferenceConfig("labels.json", str(folder)), InvalidArgument, "not a Python file"),
        (InferenceConfig("score.py", str(folder / "nowhere")), LocalPathNotFound, "source_directory"),
        (InferenceConfig(), InvalidArgument, "neither an entry_script nor an environment"),
    ):
        with pytest.raises(error, match=words):
            services.deploy(workspace, "scored", [model], inference=config)
    good = InferenceConfig("a/score.py", str(folder))
    for models, other in (([], InvalidArgument), (["nobody"], ModelNotFound), ("iris", InvalidArgument)):
        with pytest.raises(other):
            services.deploy(workspace, "scored", models, inference=good)
    assert services.find(workspace, "scored") is None


def test_what_a_service_needs_is_not_pruned(workspace: Workspace, model: Model, folder: Path, tmp_path: Path) -> None:
    other = Model.register(workspace, iris_svc(tmp_path / "other"), "other", show_output=False)
    config = InferenceConfig("a/score.py", str(folder))
    record = services.deploy(workspace, "both", [model, other], inference=config)
    served = answering(record, model.record)
    needed = set(needed_artifacts(workspace))
    assert {served.code, served.artifact.digest} <= needed
    assert set(workspace.artifacts.files(str(served.code)).values()) <= needed
    services.delete(workspace, "both")
    assert served.code not in set(needed_artifacts(workspace))
    assert prune(workspace, days=0).artifacts == []  # what was written in the last hour stays
