"""A table from kind to class, so that classes that return one another need not import one another.

It is filled when `azureml.core` is imported, which imports all these classes.
"""

_classes = {}


def kind(name):
    """Decorator that enters a class as `name`."""

    def enter(cls):
        _classes[name] = cls
        return cls

    return enter


def class_of(name):
    return _classes[name]


def make(name, *given):
    """An object of that kind, made from facts that fitserve has returned."""
    return _classes[name]._of(*given)
