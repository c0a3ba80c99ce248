"""Unsupported names: they can be imported, and raise an error with advice when used."""

from azureml.exceptions import UserErrorException


def refuse(name, instead):
    """Raise for an unsupported feature; `instead` says what to do."""
    raise UserErrorException(_sentence(name, instead))


def _sentence(name, instead):
    return "{} is not supported by fitserve: {}".format(name, instead)


class UnsupportedName(UserErrorException, AttributeError):
    """Raised for a public name that a class of the shim lacks. Also an AttributeError, so that `hasattr` works."""


UnsupportedName.__name__ = UnsupportedName.__qualname__ = "UserErrorException"  # shown in tracebacks
UnsupportedName.__module__ = UserErrorException.__module__


def _unknown(owner, cls, name):
    """Raise for a missing attribute. Names with an underscore belong to protocols and raise a plain AttributeError."""
    if name.startswith("_"):
        raise AttributeError("{!r} has no attribute {!r}".format(cls.__name__, name))
    instead = cls._instead
    if instead is None:
        known = sorted(each for each in set(dir(cls)) | set(vars(owner)) if not each.startswith("_"))
        instead = "{} has {} here".format(cls.__name__, ", ".join(known) or "nothing to ask for")
    raise UnsupportedName(_sentence("{}.{}".format(cls.__name__, name), instead))


class _Answering(type):
    """Handles missing attributes of classes."""

    def __getattr__(cls, name):
        return _unknown(cls, cls, name)


class Answering(metaclass=_Answering):
    """Base of the SDK's classes: missing attributes raise an error with advice."""

    _instead = None  # advice; None: list the existing names

    def __getattr__(self, name):
        cls = type(self)
        if any(name in vars(each) for each in cls.__mro__):
            return object.__getattribute__(self, name)  # a property raised AttributeError: show that error
        return _unknown(self, cls, name)


class _Refusing(_Answering):
    """The type of classes that cannot be used at all."""


_made = {}


def unsupported(name, instead):
    """A class called `name` that cannot be used. Equal arguments return the same class."""

    def __init__(self, *args, **kwargs):
        refuse(name, instead)

    if (name, instead) not in _made:
        members = {"__init__": __init__, "_instead": instead, "__doc__": "Not supported: {}.".format(instead)}
        _made[name, instead] = _Refusing(str(name), (Answering,), members)
    return _made[name, instead]
