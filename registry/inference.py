"""InferenceConfig: a service with a scoring script, or an environment, of its own.

The same model may be deployed under several scripts, so a script is no property of the model. A service keeps, in its settings,
what it has in place of the model's own: the script with its folder, an environment, and where there are several models, the
folder that holds them. `answering` is the model's version with all that, which a service that runs alone is served by.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from registry.artifacts.code import FILE_LIMIT, SIZE_LIMIT, is_skipped
from registry.environments.requirements import package_name
from registry.environments.spec import is_own, put
from registry.errors import InvalidArgument, LocalPathNotFound, ModelNotFound
from registry.models import HasId, id_of
from registry.names import split_id
from registry.records import Artifact, Json, ModelVersion, ServiceRecord
from registry.stores.base import Stores

INFERENCE: Final = "inference"  # of a service's settings
FOLDER_OF_MODELS: Final = "folder_of_models"  # setting of a version: its artifact is `<name>/<version>/<model>`
_NEEDED: Final = "numpy"  # by the scoring child itself
_SCHEMA: Final = "inference_schema"
_SEVERAL: Final = "a service has exactly one, or with an entry_script, which says what they answer, several"


@dataclass(frozen=True)
class InferenceConfig:
    """How a service scores, where that is not with the model's own methods in the model's own environment.

    Args:
        entry_script: a Python file with `init()` and `run()`, relative to `source_directory` where that is given. None: the
            methods of the one model.
        source_directory: all of it travels along; without it the script alone does.
        environment: digest of one that the stores knows; None takes the model's.
        strict_python: no newer Python in place of the one that the environment asks for.
    """

    entry_script: str | None = None
    source_directory: str | None = None
    environment: str | None = None
    strict_python: bool = False

    def store(self, stores: Stores, models: Sequence[HasId | str]) -> dict[str, Json]:
        """The settings of a service that answers by it. Only content is stored, under its digest.

        Raises:
            InvalidArgument, LocalPathNotFound, ModelNotFound, EnvironmentNotFound
        """
        name = code = None
        if self.entry_script is not None:
            folder, name = self._folder_and_name(self.entry_script)
            files = [name] if self.source_directory is None else _all_files(folder)
            code = stores.artifacts.put_folder(folder, "code", files).digest
        elif self.environment is None:
            raise InvalidArgument("inference_config", "it names neither an entry_script nor an environment")
        elif len(models) != 1:
            raise InvalidArgument("models", _SEVERAL)
        environment = None if self.environment is None else _environment(stores, self.environment, code)
        own = {"script": name, "code": code, "environment": environment, "strict_python": self.strict_python}
        return {INFERENCE: {**own, "models": _models(stores, models)}}

    def _folder_and_name(self, script: str) -> tuple[Path, str]:
        if self.source_directory is not None:
            folder, name = Path(self.source_directory).absolute(), PurePosixPath(script)
            if name.is_absolute() or ".." in name.parts:
                raise InvalidArgument("entry_script", f"{name} must be relative to source_directory and inside it")
            if not folder.is_dir():
                raise LocalPathNotFound("source_directory", str(folder))
        else:
            path = Path(script).absolute()
            folder, name = path.parent, PurePosixPath(path.name)
        if name.suffix != ".py":
            raise InvalidArgument("entry_script", f"{script} is not a Python file")
        if not (folder / name).is_file():
            raise LocalPathNotFound("entry_script", str(folder / name))
        return folder, name.as_posix()


def with_models(stores: Stores, record: ServiceRecord, models: Sequence[HasId | str]) -> dict[str, Json]:
    """The settings of a service whose models change, as far as they depend on those."""
    own = record.settings.get(INFERENCE)
    if not own:
        return {}
    if own["script"] is None and len(models) != 1:
        raise InvalidArgument("models", _SEVERAL)
    return {INFERENCE: {**own, "models": _models(stores, models)}}


def ids_of(stores: Stores, models: Sequence[HasId | str]) -> tuple[str, ...]:
    """``name:version`` of each, or ``name`` for one whose live version is wanted.

    Raises:
        InvalidArgument: there is none, or several of which one has no version.
        ModelNotFound
    """
    if isinstance(models, str) or not isinstance(models, Sequence):
        raise InvalidArgument("models", f"a list of one model or more is expected, not {models!r}")
    if not models:
        raise InvalidArgument(
            "models", "a service has a model, also where a script answers: register any file, as the framework Custom"
        )
    if len(models) == 1 and isinstance(models[0], str) and ":" not in models[0]:
        return (stores.metadata.get_model(models[0]).name,)
    return tuple(id_of(stores.metadata, each) for each in models)


def answering(service: ServiceRecord, version: ModelVersion) -> ModelVersion:
    """`version` as this service has it.

    Golden rows hold in another environment too, where they decide; of a script's answers they say nothing.
    """
    own = service.settings.get(INFERENCE)
    if not own:
        return version
    strict = own["strict_python"] or version.settings.get("strict_python")
    settings = {**version.settings, **({"strict_python": True} if strict else {})}
    version = replace(version, environment=own["environment"] or version.environment, settings=settings)
    if own["script"] is None:
        return version
    return replace(
        version,
        artifact=version.artifact if own["models"] is None else Artifact(**own["models"]),
        code=own["code"],
        settings={**settings, "entry_script": own["script"], FOLDER_OF_MODELS: own["models"] is not None},
        sample=None,
        sample_name=None,
        golden=None,
    )


def content_of(version: ModelVersion) -> str:
    """Names what answers for it: where that changes, other processes have to."""
    script = version.settings.get("entry_script")
    return " ".join(str(part) for part in (version.artifact.digest, version.environment, version.code, script))


def versions_of_services(stores: Stores) -> Iterator[ModelVersion]:
    """What services have made of their models: content and environments that no registered version may name."""
    for service in stores.metadata.list_services():
        if service.settings.get(INFERENCE):
            name, _, number = service.models[0].partition(":")
            with contextlib.suppress(ModelNotFound):
                yield answering(service, stores.metadata.get_model(name, int(number) if number else None))


def _models(stores: Stores, models: Sequence[HasId | str]) -> Json:
    """Of several models the folder that holds them, `<name>/<version>/<model>` as Azure lays them out. One needs none."""
    ids = ids_of(stores, models)
    if len(ids) == 1:
        return None
    with tempfile.TemporaryDirectory(dir=stores.cache_dir) as parent:
        folder = Path(parent, "azureml-models")
        for record in (stores.metadata.get_model(*split_id(each)) for each in ids):
            target = folder / record.name / str(record.version) / record.artifact.name
            target.parent.mkdir(parents=True, exist_ok=True)
            source = stores.artifacts.local_path(record.artifact.digest)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copyfile(source, target)
        stored = stores.artifacts.put_folder(folder)
    return {
        "digest": stored.digest,
        "size": stored.size,
        "kind": stored.kind,
        "name": stored.name,
        "format": stored.format,
    }


def _environment(stores: Stores, digest: str, code: str | None) -> str:
    """That environment, with what scoring needs in it: Azure brought that along with `azureml-defaults`."""
    record = stores.metadata.get_environment_by_digest(digest)
    spec = record.spec
    if is_own(spec):
        return digest
    there = {package_name(requirement) for requirement in spec["pip"]}
    missing = [_NEEDED] if _NEEDED not in there else []
    if spec.get("shimmed") and "inference-schema" not in there and code and _imports_schema(stores, code):
        missing.append("inference-schema")
    if not missing:
        return digest
    return put(stores.metadata, record.name, {**spec, "pip": sorted([*spec["pip"], *missing])}).digest


def _imports_schema(stores: Stores, code: str) -> bool:
    folder = stores.artifacts.local_path(code)
    return any(_SCHEMA.encode() in path.read_bytes() for path in folder.rglob("*.py"))


def _all_files(folder: Path) -> list[str]:
    """All of a source folder but what no script needs; Azure's ignore files do not count for it.

    Raises:
        InvalidArgument: it is too large.
    """
    found, size = [], 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_skipped(Path(parent, name), keep=("outputs", "logs")))
        for name in sorted(names):
            path = Path(parent, name)
            if not path.is_file() or path.is_symlink() or name.endswith((".pyc", ".pyo")):
                continue
            found.append(path.relative_to(folder).as_posix())
            size += path.stat().st_size
            if len(found) > FILE_LIMIT or size > SIZE_LIMIT:
                raise InvalidArgument(
                    "source_directory", f"{folder} holds more than {FILE_LIMIT} files or {SIZE_LIMIT // 2**20} MB"
                )
    return found
