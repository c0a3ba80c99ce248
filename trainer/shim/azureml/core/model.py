"""`azureml.core.model`: registered models, and their deployment."""

import os

from azureml._fitserve.client import call
from azureml._fitserve.kinds import class_of, kind, make
from azureml._fitserve.texts import as_path, as_texts, as_time, given, ids_of, registration, sample_path, strict_python
from azureml._fitserve.unsupported import Answering, refuse
from azureml.core.resource_configuration import ResourceConfiguration
from azureml.exceptions import ModelNotFoundException, UserErrorException


@kind("model")
class Model(Answering):
    """A registered model version: the latest one that matches the arguments."""

    class Framework(object):
        CUSTOM = "Custom"
        TENSORFLOW = "TensorFlow"
        SCIKITLEARN = "ScikitLearn"
        ONNX = "Onnx"
        TFKERAS = "TfKeras"
        PYTORCH = "PyTorch"
        MULTI = "Multi"

    def __init__(
        self,
        workspace,
        name=None,
        id=None,
        tags=None,
        properties=None,
        version=None,
        run_id=None,
        model_framework=None,
        expand=True,
        **kwargs,
    ):
        self.workspace = workspace
        self._facts = call(
            "model.get",
            workspace=workspace._facts,
            name=name,
            id=id,
            tags=tags,
            properties=properties,
            version=version,
            run_id=run_id,
            model_framework=model_framework,
        )

    @classmethod
    def _of(cls, workspace, facts):
        model = cls.__new__(cls)
        model.workspace, model._facts = workspace, facts
        return model

    @staticmethod
    def register(
        workspace,
        model_path,
        model_name,
        tags=None,
        properties=None,
        description=None,
        datasets=None,
        model_framework=None,
        model_framework_version=None,
        child_paths=None,
        sample_input_dataset=None,
        sample_output_dataset=None,
        resource_configuration=None,
        **kwargs,
    ):
        """Store the file or folder `model_path` as the next version of `model_name`."""
        model = registration(locals())
        model.update(model_path=as_path(model_path), child_paths=None if child_paths is None else list(child_paths))
        return Model._of(workspace, call("model.register", workspace=workspace._facts, model=model))

    @staticmethod
    def list(
        workspace,
        name=None,
        tags=None,
        properties=None,
        run_id=None,
        latest=False,
        dataset_id=None,
        expand=True,
        page_count=255,
        model_framework=None,
    ):
        found = call(
            "model.list",
            workspace=workspace._facts,
            name=name,
            tags=tags,
            properties=properties,
            run_id=run_id,
            latest=bool(latest),
            model_framework=model_framework,
        )
        return [Model._of(workspace, facts) for facts in found]

    name = property(lambda self: self._facts["name"])
    id = property(lambda self: self._facts["id"])
    version = property(lambda self: self._facts["version"])
    tags = property(lambda self: dict(self._facts["tags"]))
    properties = property(lambda self: dict(self._facts["properties"]))
    description = property(lambda self: self._facts["description"])
    model_framework = property(lambda self: self._facts["framework"])
    model_framework_version = property(lambda self: self._facts["frameworkVersion"])
    created_time = property(lambda self: as_time(self._facts["createdTime"]))
    created_by = property(lambda self: self._facts["createdBy"])
    run_id = property(lambda self: self._facts["runId"])
    experiment_name = property(lambda self: self._facts["experimentName"])
    mime_type = property(lambda self: self._facts["mimeType"])
    unpack = property(lambda self: self._facts["unpack"])
    url = property(lambda self: self._facts["url"])
    datasets = property(lambda self: {})
    parent_id = property(lambda self: None)
    derived_model_ids = property(lambda self: [])
    sample_input_dataset = property(lambda self: self._facts["sampleInputDatasetId"])
    sample_output_dataset = property(lambda self: self._facts["sampleOutputDatasetId"])
    resource_configuration = property(
        lambda self: ResourceConfiguration.deserialize(self._facts["resourceConfiguration"])
    )

    @property
    def run(self):
        return None if self.run_id is None else class_of("run").get(self.workspace, self.run_id)

    def serialize(self):
        return dict(self._facts)

    def delete(self):
        call("model.delete", workspace=self.workspace._facts, id=self.id)

    def update(
        self,
        tags=None,
        description=None,
        sample_input_dataset=None,
        sample_output_dataset=None,
        resource_configuration=None,
    ):
        """Change the given fields."""
        limits = resource_configuration
        changes = given(
            tags=as_texts(tags),
            description=description,
            sample_input_dataset=sample_path(sample_input_dataset, "sample_input_dataset"),
            sample_output_dataset=sample_path(sample_output_dataset, "sample_output_dataset"),
            resource_configuration=None if limits is None else limits._described(),
        )
        self._facts = call("model.update", workspace=self.workspace._facts, id=self.id, **changes)

    def update_tags_properties(self, add_tags=None, remove_tags=None, add_properties=None):
        self._facts = call(
            "model.update_tags_properties",
            workspace=self.workspace._facts,
            id=self.id,
            add_tags=as_texts(add_tags),
            remove_tags=remove_tags,
            add_properties=as_texts(add_properties),
        )

    def add_tags(self, tags):
        self.update_tags_properties(add_tags=tags)

    def remove_tags(self, tags):
        self.update_tags_properties(remove_tags=tags)

    def add_properties(self, properties):
        self.update_tags_properties(add_properties=properties)

    def download(self, target_dir=".", exist_ok=False, exists_ok=None):
        """Copy the model to a folder; returns the path of the copy."""
        folder = as_path(target_dir)
        return call(
            "model.download",
            workspace=self.workspace._facts,
            id=self.id,
            folder=folder,
            exist_ok=bool(exist_ok or exists_ok),
        )

    @staticmethod
    def get_model_path(model_name, version=None, _workspace=None):
        """Path of a model for a scoring script: below $AML_APP_ROOT/azureml-models, in the current folder, or in the workspace."""
        models = os.path.join(os.environ.get("AML_APP_ROOT", "."), "azureml-models", model_name)
        if os.path.isdir(models):
            number = str(version) if version is not None else max(os.listdir(models), key=_number)
            entries = os.listdir(os.path.join(models, number))
            if len(entries) != 1:
                raise UserErrorException("{} must hold exactly one entry".format(os.path.join(models, number)))
            return os.path.join(models, number, entries[0])
        if os.path.exists(model_name):
            return model_name
        if _workspace is not None:
            return call("model.path", workspace=_workspace._facts, name=model_name, version=version)
        raise ModelNotFoundException("Model {} not found in {} or beside the script".format(model_name, models))

    @staticmethod
    def deploy(
        workspace,
        name,
        models,
        inference_config=None,
        deployment_config=None,
        deployment_target=None,
        overwrite=False,
        show_output=False,
    ):
        """Deploy a model or a scoring script as the service `name`. A gateway is started if none is running."""
        if isinstance(models, (Model, str)):
            raise UserErrorException("deploy takes a list of models; got {!r}".format(models))
        if deployment_config is None:
            described = {"compute_type": "ACI" if deployment_target is None else "AKS"}
        else:
            described = deployment_config._described()
        facts = call(
            "service.deploy",
            workspace=workspace._facts,
            name=name,
            models=ids_of(models),
            inference=None if inference_config is None else inference_config._described(workspace),
            overwrite=bool(overwrite),
            **described,
        )
        service = make("service", workspace, facts)
        service._inference = inference_config
        if show_output:
            service.wait_for_deployment(show_output=True)
        return service

    @staticmethod
    def package(workspace, models, inference_config=None, generate_dockerfile=False, image_name=None, image_label=None):
        """A build context for `docker build`, see `ModelPackage.save`. `image_name` and `image_label` are ignored."""
        if not generate_dockerfile:
            refuse(
                "Model.package without generate_dockerfile",
                "pass generate_dockerfile=True, save() the package to a folder and run docker build there",
            )
        if isinstance(models, (Model, str)) or not models:
            raise UserErrorException("package takes a list of models; got {!r}".format(models))
        inference = None if inference_config is None else inference_config._described(workspace)
        return ModelPackage(workspace, ids_of(models), inference)

    @staticmethod
    def profile(*args, **kwargs):
        return refuse("Model.profile", "GET /models/NAME on the gateway shows the memory and CPU that a model uses")

    def print_configuration(self, *args, **kwargs):
        return refuse("Model.print_configuration", "the model answers by itself; there is no inference configuration")

    def __repr__(self):
        return "Model(workspace={!r}, name={}, id={}, version={}, tags={}, properties={})".format(
            self.workspace, self.name, self.id, self.version, self.tags, self.properties
        )


