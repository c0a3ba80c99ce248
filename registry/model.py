"""Model: a registered version of a model, in the shape of Azure ML v1's.

Only here is a version put together; how it is stored is the stores' matter, how it answers the gateway's.
"""
# ruff: noqa: ARG002, ARG003  # arguments that only mean something in Azure are accepted and ignored

import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry.described import Described
from registry.errors import InvalidArgument, LocalPathNotFound, ModelNotFound
from registry.filter import Filter, fitting
from registry.mounted import latest, only_entry
from registry.names import MODEL_NAME, check_name
from registry.records import Json, ModelVersion, ServiceRecord
from registry.registration import Registration, as_text, immutable
from registry.resources import ResourceConfiguration
from registry.stores.files import is_digest

if TYPE_CHECKING:
    from registry.environment import Environment
    from registry.workspace import Workspace


class Framework:
    """What a model is declared to be."""

    CUSTOM: Final = "Custom"
    TENSORFLOW: Final = "TensorFlow"
    SCIKITLEARN: Final = "ScikitLearn"
    ONNX: Final = "Onnx"
    TFKERAS: Final = "TfKeras"
    PYTORCH: Final = "PyTorch"
    MULTI: Final = "Multi"


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
        workspace: "Workspace",
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
        if tags is None and properties is None and run_id is None and model_framework is None:
            self._record = workspace.metadata.get_model(name, _version(version))
            return
        found = fitting(
            workspace.metadata.list_models(name), tags, properties, run_id, model_framework, _version(version)
        )
        if not found:
            raise ModelNotFound(name, _version(version))
        self._record = found[-1]

    @classmethod
    def _of(cls, workspace: "Workspace", record: ModelVersion) -> "Model":
        model = cls.__new__(cls)
        model.workspace, model._record = workspace, record
        return model

    @classmethod
    def register(
        cls,
        workspace: "Workspace",
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
        code: str | Path | None = None,
        training_script: str | Path | None = None,
        sample: object = None,
        environment: "Environment | str | None" = None,
        run_id: str | None = None,
        experiment_name: str | None = None,
        settings: Mapping[str, Json] | None = None,
        expected: object = None,
        show_output: bool = True,
        **azure: object,
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
        check_name("model", model_name, MODEL_NAME)
        if datasets:
            warnings.warn("datasets are not kept; name them in tags or properties", stacklevel=2)
        if show_output:
            print(f"Registering model {model_name}")
        if isinstance(environment, str) and not is_digest(environment):
            environment = _environment(workspace, environment)
        registration = Registration(
            name=model_name,
            path=Path(model_path),
            child_paths=child_paths,
            tags=as_text("tags", tags),
            properties=as_text("properties", properties),
            description=description,
            framework=model_framework,
            framework_version=model_framework_version,
            sample=sample if sample is not None else sample_input_dataset,
            sample_output=sample_output_dataset,
            resource_configuration=resource_configuration,
            code=None if code is None else Path(code),
            training_script=None if training_script is None else Path(training_script),
            environment=environment,
            run_id=run_id,
            experiment_name=experiment_name,
            settings=settings or {},
            expected=expected,
        )
        return cls._of(workspace, registration.store(workspace.metadata, workspace.artifacts))

    @classmethod
    def list(
        cls,
        workspace: "Workspace",
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
        records = workspace.metadata.list_models(name)
        records = fitting(records, tags, properties, run_id, model_framework, None)
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
        environment: "Environment | str | None" = None,
    ) -> None:
        """Replace what is given, all of it or nothing; the rest stays.

        Args:
            environment: what it is served with from now on, if it answers there as it does now; "own" is the gateway's Python.
        """
        from registry.registration import environment_digest, store_sample

        changes: dict[str, Any] = {"description": description, "resource_configuration": resource_configuration}
        if isinstance(environment, str) and not is_digest(environment):
            environment = _environment(self.workspace, environment)
        changes["environment"] = environment_digest(self.workspace.metadata, environment)
        if tags is not None:
            changes["tags"] = as_text("tags", tags)
        if sample_input_dataset is not None:
            stored = store_sample(self.workspace.artifacts, "sample_input_dataset", sample_input_dataset)
            changes |= {"sample": stored.digest, "sample_name": stored.name}
        settings: dict[str, Json] = {}
        if sample_output_dataset is not None:
            stored = store_sample(self.workspace.artifacts, "sample_output_dataset", sample_output_dataset)
            settings = {"sample_output": stored.digest, "sample_output_name": stored.name}
        changes = {key: value for key, value in changes.items() if value is not None}
        self._change(lambda old: replace(old, **changes, settings={**old.settings, **settings}))

    def add_tags(self, tags: Mapping[str, object]) -> None:
        self.update_tags_properties(add_tags=tags)

    def remove_tags(self, tags: "str | Sequence[str]") -> None:
        """Keys; one that is not there is no error."""
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
        added, more = as_text("tags", add_tags), as_text("properties", add_properties)
        removed = {remove_tags} if isinstance(remove_tags, str) else set(remove_tags or ())

        def change(old: ModelVersion) -> ModelVersion:
            tags = {key: value for key, value in {**old.tags, **added}.items() if key not in removed}
            return replace(old, tags=tags, properties=immutable(old.properties, more))

        self._change(change)

    def _change(self, change: Callable[[ModelVersion], ModelVersion]) -> None:
        self._record = self.workspace.metadata.update_model(self.name, self.version, change)

    def download(self, target_dir: str | Path = ".", exist_ok: bool = False, exists_ok: bool | None = None) -> str:
        """Copy the model into a folder, made if it is not there; gives the path of the file or folder.

        Raises:
            InvalidArgument: it is there already, and `exist_ok` is False.
            ArtifactChanged, ArtifactMissing: the stored bytes are damaged.
        """
        artifact = self._record.artifact
        target = Path(target_dir) / artifact.name
        if target.exists() and not (exist_ok or exists_ok):
            raise InvalidArgument("target_dir", f"{target} exists; pass exist_ok=True to replace it")
        self.workspace.artifacts.verify(artifact.digest)
        source = self.workspace.artifacts.local_path(artifact.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        if artifact.kind == "folder":
            shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, target)
        return str(target)

    @staticmethod
    def deploy(
        workspace: "Workspace",
        name: str,
        models: "Sequence[Model | str]",
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
        from registry import services

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
    def get_model_path(model_name: str, version: int | str | None = None, _workspace: "Workspace | None" = None) -> str:
        """Where a scoring script finds the model: below ``$AML_APP_ROOT/azureml-models``, else beside the script, else,
        where a workspace is given, in that.

        Raises:
            InvalidName, LocalPathNotFound, ModelNotFound
            InvalidArgument: the folder of a version holds more than the one entry that it should.
        """
        check_name("model", model_name, MODEL_NAME)
        models = Path(os.environ.get("AML_APP_ROOT", ".")) / "azureml-models" / model_name
        if models.is_dir():
            return str(only_entry(models / str(_version(version) or latest(models))))
        if Path(model_name).exists():
            return model_name
        if _workspace is not None:
            model = Model(_workspace, model_name, version=version)
            return str(_workspace.artifacts.local_path(model.record.artifact.digest))
        raise LocalPathNotFound("model", str(models))


def _environment(workspace: "Workspace", name: str) -> "Environment":
    from registry.environment import Environment

    return Environment.get(workspace, name)


def split_id(id: str) -> tuple[str, int]:
    """``name:version`` apart.

    Raises:
        InvalidArgument, InvalidName
    """
    name, separator, version = id.rpartition(":")
    if not separator:
        raise InvalidArgument("id", f"{id!r} is not name:version")
    number = _version(version)
    assert number is not None
    return check_name("model", name, MODEL_NAME), number


def _version(version: int | str | None) -> int | None:
    if version is None or (isinstance(version, int) and not isinstance(version, bool)):
        return version
    if isinstance(version, str) and version.isascii() and version.isdigit():
        return int(version)
    raise InvalidArgument("version", f"{version!r} is not a whole number")
