"""Names that can be imported, and that raise an error with a remedy when they are used."""

from azureml.exceptions import UserErrorException


def refuse(name, instead):
    """Raise for what fitserve does not do; `instead` says what to do."""
    raise UserErrorException(_sentence(name, instead))


def _sentence(name, instead):
    return "{} is not supported by fitserve: {}".format(name, instead)


class UnsupportedName(UserErrorException, AttributeError):
    """A public name that a class of the shim does not have. Also an AttributeError, else `hasattr` would fail."""


UnsupportedName.__name__ = UnsupportedName.__qualname__ = "UserErrorException"  # as tracebacks show it
UnsupportedName.__module__ = UserErrorException.__module__


def _unknown(owner, cls, name):
    """Raise for an attribute that was not found. Protocols ask for names with an underscore; these stay plain."""
    if name.startswith("_"):
        raise AttributeError("{!r} has no attribute {!r}".format(cls.__name__, name))
    instead = cls._instead
    if instead is None:
        known = sorted(each for each in set(dir(cls)) | set(vars(owner)) if not each.startswith("_"))
        instead = "{} has {} here".format(cls.__name__, ", ".join(known) or "nothing to ask for")
    raise UnsupportedName(_sentence("{}.{}".format(cls.__name__, name), instead))


class _Answering(type):
    """For what is asked of a class itself."""

    def __getattr__(cls, name):
        return _unknown(cls, cls, name)


class Answering(metaclass=_Answering):
    """A class of the SDK. A name of Azure's that it does not have is answered with a sentence."""

    _instead = None  # what to do instead; None: name what there is

    def __getattr__(self, name):
        cls = type(self)
        if any(name in vars(each) for each in cls.__mro__):
            return object.__getattribute__(self, name)  # a property has raised AttributeError itself
        return _unknown(self, cls, name)


class _Refusing(_Answering):
    """Of classes that cannot be used at all."""


_made = {}


def unsupported(name, instead):
    """A class called `name` that cannot be used, the same one for the same words."""

    def __init__(self, *args, **kwargs):
        refuse(name, instead)

    if (name, instead) not in _made:
        members = {"__init__": __init__, "_instead": instead, "__doc__": "Not supported: {}.".format(instead)}
        _made[name, instead] = _Refusing(str(name), (Answering,), members)
    return _made[name, instead]
