"""Models: registering, finding and changing versions. Functions over records, which the SDK and the command line call."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from registry.environments.spec import HasSpec, digest_in
from registry.errors import InvalidArgument, ModelNotFound
from registry.names import split_id
from registry.records import Json, ModelVersion
from registry.registration import Registration, store_sample
from registry.resources import ResourceConfiguration
from registry.stores.base import MetadataStore, Stores
from registry.tags import Filter, as_text, fits, immutable


class HasId(Protocol):
    """A model version, as its record or as an object of the SDK."""

    @property
    def id(self) -> str: ...


def register(stores: Stores, registration: Registration) -> ModelVersion:
    """Store a model as the next version of its name; it is visible when all of it is stored.

    Raises:
        InvalidName, InvalidArgument, LocalPathNotFound: see the sentence.
        NotAnArtifact, MainModuleClass, NeedsRunning: it is not a model that can be served.
        WorkspaceError, DiskFull: it could not be stored.
    """
    return registration.store(stores.metadata, stores.artifacts)


def find(
    stores: Stores,
    name: str | None = None,
    *,
    version: int | None = None,
    tags: Filter | None = None,
    properties: Filter | None = None,
    run_id: str | None = None,
    framework: str | None = None,
) -> list[ModelVersion]:
    """The versions that fit all that is given, by name, then number."""
    return [
        record
        for record in stores.metadata.list_models(name)
        if fits(record.tags, tags)
        and fits(record.properties, properties)
        and run_id in (None, record.run_id)
        and framework in (None, record.framework)
        and version in (None, record.version)
    ]


def get(stores: Stores, name: str, version: int | None = None, **wanted: Any) -> ModelVersion:
    """The latest version that fits; `wanted` is as for `find`.

    Raises:
        ModelNotFound
    """
    if all(value is None for value in wanted.values()):
        return stores.metadata.get_model(name, version)
    found = find(stores, name, version=version, **wanted)
    if not found:
        raise ModelNotFound(name, version)
    return found[-1]


def id_of(metadata: MetadataStore, model: HasId | str) -> str:
    """``name:version`` of a version that is given, or named as ``name:version`` or by its name alone, which is the latest.

    Raises:
        ModelNotFound, InvalidArgument
    """
    if not isinstance(model, str):
        return model.id
    return metadata.get_model(*(split_id(model) if ":" in model else (model,))).id


def update(
    stores: Stores,
    model: ModelVersion,
    *,
    tags: Mapping[str, object] | None = None,
    description: str | None = None,
    sample: object = None,
    sample_output: object = None,
    resource_configuration: ResourceConfiguration | None = None,
    environment: HasSpec | str | None = None,
) -> ModelVersion:
    """Replace what is given, all of it or nothing; the rest stays."""
    changes: dict[str, Any] = {
        "tags": None if tags is None else as_text("tags", tags),
        "description": description,
        "resource_configuration": resource_configuration,
        "environment": digest_in(stores.metadata, environment),
    }
    if sample is not None:
        stored = store_sample(stores.artifacts, "sample_input_dataset", sample)
        changes |= {"sample": stored.digest, "sample_name": stored.name}
    settings: dict[str, Json] = {}
    if sample_output is not None:
        stored = store_sample(stores.artifacts, "sample_output_dataset", sample_output)
        settings = {"sample_output": stored.digest, "sample_output_name": stored.name}
    changes = {key: value for key, value in changes.items() if value is not None}

    def change(old: ModelVersion) -> ModelVersion:
        return replace(old, **changes, settings={**old.settings, **settings})

    return stores.metadata.update_model(model.name, model.version, change)


def change_tags(
    stores: Stores,
    model: ModelVersion,
    *,
    add: Mapping[str, object] | None = None,
    remove: str | Sequence[str] | None = None,
    add_properties: Mapping[str, object] | None = None,
) -> ModelVersion:
    """
    Args:
        remove: keys; a missing one is ignored.

    Raises:
        InvalidArgument: a property is there with another value: properties cannot be changed.
    """
    added, more = as_text("tags", add), as_text("properties", add_properties)
    removed = {remove} if isinstance(remove, str) else set(remove or ())

    def change(old: ModelVersion) -> ModelVersion:
        tags = {key: value for key, value in {**old.tags, **added}.items() if key not in removed}
        return replace(old, tags=tags, properties=immutable(old.properties, more))

    return stores.metadata.update_model(model.name, model.version, change)


def download(stores: Stores, model: ModelVersion, folder: Path, *, exist_ok: bool = False) -> Path:
    """Copy the model into a folder, which is made if it does not exist; gives the path of the file or folder.

    Raises:
        InvalidArgument: it exists already, and `exist_ok` is False.
        ArtifactChanged, ArtifactMissing: the stored bytes are damaged.
    """
    artifact = model.artifact
    target = folder / artifact.name
    if target.exists() and not exist_ok:
        raise InvalidArgument("target_dir", f"{target} exists; pass exist_ok=True to replace it")
    stores.artifacts.verify(artifact.digest)
    source = stores.artifacts.local_path(artifact.digest)
    folder.mkdir(parents=True, exist_ok=True)
    if artifact.kind == "folder":
        shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(source, target)
    return target
