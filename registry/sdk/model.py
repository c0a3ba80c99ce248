"""Model: a registered version of a model, in the shape of Azure ML v1's.

Only here is a version put together; how it is stored is the stores' matter, how it answers the gateway's.
"""
# ruff: noqa: ARG002, ARG003  # arguments that only mean something in Azure are accepted and ignored

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict, Unpack

from registry import models as versions
from registry import services
from registry.environments.spec import HasSpec
from registry.errors import InvalidArgument, LocalPathNotFound
from registry.models import HasId
from registry.names import check_name, split_id, version_number
from registry.records import Json, ModelVersion, ServiceRecord
from registry.registration import Registration
from registry.resources import ResourceConfiguration
from registry.sdk.described import Described
from registry.sdk.model_path import latest, only_entry
from registry.stores.base import Stores
from registry.tags import Filter


class Framework:
    """What a model is declared to be."""

    CUSTOM: Final = "Custom"
    TENSORFLOW: Final = "TensorFlow"
    SCIKITLEARN: Final = "ScikitLearn"
    ONNX: Final = "Onnx"
    TFKERAS: Final = "TfKeras"
    PYTORCH: Final = "PyTorch"
    MULTI: Final = "Multi"


class Ours(TypedDict, total=False):
    """What `Model.register` takes beside Azure's arguments."""

    code: str | Path | None
    training_script: str | Path | None
    sample: object
    environment: HasSpec | str | None
    run_id: str | None
    experiment_name: str | None
    settings: Mapping[str, Json] | None
    expected: object


