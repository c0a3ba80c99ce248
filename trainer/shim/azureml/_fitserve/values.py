"""Convert logged values to JSON values, by Azure's rules but with np.int64 corrected. Does not import numpy.

fitserve imports this file too, for logging to a run from outside.
"""

import json
import logging
import types

_log = logging.getLogger("azureml")


class NotLoggable(ValueError):
    """The value does not fit the logging call; the message says which one would."""


def scalar(value, name="value"):
    """`value` as None, bool, int, float or str; anything else as its `repr`, with a warning."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str(value)
    family = _numpy_family(value)
    if family == "bool":
        return bool(value)
    if family == "integer":
        return int(value)
    if family == "floating" and value.itemsize <= 8:
        return float(value)
    _log.warning(
        "%s has the type %s, which is not a number, a string or a boolean: its repr is kept", name, type(value)
    )
    return repr(value)


def one_scalar(name, value):
    """For `run.log`, which rejects values for `run.log_list`."""
    if isinstance(value, (list, range, types.GeneratorType)):
        raise NotLoggable(
            "run.log does not support list type for metric {!r}: use run.log_list for several values".format(name)
        )
    return scalar(value, name)


def many(name, value):
    """A list of scalars from a list, tuple, range, generator, set or array."""
    if isinstance(value, (str, bytes, dict)) or not hasattr(value, "__iter__"):
        raise NotLoggable("run.log_list needs a list for metric {!r}, but got {}".format(name, type(value).__name__))
    return [scalar(item, name) for item in value]


def columns(name, value):
    """A table {column: [scalars]} from a dict; a single value becomes a column with one row."""
    if not isinstance(value, dict):
        raise NotLoggable(
            "run.log_table needs a dict of column name to list for metric {!r}, but got {}".format(
                name, type(value).__name__
            )
        )
    table = {}
    for column, cells in value.items():
        is_one = isinstance(cells, (str, bytes)) or not hasattr(cells, "__iter__")
        table[str(column)] = [scalar(cells, name)] if is_one else many(name, cells)
    return table


def structured(name, value, kind):
    """The ``{"schema_type", "schema_version", "data"}`` of log_confusion_matrix and its like, from a dict or JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise NotLoggable("the value of {!r} is not JSON: {}".format(name, error)) from error
    if not isinstance(value, dict):
        raise NotLoggable("the value of {!r} must be a dict or JSON text".format(name))
    missing = [key for key in ("schema_type", "schema_version", "data") if key not in value]
    if missing:
        raise NotLoggable("the value of {!r} lacks {}".format(name, ", ".join(missing)))
    if value["schema_type"] != kind:
        raise NotLoggable(
            "the value of {!r} has schema_type {!r}, expected {!r}".format(name, value["schema_type"], kind)
        )
    return json.loads(json.dumps(value, default=_plain))


def _plain(value):
    return value.tolist() if hasattr(value, "tolist") else scalar(value)


def _numpy_family(value):
    """ "bool", "integer" or "floating" for a numpy scalar of that family, by the names of its classes."""
    names = [c.__name__ for c in type(value).__mro__ if c.__module__ == "numpy"]
    if "bool_" in names or "bool" in names:
        return "bool"
    if "timedelta64" in names:  # numpy calls it a signed integer
        return None
    for family in ("integer", "floating"):
        if family in names:
            return family
    return None
