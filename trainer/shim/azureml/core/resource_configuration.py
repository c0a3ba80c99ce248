"""`azureml.core.resource_configuration`."""

from azureml._fitserve.unsupported import Answering
from azureml.exceptions import UserErrorException


class ResourceConfiguration(Answering):
    """Limits of a model: cores, and memory in GB (2**30 bytes). None means fitserve's default, 1 and 0.5."""

    def __init__(self, cpu=None, memory_in_gb=None, gpu=None):
        for name, value in (("cpu", cpu), ("memory_in_gb", memory_in_gb)):
            if value is not None and not (_is_number(value) and value > 0):
                raise UserErrorException("{} is {!r}, expected a positive number".format(name, value))
        if gpu not in (None, 0):
            raise UserErrorException("gpu is {!r}: scikit-learn models are served on CPUs".format(gpu))
        self.cpu, self.memory_in_gb, self.gpu = cpu, memory_in_gb, gpu

    def serialize(self):
        return {"cpu": self.cpu, "memoryInGB": self.memory_in_gb, "gpu": self.gpu}

    def _described(self):
        return {"cpu": _plain(self.cpu), "memory_in_gb": _plain(self.memory_in_gb)}

    @staticmethod
    def deserialize(payload):
        if payload is None:
            return None
        return ResourceConfiguration(payload.get("cpu"), payload.get("memoryInGB"), payload.get("gpu"))

    def __repr__(self):
        return "ResourceConfiguration(cpu={}, memory_in_gb={}, gpu={})".format(self.cpu, self.memory_in_gb, self.gpu)


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain(value):
    return None if value is None else float(value)
