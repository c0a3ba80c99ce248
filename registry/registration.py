"""Putting a model version together: check what was said, read the file, store the bytes, then one transaction."""

import getpass
import json
import os
import shutil
import sys
import tokenize
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from registry.code import code_files
from registry.composition.plan import PLAN, functions_of_script
from registry.definitions import MODULE, Definitions, definitions
from registry.errors import (
    FrameworkMissing,
    InvalidArgument,
    InvalidResource,
    LocalPathNotFound,
    MainModuleClass,
    NeedsRunning,
    NotAnArtifact,
)
from registry.records import TRAINED_IN, Artifact, Json, ModelVersion, RunRecord
from registry.resources import ResourceConfiguration
from registry.sample import read_sample
from registry.stores import disk
from registry.stores.base import ArtifactStore, MetadataStore

if TYPE_CHECKING:
    from registry.artifact import ArtifactFacts
    from registry.environment import Environment

# Declared to be one of these, or nothing, a file must be what scikit-learn's users save.
_READ: Final = (None, "ScikitLearn")
_NOT_SERVED: Final = {"skops": "skops", "onnx": "ONNX"}
_TOLD: Final = frozenset({"scikit-learn", "numpy", "scipy", "pandas", "joblib"})


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What was said about a model that is to be registered; see `Model.register`."""

    name: str
    path: Path
    child_paths: Sequence[str] | None
    tags: Mapping[str, str]
    properties: Mapping[str, str]
    description: str | None
    framework: str | None
    framework_version: str | None
    sample: object
    sample_output: object
    resource_configuration: ResourceConfiguration | None
    code: Path | None
    training_script: Path | None
    environment: "Environment | str | None"
    run_id: str | None
    experiment_name: str | None
    settings: Mapping[str, Json]
    expected: object = None

    def store(self, metadata: MetadataStore, artifacts: ArtifactStore) -> ModelVersion:
        self._check()
        before = _state(self.path)
        facts = self._facts()
        defined = self._definitions(facts)
        artifact = replace(self._put_model(artifacts), format=facts.format)
        if _state(self.path) != before:
            raise InvalidArgument("model_path", f"{self.path} changed while it was registered; try again")
        settings = dict(self.settings)
        sample = None if self.sample is None else store_sample(artifacts, "sample", self.sample)
        if self.sample_output is not None:
            output = store_sample(artifacts, "sample_output_dataset", self.sample_output)
            settings |= {"sample_output": output.digest, "sample_output_name": output.name}
        if self.expected is not None:
            settings["expected"] = _store_expected(artifacts, self.expected, self.sample)
        run = None if self.run_id is None else metadata.get_run(self.run_id)
        environment = environment_digest(metadata, self.environment)
        if environment is not None and settings.get("strict_python"):
            from registry.interpreters import check_python

            record = metadata.get_environment_by_digest(environment)
            check_python(record.spec, record.name)
        return metadata.add_model(
            ModelVersion(
                name=self.name,
                version=0,
                created_time=datetime.now(UTC),
                artifact=artifact,
                framework=self.framework,
                framework_version=self.framework_version,
                description=self.description,
                tags=self.tags,
                properties=self.properties,
                resource_configuration=(self.resource_configuration or ResourceConfiguration()).fitting(
                    artifact.size, facts.compressor is not None
                ),
                run_id=self.run_id,
                experiment_name=self.experiment_name or (run.experiment if run else None),
                created_by=user_name(),
                environment=environment or (None if run is None or _is_users_own(run) else run.environment),
                code=self._put_code(artifacts, facts, defined),
                sample=sample.digest if sample else None,
                sample_name=sample.name if sample else None,
                facts={**_with(facts, defined).to_json(), **({} if run is None else _trained_in(run))},
                settings=settings,
            )
        )

    @property
    def _script(self) -> str | None:
        """The scoring script that answers in place of the model's methods, in the folder `code`."""
        return self.settings.get("entry_script")

    def _check(self) -> None:
        """What can be wrong before any byte is read."""
        if self._script is not None:
            folder = self._folder or Path()
            if Path(self._script).name != self._script or not self._script.endswith(".py"):
                raise InvalidArgument(
                    "entry_script", f"{self._script} is not the name of a Python file in the code folder"
                )
            if self._folder is None or not (folder / self._script).is_file():
                raise LocalPathNotFound("entry_script", str(folder / self._script))
        if self.framework_version is not None and self.framework is None:
            raise FrameworkMissing
        limits = self.resource_configuration
        if limits is not None and not isinstance(limits, ResourceConfiguration):
            raise InvalidResource("resource_configuration", limits, "a ResourceConfiguration")
        _check_settings(self.settings)
        if not self.path.exists():
            beside = self.path.parent
            raise LocalPathNotFound("model_path", str(self.path), os.listdir(beside) if beside.is_dir() else ())
        if self.path.is_dir():
            return
        if self.child_paths is not None:
            raise InvalidArgument("child_paths", f"model_path {self.path} is a file; they choose files of a folder")
        with disk.open_plain(self.path):  # a pipe or a file that may not be read says so here
            pass

    def _facts(self) -> "ArtifactFacts":
        from registry.artifact import ArtifactFacts, read_artifact

        if PLAN in self.settings:
            return self._facts_of_plan()
        try:
            facts = read_artifact(self.path)
            self._check_format(facts.format)
            return facts
        except NotAnArtifact:
            if self.framework in _READ and not self._script:
                raise
            return ArtifactFacts(format="other", complete=False)

    def _facts_of_plan(self) -> "ArtifactFacts":
        """Of a chain: what all of its files need, and the class of its model."""
        from registry.artifact import read_artifact
        from registry.composition.files import merged

        plan = self.settings[PLAN]
        facts = {file: read_artifact(self.path / file, file) for file, _ in plan["parts"].values()}
        file, key = plan["parts"][plan["model"]]
        model = facts[file] if key is None else None
        return replace(
            merged(facts.values()),
            class_name=model.class_name if model else None,
            class_module=model.class_module if model else None,
        )

    def _check_format(self, form: str) -> None:
        """Some formats are recognised and not served: an environment for them would be built in vain.

        Raises:
            NotAnArtifact
        """
        if form == "folder":
            suffixes = {file.suffix.lower() for file in self.path.rglob("*")}
            form = next((name for name in _NOT_SERVED if f".{name}" in suffixes), form)
            if suffixes & {".joblib", ".pkl"}:
                return
        if form in _NOT_SERVED:
            raise NotAnArtifact(
                self.path.name,
                f"models in the format of {_NOT_SERVED[form]} are not served yet: save the fitted estimator with joblib.dump",
            )

    def _put_model(self, artifacts: ArtifactStore) -> Artifact:
        if self.path.is_dir():
            return artifacts.put_folder(self.path, files=self.child_paths)
        return artifacts.put_file(self.path)

    @property
    def _folder(self) -> Path | None:
        """Where the modules lie."""
        return self.code.absolute().parent if self.code is not None and self.code.is_file() else self.code

    def _definitions(self, facts: "ArtifactFacts") -> Definitions:
        """What the training script defines of the classes and functions that the file names.

        Raises:
            MainModuleClass, NeedsRunning: something is not to be had from the script, or no script is known.
        """
        script = self.code if self.code is not None and self.code.is_file() else self.training_script
        names = [*facts.main_names, *functions_of_script(self.settings.get(PLAN))]
        if not names:
            return Definitions()
        if script is None:
            raise MainModuleClass(names[0])
        return script_definitions(script, names)

    def _put_code(self, artifacts: ArtifactStore, facts: "ArtifactFacts", defined: Definitions) -> str | None:
        """The modules that travel, and the definitions of the training script as one more."""
        modules = [*facts.modules, *defined.modules, *([Path(self._script).stem] if self._script else [])]
        files = code_files(self._folder, modules) if self._folder is not None else []
        if not defined.source:
            return (
                artifacts.put_folder(self._folder, "code", files).digest if self._folder is not None and files else None
            )
        with TemporaryDirectory() as folder:
            for file in files:
                (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile((self._folder or Path()) / file, Path(folder) / file)
            (Path(folder) / MODULE).write_text(defined.source, "utf-8")
            return artifacts.put_folder(Path(folder), "code", [*files, MODULE]).digest


def script_definitions(script: Path, names: Sequence[str]) -> Definitions:
    """The definitions of `names` in the file `script`.

    Raises:
        MainModuleClass, NeedsRunning: the script does not give them.
        InvalidArgument: it is not a Python script.
    """
    try:
        found = definitions(_source(script), names)
    except (SyntaxError, ValueError) as error:
        raise InvalidArgument("code", f"{script} is not a Python script: {error}") from None
    for lacking in found.lacking:
        if lacking.line:
            raise NeedsRunning(script.name, lacking.user, lacking.name, lacking.line)
        raise MainModuleClass(lacking.name, script.name)
    return found


def _source(script: Path) -> str:
    """Of a script by its own declaration of the encoding; of a notebook its code cells, without magics."""
    if script.suffix.lower() == ".ipynb":
        cells = json.loads(script.read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in text.split("\n"))
    with tokenize.open(script) as file:
        return file.read()


def _with(facts: "ArtifactFacts", defined: Definitions) -> "ArtifactFacts":
    """`facts` with the packages that the script's definitions import."""
    more = {module for module in defined.modules if module not in sys.stdlib_module_names}
    return replace(facts, modules=tuple(sorted(more.union(facts.modules))))


def _check_settings(settings: Mapping[str, Json]) -> None:
    """The gateway acts by these, so what it would not understand is refused here.

    Raises:
        InvalidArgument
    """
    try:
        json.dumps(dict(settings), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidArgument("settings", f"they must be JSON values: {error}") from error
    for name, (right, what) in _SETTINGS.items():
        value = settings.get(name)
        if value is not None and not right(value):
            raise InvalidArgument(f"settings[{name!r}]", f"{value!r} is not {what}")


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_SETTINGS: Final[Mapping[str, tuple[Callable[[Json], bool], str]]] = {
    "children": (lambda value: _is_number(value) and value in range(1, 1001), "a whole number from 1 to 1000"),
    "max_compute_s": (lambda value: _is_number(value) and value > 0, "a number of seconds above 0"),
    "batching": (lambda value: isinstance(value, bool), "True or False"),
    "default_method": (lambda value: isinstance(value, str), "the name of a method"),
}


def _store_expected(artifacts: ArtifactStore, expected: object, sample: object) -> str:
    from registry.golden import check_expected

    if sample is None:
        raise InvalidArgument("expected", "the answers belong to the rows of a sample: give a sample too")
    data, name = read_sample("expected", expected)
    check_expected(data)
    return artifacts.put_bytes(data, name).digest


def store_sample(artifacts: ArtifactStore, what: str, sample: object) -> Artifact:
    data, name = read_sample(what, sample)
    return artifacts.put_bytes(data, name)


def environment_digest(metadata: MetadataStore, environment: "Environment | str | None") -> str | None:
    """Of an environment, which is stored with it; or the digest of one that the workspace knows.

    Raises:
        EnvironmentNotFound: the workspace does not know it.
    """
    if environment is None:
        return None
    if isinstance(environment, str):
        return metadata.get_environment_by_digest(environment).digest
    return metadata.put_environment(environment.name, environment.digest, environment.spec()).digest


def _is_users_own(run: RunRecord) -> bool:
    """Whether it ran in a Python that its user takes care of, which may be another one tomorrow."""
    return run.details.get("interpreter_path") is not None


def _trained_in(run: RunRecord) -> dict[str, Json]:
    """What was installed where the run ran, kept with the version since runs can be deleted."""
    interpreter = run.details.get("interpreter")
    if not interpreter:
        return {}
    frozen = interpreter.get("frozen") or []
    if run.environment is None:  # fitserve's own Python, of which only this matters to a model
        frozen = [release for release in frozen if release.partition("==")[0] in _TOLD]
    told = {"python": interpreter.get("python"), "frozen": frozen, "warnings": run.details.get("warnings") or []}
    return {TRAINED_IN: {"environment": run.environment, "name": run.details.get("environment_name"), **told}}


def as_text(what: str, values: Mapping[str, object] | None) -> dict[str, str]:
    """Tags and properties are text, whatever was given.

    Raises:
        InvalidArgument: it is not a dictionary with names for keys.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping) or not all(isinstance(key, str) and key for key in values):
        raise InvalidArgument(what, "they must be a dictionary whose keys are text")
    return {key: value if isinstance(value, str) else str(value) for key, value in values.items()}


def immutable(old: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """`old` with `more`.

    Raises:
        InvalidArgument: a key is there with another value.
    """
    for key, value in more.items():
        if old.get(key, value) != value:
            raise InvalidArgument("properties", f"{key!r} is {old[key]!r} for ever; use a tag for what changes")
    return {**old, **more}


def _state(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def user_name() -> str:
    """Of whoever this process belongs to."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        return str(os.getuid())