class ModelPackage(Answering):
    """Models to save as a build context: a Dockerfile and everything it needs."""

    creation_state, location, generated_dockerfile = "Succeeded", None, True

    def __init__(self, workspace, models, inference=None):
        self.workspace, self._models, self._inference = workspace, models, inference

    def wait_for_creation(self, show_output=False):
        """Returns at once; nothing is created before `save`."""

    def get_logs(self, decode=True, offset=0):
        return "" if decode else b""

    def save(self, output_directory):
        """Write the build context to a folder that is new, empty, or holds an earlier package."""
        output = as_path(output_directory)
        call(
            "model.package",
            workspace=self.workspace._facts,
            models=self._models,
            output=output,
            inference=self._inference,
        )

    def pull(self):
        return refuse("ModelPackage.pull", "save() the package and run docker build in its folder")


class InferenceConfig(Answering):
    """The scoring script of a service and its environment. Settings of images are ignored."""

    def __init__(
        self,
        entry_script=None,
        runtime=None,
        conda_file=None,
        extra_docker_file_steps=None,
        source_directory=None,
        enable_gpu=None,
        description=None,
        base_image=None,
        base_image_registry=None,
        cuda_version=None,
        environment=None,
        **kwargs,
    ):
        self.entry_script, self.source_directory = entry_script, source_directory
        self.environment, self.conda_file, self.description = environment, conda_file, description

    def _described(self, workspace):
        """Description for fitserve. Paths are made absolute now, since the current folder may change."""
        environment = self.environment
        if environment is None and self.conda_file is not None:
            file = str(self.conda_file)
            beside = None if self.source_directory is None else os.path.join(str(self.source_directory), file)
            file = beside if beside is not None and os.path.exists(beside) else file
            environment = class_of("environment").from_conda_specification("inference", file)
        script, folder = self.entry_script, self.source_directory
        return {
            "entry_script": as_path(script) if folder is None or script is None else str(script),
            "source_directory": as_path(folder),
            "environment": None if environment is None else environment._stored(workspace),
            "strict_python": strict_python(environment is not None and environment.python.strict_python),
        }


def _number(text):
    return int(text) if text.isdigit() else -1