class Model(Described[ModelVersion]):
    """A version of a model in a workspace: the latest one that fits what is given.

    Args:
        workspace: where it is registered.
        name, id, version: `id` is ``name:version``.
        tags, properties: see `list`.

    Raises:
        ModelNotFound: none fits.
    """

    Framework = Framework

    def __init__(
        self,
        workspace: Stores,
        name: str | None = None,
        id: str | None = None,
        tags: Filter | None = None,
        properties: Filter | None = None,
        version: int | str | None = None,
        run_id: str | None = None,
        model_framework: str | None = None,
        expand: bool = True,
        **azure: object,
    ) -> None:
        if id is not None:
            name, version = split_id(id)
        if name is None:
            raise InvalidArgument("name", "a model's name or id is needed")
        self.workspace = workspace
        self._record = versions.get(
            workspace,
            name,
            version_number(version),
            tags=tags,
            properties=properties,
            run_id=run_id,
            framework=model_framework,
        )

    @classmethod
    def _of(cls, workspace: Stores, record: ModelVersion) -> "Model":
        model = cls.__new__(cls)
        model.workspace, model._record = workspace, record
        return model

    @classmethod
    def register(
        cls,
        workspace: Stores,
        model_path: str | Path,
        model_name: str,
        tags: Mapping[str, object] | None = None,
        properties: Mapping[str, object] | None = None,
        description: str | None = None,
        datasets: Sequence[object] | None = None,
        model_framework: str | None = None,
        model_framework_version: str | None = None,
        child_paths: Sequence[str] | None = None,
        sample_input_dataset: object = None,
        sample_output_dataset: object = None,
        resource_configuration: ResourceConfiguration | None = None,
        *,
        show_output: bool = True,
        **ours: Unpack[Ours],
    ) -> "Model":
        """Store the model at `model_path`, a file or a folder, as the next version of `model_name`.

        It is visible when all of it is stored. A process that dies on the way leaves nothing behind but bytes that
        nothing names.

        Args:
            model_path: it is read, never executed.
            tags, properties: their values become text; properties cannot be changed later.
            child_paths: of a folder, only these files.
            sample_input_dataset, sample: a sample input, as a path (.csv, .json, .parquet, .npy), DataFrame or array.
            resource_configuration: what it may use while it is served; None means one core and 0.5 GB.
            code: folder in which the modules live that the model's classes come from; or the training script, if they were defined
                in it: its definitions travel with the version.
            training_script: the script, where `code` is a folder.
            environment: what it is served with: an Environment, its name, or its digest.
            settings: for the gateway, such as ``default_method``; JSON values.
            expected: the right answers to the sample's rows, as a JSON file or a dict ``{"predict": [...]}``: the version answers
                only if it agrees.

        Raises:
            InvalidName, InvalidArgument, LocalPathNotFound: see the sentence.
            NotAnArtifact, MainModuleClass, NeedsRunning: it is not a model that can be served.
            WorkspaceError, DiskFull: it could not be stored.
        """
        if datasets:
            warnings.warn("datasets are not kept; name them in tags or properties", stacklevel=2)
        if ours.get("sample") is None:
            ours["sample"] = sample_input_dataset
        registration = Registration(
            name=check_name("model", model_name),
            path=Path(model_path),
            child_paths=child_paths,
            tags=tags,
            properties=properties,
            description=description,
            framework=model_framework,
            framework_version=model_framework_version,
            sample_output=sample_output_dataset,
            resource_configuration=resource_configuration,
            **ours,
        )
        if show_output:
            print(f"Registering model {model_name}")
        return cls._of(workspace, versions.register(workspace, registration))

    @classmethod
    def list(
        cls,
        workspace: Stores,
        name: str | None = None,
        tags: Filter | None = None,
        properties: Filter | None = None,
        run_id: str | None = None,
        latest: bool = False,
        dataset_id: str | None = None,
        expand: bool = True,
        page_count: int = 255,
        model_framework: str | None = None,
        **azure: object,
    ) -> "list[Model]":
        """Versions by name, then number.

        Args:
            tags, properties: ``"k"``, or a list of keys and ``[key, value]`` pairs, all of which must fit.
            latest: of each name only the latest version that fits.
        """
        records = versions.find(
            workspace, name, tags=tags, properties=properties, run_id=run_id, framework=model_framework
        )
        if latest:
            records = [*{record.name: record for record in records}.values()]
        return [cls._of(workspace, record) for record in records]

    @property
    def version(self) -> int:
        return self._record.version

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def model_framework(self) -> str | None:
        return self._record.framework

    @property
    def model_framework_version(self) -> str | None:
        return self._record.framework_version

    @property
    def created_by(self) -> str | None:
        return self._record.created_by

    @property
    def run_id(self) -> str | None:
        return self._record.run_id

    @property
    def experiment_name(self) -> str | None:
        return self._record.experiment_name

    @property
    def resource_configuration(self) -> ResourceConfiguration:
        return self._record.resource_configuration

    @property
    def sample_input_dataset(self) -> bytes | None:
        """The stored bytes of the sample input."""
        return None if self._record.sample is None else self.workspace.artifacts.read_bytes(self._record.sample)

    @property
    def sample_output_dataset(self) -> bytes | None:
        digest = self._record.settings.get("sample_output")
        return None if digest is None else self.workspace.artifacts.read_bytes(digest)

    @property
    def datasets(self) -> dict[str, Any]:
        return {}

    @property
    def mime_type(self) -> str:
        return "application/x-python"

    @property
    def unpack(self) -> bool:
        return self._record.artifact.kind == "folder"

    @property
    def url(self) -> str:
        return f"sha256:{self._record.artifact.digest}"

    @property
    def parent_id(self) -> None:
        return None

    @property
    def derived_model_ids(self) -> Sequence[str]:
        return ()

    def __repr__(self) -> str:
        return f"Model(workspace={self.workspace!r}, name={self.name!r}, id={self.id!r}, version={self.version})"

    def delete(self) -> None:
        """Raises:
        ModelInUse: a service needs it.
        """
        self.workspace.metadata.delete_model(self.name, self.version)

    def update(
        self,
        tags: Mapping[str, object] | None = None,
        description: str | None = None,
        sample_input_dataset: object = None,
        sample_output_dataset: object = None,
        resource_configuration: ResourceConfiguration | None = None,
        *,
        environment: HasSpec | str | None = None,
    ) -> None:
        """Replace what is given, all of it or nothing; the rest stays.

        Args:
            environment: what it is served with from now on, if it answers there as it does now; "own" is the gateway's Python.
        """
        self._record = versions.update(
            self.workspace,
            self._record,
            tags=tags,
            description=description,
            sample=sample_input_dataset,
            sample_output=sample_output_dataset,
            resource_configuration=resource_configuration,
            environment=environment,
        )

    def add_tags(self, tags: Mapping[str, object]) -> None:
        self.update_tags_properties(add_tags=tags)

    def remove_tags(self, tags: "str | Sequence[str]") -> None:
        """Remove these keys; a missing one is ignored."""
        self.update_tags_properties(remove_tags=tags)

    def add_properties(self, properties: Mapping[str, object]) -> None:
        """Raises:
        InvalidArgument: one is there with another value: properties are for ever.
        """
        self.update_tags_properties(add_properties=properties)

    def update_tags_properties(
        self,
        add_tags: Mapping[str, object] | None = None,
        remove_tags: "str | Sequence[str] | None" = None,
        add_properties: Mapping[str, object] | None = None,
    ) -> None:
        self._record = versions.change_tags(
            self.workspace, self._record, add=add_tags, remove=remove_tags, add_properties=add_properties
        )

    def download(self, target_dir: str | Path = ".", exist_ok: bool = False, exists_ok: bool | None = None) -> str:
        """Copy the model into a folder, made if it is not there; gives the path of the file or folder.

        Raises:
            InvalidArgument: it is there already, and `exist_ok` is False.
            ArtifactChanged, ArtifactMissing: the stored bytes are damaged.
        """
        ok = bool(exist_ok or exists_ok)
        return str(versions.download(self.workspace, self._record, Path(target_dir), exist_ok=ok))

    @staticmethod
    def deploy(
        workspace: Stores,
        name: str,
        models: Sequence[HasId | str],
        *,
        overwrite: bool = False,
        tags: Mapping[str, object] | None = None,
        properties: Mapping[str, object] | None = None,
        description: str | None = None,
    ) -> ServiceRecord:
        """Write down that a model is to answer as the service `name`; the gateway that serves the workspace makes it so.
        `gateway.Webservice.deploy` starts one where there is none, and gives an object to call.

        Raises:
            InvalidName, InvalidArgument, ModelNotFound, ServiceExists: see `registry.services.deploy`.
        """
        return services.deploy(
            workspace,
            name,
            models,
            overwrite=overwrite,
            tags=tags,
            properties=properties,
            description=description,
        )

    def serialize(self) -> dict[str, Any]:
        """As Azure's JSON has it."""
        record = self._record
        return {
            "createdTime": record.created_time.isoformat(),
            "createdBy": record.created_by or "",
            "description": record.description,
            "id": record.id,
            "mimeType": self.mime_type,
            "name": record.name,
            "framework": record.framework,
            "frameworkVersion": record.framework_version,
            "tags": dict(record.tags),
            "properties": dict(record.properties),
            "unpack": self.unpack,
            "url": self.url,
            "version": record.version,
            "experimentName": record.experiment_name,
            "runId": record.run_id,
            "runDetails": None,
            "datasets": self.datasets,
            "resourceConfiguration": record.resource_configuration.serialize(),
            "sampleInputDatasetId": record.sample,
            "sampleOutputDatasetId": record.settings.get("sample_output"),
        }

    @staticmethod
    def get_model_path(model_name: str, version: int | str | None = None, _workspace: Stores | None = None) -> str:
        """Where a scoring script finds the model: below ``$AML_APP_ROOT/azureml-models``, else beside the script, else,
        where a workspace is given, in that.

        Raises:
            InvalidName, LocalPathNotFound, ModelNotFound
            InvalidArgument: the folder of a version holds more than the one entry that it should.
        """
        check_name("model", model_name)
        models = Path(os.environ.get("AML_APP_ROOT", ".")) / "azureml-models" / model_name
        if models.is_dir():
            return str(only_entry(models / str(version_number(version) or latest(models))))
        if Path(model_name).exists():
            return model_name
        if _workspace is not None:
            model = Model(_workspace, model_name, version=version)
            return str(_workspace.artifacts.local_path(model.record.artifact.digest))
        raise LocalPathNotFound("model", str(models))
