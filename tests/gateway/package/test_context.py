"""A package: the same bytes each time, nothing but checked values in its Dockerfile, and a workspace again inside."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.auth.service_keys import first_keys
from gateway.package import context, load, manifest, manifests, written
from gateway.package.contents import Contents, Pinned, collect
from gateway.package.errors import CannotPin, FolderInUse, NotAPackage, NothingToPackage, UnsafeValue
from gateway.package.patterns import PATTERNS, checked
from registry import Model, Workspace, services
from registry.environments.interpreters import Interpreter
from registry.environments.serving import Own
from registry.errors import InvalidArgument, InvalidName, ModelNotFound, ServiceNotFound
from registry.sdk.environment import Environment
from tests.e2e.gateway import fitserve, serving
from tests.e2e.models import iris_svc

GOOD = {
    "a model": "iris.v-1_x:12",
    "a service": "iris-service",
    "an image": "registry.example.com:5000/team/iris:1.0@sha256:" + "0" * 64,
    "a name in Kubernetes": "iris-1",
    "a pinned requirement": "scikit-learn==1.9.1.post1+cpu",
    "a Python": "3.11",
    "a digest": "0" * 64,
    "a version of fitserve": "0.1.0",
    "a quantity": "500m",
}
WRONG = ["\n", "\nRUN id", '"', " ", "$(id)", "`id`", "\\", "ß", "\u0660", "\r", "\x00", "#", "'", "${X}", ";"]


def tree(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), int(path.stat().st_mtime), path.stat().st_mode)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("what", sorted(PATTERNS))
def test_values_match_their_pattern_as_a_whole(what: str) -> None:
    """R15."""
    assert checked(what, GOOD[what]) == GOOD[what]
    for bad in [*(GOOD[what] + wrong for wrong in WRONG), *(wrong + GOOD[what] for wrong in WRONG), "", None, 7]:
        with pytest.raises(UnsafeValue) as raised:
            checked(what, bad)
        assert "\n" not in str(raised.value)


def test_the_same_models_give_the_same_bytes(workspace: Workspace, tmp_path: Path) -> None:
    first = context.write(workspace, collect(workspace), tmp_path / "a")
    second = context.write(workspace, collect(workspace), tmp_path / "deep" / "b")
    assert tree(first) == tree(second)
    assert {mtime for _, mtime, _ in tree(first).values()} == {0}
    again = context.write(workspace, collect(workspace), tmp_path / "a")
    assert tree(again) == tree(second)
    assert not list(tmp_path.glob(".a.*"))


def test_the_same_manifests_have_the_same_times_and_modes(workspace: Workspace, tmp_path: Path) -> None:
    found = collect(workspace)
    made = manifests.files(manifests.Plan.of(found, image="localhost/all:1"))
    first = context.write(workspace, found, tmp_path / "a", manifests=made)
    before = os.umask(0o077)
    try:
        second = context.write(workspace, found, tmp_path / "b", manifests=made)
    finally:
        os.umask(before)
    assert tree(first) == tree(second)
    assert {mtime for _, mtime, _ in tree(first).values()} == {0}
    for folder in (".", "kubernetes", "kubernetes/kserve"):
        assert [(where / folder).stat().st_mtime for where in (first, second)] == [0, 0]


def test_it_holds_the_named_versions_and_no_more(workspace: Workspace, tmp_path: Path) -> None:
    folder = context.write(workspace, collect(workspace, ["iris:1", "custom"]), tmp_path / "p")
    ids = [record.id for record, _ in manifest.read(folder).models]
    assert ids == ["custom:1", "iris:1"]
    wanted = {Model(workspace, "iris", version=1).record.artifact.digest}
    custom = Model(workspace, "custom").record
    assert custom.code is not None
    wanted |= {custom.artifact.digest, custom.code, *workspace.artifacts.files(custom.code).values()}
    assert set(os.listdir(folder / "artifacts")) == wanted
    form = (folder / "package.json").read_text()
    assert str(tmp_path) not in form
    assert "created_by" not in form


@pytest.mark.parametrize(
    ("name", "error"),
    [("irsi", ModelNotFound), ("iris:9", ModelNotFound), ("iris:x", UnsafeValue), ("iris\nRUN id", ModelNotFound)],
)
def test_what_is_not_there_is_named(workspace: Workspace, name: str, error: type[Exception]) -> None:
    with pytest.raises((error, InvalidName)):
        collect(workspace, [name])


def test_an_empty_workspace_has_nothing_to_package(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "empty") as workspace, pytest.raises(NothingToPackage, match="register one first"):
        collect(workspace)


def test_nothing_unchecked_reaches_the_dockerfile(contents: Contents) -> None:
    good = context.dockerfile(contents, "localhost/fitserve:0.1.0")
    assert [line.split()[0] for line in good.splitlines() if line[:1].isalpha()] == [
        "ARG", "FROM", "USER", "COPY", "ENV", "RUN", "USER", "LABEL", "CMD",
    ]  # fmt: skip
    evil = "iris\nRUN id\n"
    packaged = contents.models[0]
    for bad in (
        replace(contents, models=(replace(packaged, record=replace(packaged.record, name=evil)),)),
        replace(contents, models=(replace(packaged, record=replace(packaged.record, name='x" \\')),)),
    ):
        with pytest.raises(UnsafeValue):
            context.dockerfile(bad, "localhost/fitserve:0.1.0")
    for image in ("x\nRUN id", "x y", "x\n", "UPPER", "-x", "x --platform=y", "$(id)"):
        with pytest.raises(UnsafeValue):
            context.dockerfile(contents, image)


def test_another_python_comes_from_the_official_image_of_that_python(contents: Contents) -> None:
    def with_python(*versions: str) -> str:
        first = contents.models[0]
        models = [replace(first, environment=replace(first.environment, python=python)) for python in versions]
        return context.dockerfile(replace(contents, models=tuple(models)), "localhost/fitserve:0.1.0")

    assert context.IMAGE_PYTHON == "3.11"
    assert "AS python" not in with_python("3.11", "3.11")
    text = with_python("3.8", "3.11", "3.13", "3.8")
    lines = text.splitlines()
    assert [line for line in lines if line.startswith(("ARG", "FROM"))] == [
        "ARG FITSERVE_IMAGE=localhost/fitserve:0.1.0",
        "ARG PYTHON_3_13_IMAGE=docker.io/library/python:3.13-slim-bookworm",
        "ARG PYTHON_3_8_IMAGE=docker.io/library/python:3.8-slim-bookworm",
        "FROM ${PYTHON_3_13_IMAGE} AS python-3.13",
        "FROM ${PYTHON_3_8_IMAGE} AS python-3.8",
        "FROM ${FITSERVE_IMAGE}",
    ]
    assert "COPY --from=python-3.8 /usr/local /opt/python/3.8" in lines
    assert "ENV PATH=$PATH:/opt/python/3.13/bin:/opt/python/3.8/bin" in lines
    assert with_python("3.13", "3.8", "3.8", "3.11") == text
    for bad in ("3.8\nRUN id", "3.8 AS x", "3.8\n", "${X}", "latest"):
        with pytest.raises(UnsafeValue):
            with_python(bad)


def test_requirements_are_releases_or_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = Environment("odd")
    environment.python.conda_dependencies.add_pip_package("scikit-learn==1.5.2")
    environment.environment_variables = {"TOKEN": "s3cret"}
    record = Model(workspace, "iris").record
    workspace.metadata.put_environment("odd", environment.digest, environment.spec())
    workspace.metadata.update_model("iris", 2, lambda old: replace(old, environment=environment.digest))
    frozen = ["scikit-learn==1.5.2", "numpy==2.0.0"]

    def made(*_: object, **__: object) -> Interpreter:
        return Interpreter(Path("python"), "0" * 32, tuple(frozen), "3.11.7")

    monkeypatch.setattr("gateway.package.contents.interpreter_for", made)
    found = collect(workspace, ["iris"])
    pinned = found.models[0].environment
    assert (pinned.python, pinned.requirements) == ("3.11", ("numpy==2.0.0", "scikit-learn==1.5.2"))
    assert any("TOKEN" in note and "s3cret" not in note for note in found.notes)
    assert record.version == 2
    for bad in ("mine @ file:///home/me/mine", "a==1\nb==2", "-e .", "x==1 --hash=y"):
        frozen[:] = [bad]
        with pytest.raises(CannotPin, match="iris:2"):
            collect(workspace, ["iris"])


def test_a_folder_of_somebody_else_is_left_alone(workspace: Workspace, contents: Contents, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    for folder, sentence in ((other, "did not write: 'thesis.tex'"), (other / "thesis.tex", "is not a folder")):
        with pytest.raises(FolderInUse, match=sentence):
            context.write(workspace, contents, folder)
    assert os.listdir(other) == ["thesis.tex"]


@pytest.mark.parametrize(
    "name", ["notes.md", "kubernetes/overlay.yaml", "Dockerfile", "artifacts/x", ".git/HEAD", "empty/"]
)
def test_what_others_put_into_a_package_is_never_deleted(
    workspace: Workspace, contents: Contents, tmp_path: Path, name: str
) -> None:
    """Added or changed: the folder is refused, and named with what is in the way."""
    folder = context.write(workspace, contents, tmp_path / "p")
    path = folder / name
    (path if name.endswith("/") else path.parent).mkdir(exist_ok=True)
    if not name.endswith("/"):
        path.write_text("theirs")
    with pytest.raises(FolderInUse, match=f"did not write: '{name.rstrip('/')}'; move them away"):
        context.write(workspace, contents, folder)
    assert path.is_dir() if name.endswith("/") else path.read_text() == "theirs"


def test_a_package_in_a_folder_without_its_list_is_refused(
    workspace: Workspace, contents: Contents, tmp_path: Path
) -> None:
    folder = context.write(workspace, contents, tmp_path / "p")
    before = tree(folder)
    (folder / written.NAME).write_text("[]")
    with pytest.raises(FolderInUse, match=r"and \d more"):
        context.write(workspace, contents, folder)
    assert {name: found for name, found in tree(folder).items() if name != written.NAME}.keys() == before.keys() - {
        written.NAME
    }


def test_the_operators_key_stays_when_a_package_is_written_anew(
    workspace: Workspace, contents: Contents, tmp_path: Path
) -> None:
    folder = context.write(workspace, contents, tmp_path / "p")
    (folder / "kubernetes").mkdir()
    (folder / context.KEY_FILE).write_text("the key")
    context.write(workspace, contents, folder)
    assert os.listdir(folder / "kubernetes") == ["key.txt"]
    assert "kubernetes" in (folder / ".dockerignore").read_text().split()


def test_a_service_goes_along_without_its_keys(workspace: Workspace, tmp_path: Path) -> None:
    limits = services.own_resources(0.5, None)
    kept = {"auth_enabled": True, **first_keys(workspace.root, "flowers", {})} | limits
    services.deploy(workspace, "flowers", ["iris:1"], settings=kept)
    (workspace.root / "settings.toml").write_text('port = 9999\nbatch_rows = 7\nkey_file = "/etc/key"\n')
    found = collect(workspace, services=["flowers"])
    folder = context.write(workspace, found, tmp_path / "p")
    assert (found.default, [p.record.id for p in found.models]) == ("flowers", ["iris:1"])
    assert (folder / "settings.toml").read_text() == "batch_rows = 7\n"
    assert any("its keys stay behind" in note for note in found.notes)
    assert "FITSERVE_KEY" in (folder / "README.md").read_text()
    assert "README.md" in (folder / ".dockerignore").read_text().split()
    secrets = [*kept["keys"], *map(str, kept["key_numbers"])]
    assert not [secret for secret in secrets if secret in (folder / "package.json").read_text()]
    with Workspace.open(tmp_path / "inside") as inside:
        load.load(folder, inside)
        assert inside.metadata.get_service("flowers").models == ("iris:1",)
        assert inside.metadata.get_service("flowers").settings == limits
        assert inside.metadata.get_value("default_service") == "flowers"
    with pytest.raises(ServiceNotFound):
        collect(workspace, services=["nothing"])


def test_what_is_loaded_is_what_was_packaged(workspace: Workspace, tmp_path: Path) -> None:
    folder = context.write(workspace, collect(workspace), tmp_path / "p")
    with Workspace.open(tmp_path / "inside") as inside:
        for _ in range(2):  # a container that is started again finds its workspace filled
            load.load(folder, inside)
        for name in ("iris", "custom", "diabetes"):
            there, here = Model(workspace, name).record, Model(inside, name).record
            same = replace(
                there, created_by=None, environment=here.environment, resource_configuration=here.resource_configuration
            )
            assert here == same
            assert here.resource_configuration == there.resource_configuration
            inside.artifacts.verify(here.artifact.digest)
        assert Model(inside, "iris").version == 2
        assert [model.version for model in Model.list(inside, "iris")] == [2]


def test_damaged_packages_are_refused(workspace: Workspace, contents: Contents, tmp_path: Path) -> None:
    folder = context.write(workspace, contents, tmp_path / "p")

    def damaged(name: str, data: str) -> Path:
        copy = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(folder, copy)
        (copy / name).write_text(data)
        return copy

    form = json.loads((folder / "package.json").read_text())
    key = next(iter(form["environments"]))
    digest = contents.models[0].record.artifact.digest
    with Workspace.open(tmp_path / "inside") as inside:
        for name, data, error in (
            ("package.json", "{", NotAPackage),
            ("package.json", "[]", NotAPackage),
            ("package.json", json.dumps({**form, "format": 2}), NotAPackage),
            (f"environments/{key}.txt", "numpy==1\n--index-url http://evil\n", UnsafeValue),
            (f"artifacts/{digest}", "other bytes", NotAPackage),
        ):
            with pytest.raises(error):
                load.load(damaged(name, data), inside)
        assert inside.metadata.list_models() == []


def test_the_images_own_python_serves_where_it_has_the_releases(contents: Contents) -> None:
    own = Own.here()
    pinned = contents.models[0].environment
    assert load.is_own(pinned, own)
    for other in (
        replace(pinned, requirements=(*pinned.requirements, "numpy==1.0")),
        replace(pinned, requirements=(*pinned.requirements, "nothing==1.0")),
        replace(pinned, python="3.6"),
        replace(pinned, own=False),
    ):
        assert not load.is_own(other, own)
    spec = load.environment_of("abc", Pinned("3.11", ("b==1", "a==2"), {"X": "1"}, own=False)).spec()
    assert spec == {"python": "3.11", "pip": ["a==2", "b==1"], "variables": {"X": "1"}}


@pytest.mark.slow
def test_a_package_answers_its_golden_rows_without_the_workspace(tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    model = iris_svc(tmp_path)
    for _ in range(2):
        fitserve("register", str(model), "--name", "iris", "--cpu", "0.5", workspace=workspace)
    with serving(workspace) as gateway:
        gateway.wait_for("iris", 2)
        expected = gateway.score("iris", [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]).json()
    made = fitserve("package", "iris", "-o", str(tmp_path / "p"), "--kubernetes", workspace=workspace)
    assert made.returncode == 0, made.stderr
    assert "note" not in made.stderr
    shutil.rmtree(workspace)
    with serving(tmp_path / "inside", command=("run-package", str(tmp_path / "p"))) as gateway:
        entry = gateway.wait_for("iris", 2)
        assert entry["golden"]["answers"] > 0
        assert (entry["golden"]["difference"], entry["golden"]["unverified"]) == (None, None)
        assert gateway.score("iris", [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]).json() == expected
        assert gateway.http.post("/score", json={"data": [[5.1, 3.5, 1.4, 0.2]]}).status_code == 200


def test_the_command_says_what_is_wrong_in_a_line(tmp_path: Path, workspace: Workspace) -> None:
    for arguments, said in (
        (["--base", "x\nRUN id"], "cannot be used as an image"),
        (["--image", "UPPER"], "cannot be used as an image"),
        (["nothing"], "is not registered"),
        (["--replicas", "3", "2"], "3 is more than 2"),
    ):
        done = fitserve("package", *arguments, "-o", str(tmp_path / "p"), workspace=workspace.root)
        assert done.returncode in (2, 4), done.stderr
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "p").exists()


def test_settings_that_are_wrong_are_refused(workspace: Workspace) -> None:
    (workspace.root / "settings.toml").write_text("batch_rows = 'seven'\n")
    with pytest.raises(InvalidArgument, match="batch_rows"):
        collect(workspace, ["iris"])
