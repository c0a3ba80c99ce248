"""One table from a kind to its class, so that classes that return one another need not import one another.

`azureml.core` imports all of them, and comes before each of its modules.
"""

_classes = {}


def kind(name):
    """Decorator: the class is called `name` here."""

    def enter(cls):
        _classes[name] = cls
        return cls

    return enter


def class_of(name):
    return _classes[name]


def make(name, *given):
    """An object of that kind, of what fitserve has said about it."""
    return _classes[name]._of(*given)
