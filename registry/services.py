"""Services: which model answers under which service name. The records are the desired state, which the gateway brings about."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from registry.errors import InvalidArgument, ServiceExists, ServiceNotFound
from registry.inference import INFERENCE, InferenceConfig, answering, ids_of, with_models
from registry.models import HasId, id_of
from registry.names import SERVICE_NAME, check_name, split_id
from registry.records import Json, ModelVersion, ServiceRecord
from registry.resources import ResourceConfiguration
from registry.stores.base import Stores
from registry.tags import as_text

DEFAULT: Final = "default_service"  # of the workspace's values: the service or model behind ``/score``
RESOURCES: Final = "resources"  # of a service's settings: {"cpu", "memory_in_gb"} of its own; None is the version's


def deploy(
    stores: Stores,
    name: str,
    models: Sequence[HasId | str],
    *,
    inference: InferenceConfig | None = None,
    overwrite: bool = False,
    settings: Mapping[str, Json] | None = None,
    tags: Mapping[str, object] | None = None,
    properties: Mapping[str, object] | None = None,
    description: str | None = None,
    default: bool = False,
) -> ServiceRecord:
    """Record that the service `name` answers with a model. The first service of a workspace becomes its default.

    Args:
        models: exactly one: a Model or ``"name:version"``, which pins that version, or ``"name"``, whose live version
            answers. With a scoring script there may be several.
        inference: a scoring script, or an environment, of its own.
        default: make it the default, which ``/score`` reaches, in place of any other.

    Raises:
        InvalidName, InvalidArgument, ModelNotFound, LocalPathNotFound
        ServiceExists: there is one of that name, and `overwrite` is False.
    """
    check_name("service", name, SERVICE_NAME)
    existing = find(stores, name)
    if existing is not None and not overwrite:
        raise ServiceExists(name)
    named = (model_of(stores, models),) if inference is None else ids_of(stores, models)
    now = datetime.now(UTC)
    record = ServiceRecord(
        name=name,
        models=named,
        created_time=now if existing is None else existing.created_time,
        updated_time=now,
        settings={**(settings or {}), **({} if inference is None else inference.store(stores, models))},
        tags=as_text("tags", tags),
        properties=as_text("properties", properties),
        description=description,
    )
    record = stores.metadata.put_service(record)
    stores.metadata.set_value(DEFAULT, name, only_if_absent=not default)
    return record


def update(
    stores: Stores,
    name: str,
    *,
    models: Sequence[HasId | str] | None = None,
    inference: InferenceConfig | None = None,
    settings: Mapping[str, Json] | None = None,
    tags: Mapping[str, object] | None = None,
    properties: Mapping[str, object] | None = None,
    description: str | None = None,
) -> ServiceRecord:
    """Replace what is given; the rest stays, each key of `settings` for itself. A script stays with other models.

    Raises:
        ServiceNotFound, ModelNotFound, InvalidArgument, LocalPathNotFound
    """
    old = stores.metadata.get_service(name)
    named = old.models
    settings = {**old.settings, **(settings or {})}
    if inference is not None:
        settings |= inference.store(stores, old.models if models is None else models)
    elif models is not None:
        settings |= with_models(stores, old, models)
    if models is not None:
        named = ids_of(stores, models) if settings.get(INFERENCE) else (model_of(stores, models),)
    new = replace(
        old,
        models=named,
        updated_time=datetime.now(UTC),
        settings=settings,
        tags=old.tags if tags is None else as_text("tags", tags),
        properties={**old.properties, **as_text("properties", properties)},
        description=old.description if description is None else description,
    )
    return stores.metadata.put_service(new)


def own_resources(cpu: float | None, memory_in_gb: float | None) -> dict[str, Json]:
    """Limits of a service's own as its settings keep them; nothing where neither is given.

    Raises:
        InvalidResource
    """
    if cpu is None and memory_in_gb is None:
        return {}
    ResourceConfiguration(cpu=cpu, memory_in_gb=memory_in_gb)
    return {RESOURCES: {"cpu": cpu, "memory_in_gb": memory_in_gb}}


def runs_alone(service: ServiceRecord) -> bool:
    """Whether it has worker processes of its own because of its limits, script or environment."""
    return bool(service.settings.get(RESOURCES) or service.settings.get(INFERENCE))


def own_version(service: ServiceRecord, version: ModelVersion) -> ModelVersion:
    """A version of its model as a service that runs alone has it: what the service names comes before what the version has.

    Raises:
        InvalidResource
    """
    own, its = service.settings.get(RESOURCES) or {}, version.resource_configuration
    limits = ResourceConfiguration(
        cpu=its.cpu if own.get("cpu") is None else own["cpu"],
        memory_in_gb=its.memory_in_gb if own.get("memory_in_gb") is None else own["memory_in_gb"],
    )
    return answering(service, replace(version, resource_configuration=limits))


def delete(stores: Stores, name: str) -> None:
    """Delete a service; its models stay registered. If it was the default, the oldest remaining service becomes the default.

    Raises:
        ServiceNotFound
    """
    stores.metadata.delete_service(name)
    if stores.metadata.get_value(DEFAULT) == name:
        left = stores.metadata.list_services()
        stores.metadata.set_value(DEFAULT, left[0].name if left else None)


def find(stores: Stores, name: str) -> ServiceRecord | None:
    try:
        return stores.metadata.get_service(name)
    except ServiceNotFound:
        return None


def model_of(stores: Stores, models: Sequence[HasId | str]) -> str:
    """The one model of a service, as it is kept: ``name:version`` or ``name``.

    Raises:
        InvalidArgument: there is not exactly one.
        ModelNotFound
    """
    is_list = isinstance(models, Sequence) and not isinstance(models, str)
    if not is_list or len(models) != 1:
        count = "not a list" if not is_list else f"{len(models)}"
        raise InvalidArgument(
            "models", f"a service without a scoring script has a list of exactly one model, not {count}"
        )
    model = models[0]
    if isinstance(model, str) and ":" not in model:
        return stores.metadata.get_model(model).name
    return id_of(stores.metadata, model)


def target(record: ServiceRecord) -> tuple[str, int | None]:
    """Name and version of a service's model, of several the first; None is whichever version is live."""
    model = record.models[0]
    return split_id(model) if ":" in model else (model, None)
