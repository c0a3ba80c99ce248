"""Modules of the SDK that only re-export names: a table, and the import finder that creates them.

Importing this file installs the finder. Each package with such modules imports it; `azureml/__init__.py` does not, since
that file may come from an installed distribution.
"""

import importlib
import importlib.machinery
import sys

from azureml._fitserve.unsupported import unsupported

_CONTAINERS = "fitserve runs processes, not containers"
_DATASTORE = "name the file's path in the datastore's folder"
_ESTIMATORS = "give source_directory, script, arguments and environment to a ScriptRunConfig"
_STEPS = "submit one ScriptRunConfig after the other and wait for each"

_EXPRESSIONS = "choice lognormal loguniform normal qlognormal qloguniform qnormal quniform randint uniform"
_SAMPLINGS = "BayesianParameterSampling GridParameterSampling RandomParameterSampling"
_POLICIES = "BanditPolicy MedianStoppingPolicy NoTerminationPolicy TruncationSelectionPolicy"
_HYPERDRIVE = "azureml._fitserve.hyperdrive"
_RUNS = "azureml._fitserve.remote_run"

#: Module → {source: names}. A source that is not a module is the advice given when unsupported names are used.
MODULES = {
    "azureml.core.compute.aks": {"azureml.core.compute": "AksCompute"},
    "azureml.core.compute.amlcompute": {"azureml.core.compute": "AmlCompute"},
    "azureml.core.compute.compute": {"azureml.core.compute": "ComputeTarget"},
    "azureml.core.compute_target": {"azureml.exceptions": "ComputeTargetException"},
    "azureml.core.container_registry": {_CONTAINERS: "ContainerRegistry"},
    "azureml.core.image": {"fitserve package makes what docker build makes an image of": "ContainerImage Image"},
    "azureml.core.keyvault": {"give secrets to a script by environment variables": "Keyvault"},
    "azureml.core.script_run": {_RUNS: "ScriptRun"},
    "azureml.core.webservice.aci": {"azureml.core.webservice": "AciWebservice"},
    "azureml.core.webservice.aks": {"azureml.core.webservice": "AksWebservice"},
    "azureml.core.webservice.local": {"azureml.core.webservice": "LocalWebservice"},
    "azureml.core.webservice.webservice": {"azureml.core.webservice": "Webservice"},
    "azureml.data.data_reference": {_DATASTORE: "DataReference"},
    "azureml.data.datapath": {_DATASTORE: "DataPath DataPathComputeBinding"},
    "azureml.pipeline.core": {
        _STEPS: "Pipeline PipelineData PipelineParameter PipelineRun PublishedPipeline Schedule StepSequence"
    },
    "azureml.pipeline.steps": {
        _STEPS: "PythonScriptStep EstimatorStep HyperDriveStep AutoMLStep DataTransferStep ParallelRunConfig ParallelRunStep"
    },
    "azureml.train.automl": {
        "write the training script and let azureml.train.hyperdrive choose its arguments": "AutoMLConfig"
    },
    "azureml.train.dnn": {_ESTIMATORS: "Chainer PyTorch TensorFlow"},
    "azureml.train.estimator": {_ESTIMATORS: "Estimator"},
    "azureml.train.hyperdrive": {
        "azureml._fitserve.expressions": _EXPRESSIONS,
        _HYPERDRIVE: " ".join((_SAMPLINGS, _POLICIES, "HyperDriveConfig PrimaryMetricGoal")),
        _RUNS: "HyperDriveRun",
    },
    "azureml.train.hyperdrive.parameter_expressions": {"azureml._fitserve.expressions": _EXPRESSIONS},
    "azureml.train.hyperdrive.policy": {_HYPERDRIVE: _POLICIES},
    "azureml.train.hyperdrive.run": {_RUNS: "HyperDriveRun", _HYPERDRIVE: "PrimaryMetricGoal"},
    "azureml.train.hyperdrive.runconfig": {_HYPERDRIVE: "HyperDriveConfig"},
    "azureml.train.hyperdrive.sampling": {_HYPERDRIVE: _SAMPLINGS},
    "azureml.train.sklearn": {_ESTIMATORS: "SKLearn"},
}


class _Finder(object):
    """Runs after the other finders, so that an installed module of the same name wins."""

    def find_spec(self, name, path=None, target=None):
        if name not in MODULES:
            return None
        is_package = any(other.startswith(name + ".") for other in MODULES)
        return importlib.machinery.ModuleSpec(name, self, origin="fitserve", is_package=is_package)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__doc__ = "`{}`.".format(module.__name__)
        module.__all__ = []
        for source, names in MODULES[module.__name__].items():
            for name in names.split():
                is_module = source.startswith("azureml.")
                value = getattr(importlib.import_module(source), name) if is_module else unsupported(name, source)
                setattr(module, name, value)
                module.__all__.append(name)


# Replace the finder of an earlier import.
sys.meta_path[:] = [each for each in sys.meta_path if type(each).__module__ != __name__]
sys.meta_path.append(_Finder())
