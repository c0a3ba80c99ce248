"""Names that can be imported, and that say what is the matter when they are used."""
# ruff: noqa: ARG001  Azure's signatures

from azureml.exceptions import UserErrorException


def refuse(name):
    """Raise for a call that this side of the SDK cannot answer."""
    raise UserErrorException(
        "{} is not available inside a run: a training script logs and keeps files through Run.get_context(); register "
        "and deploy from outside, with `fitserve register`, `fitserve up`, or fitserve's own SDK".format(name)
    )


class _Refusing(type):
    """Also class attributes, such as ``Environment.get``, refuse."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return refuse("{}.{}".format(cls.__name__, name))


def unsupported(name):
    """A class called `name` that cannot be used."""

    def __init__(self, *args, **kwargs):
        refuse(name)

    return _Refusing(str(name), (object,), {"__init__": __init__, "__doc__": "Not available inside a run."})
