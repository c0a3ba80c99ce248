"""Names that can be imported, and that say what is the matter when they are used."""

from azureml.exceptions import UserErrorException


def refuse(name, instead):
    """Raise for what fitserve does not do; `instead` says what to do."""
    raise UserErrorException("{} is not supported by fitserve: {}".format(name, instead))


class _Refusing(type):
    """Also class attributes, such as ``AksCompute.provisioning_configuration``, refuse."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return refuse("{}.{}".format(cls.__name__, name), cls._instead)


def unsupported(name, instead):
    """A class called `name` that cannot be used."""

    def __init__(self, *args, **kwargs):
        refuse(name, instead)

    members = {"__init__": __init__, "_instead": instead, "__doc__": "Not supported: {}.".format(instead)}
    return _Refusing(str(name), (object,), members)
