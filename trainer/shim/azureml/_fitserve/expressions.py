"""Expressions for the parameters of a sweep."""


class Expression(object):
    """The possible values of a parameter."""

    def __init__(self, kind, values):
        self._kind = kind
        self._values = [_plain(value) for value in values]

    def _described(self):
        return {"kind": self._kind, "values": self._values}

    def __repr__(self):
        return "{}({})".format(self._kind, ", ".join(map(repr, self._values)))


def choice(*options):
    """One of the options, which may also be passed as one list or range."""
    if len(options) == 1 and not isinstance(options[0], (str, bool, int, float, type(None))):
        options = list(options[0])
    return Expression("choice", options)


def randint(upper):
    return Expression("randint", [upper])


def uniform(min_value, max_value):
    return Expression("uniform", [min_value, max_value])


def quniform(min_value, max_value, q):
    return Expression("quniform", [min_value, max_value, q])


def loguniform(min_value, max_value):
    return Expression("loguniform", [min_value, max_value])


def qloguniform(min_value, max_value, q):
    return Expression("qloguniform", [min_value, max_value, q])


def normal(mu, sigma):
    return Expression("normal", [mu, sigma])


def qnormal(mu, sigma, q):
    return Expression("qnormal", [mu, sigma, q])


def lognormal(mu, sigma):
    return Expression("lognormal", [mu, sigma])


def qlognormal(mu, sigma, q):
    return Expression("qlognormal", [mu, sigma, q])


def _plain(value):
    """Convert a numpy scalar to a Python one."""
    return value.item() if hasattr(value, "item") else value
