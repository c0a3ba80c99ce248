"""Conversions that several classes of the client share."""

import datetime
import os
import tempfile

from azureml.exceptions import UserErrorException


def as_time(text):
    """Parse a time of fitserve's (ISO 8601, UTC); Python 3.6 cannot parse the colon in its offset."""
    if text is None:
        return None
    if text.endswith("+00:00"):
        text = text[:-6]
    form = "%Y-%m-%dT%H:%M:%S.%f" if "." in text else "%Y-%m-%dT%H:%M:%S"
    return datetime.datetime.strptime(text, form).replace(tzinfo=datetime.timezone.utc)


def as_path(path):
    """An absolute path, since fitserve's process may have another current folder."""
    return None if path is None else os.path.abspath(str(path))


def as_texts(items):
    """Keys and values as text; None stays None."""
    return None if items is None else {str(key): None if v is None else str(v) for key, v in dict(items).items()}


def sample_path(value, what):
    """The path of a sample file for a path, dataset, DataFrame or numpy array."""
    if value is None:
        return None
    if isinstance(value, (str, os.PathLike)):
        return as_path(os.fspath(value))
    paths = getattr(value, "_paths", None)
    if paths:
        return paths[0]
    if hasattr(value, "to_csv"):
        return _written(".csv", lambda path: value.to_csv(path, index=False))
    if type(value).__module__ == "numpy":
        import numpy  # late: an optional package of the caller's Python

        return _written(".npy", lambda path: numpy.save(path, value, allow_pickle=False))
    raise UserErrorException(
        "{} must be a dataset, a pandas DataFrame, a numpy array or the path of a file, not {}".format(
            what, type(value).__name__
        )
    )


def _written(ending, write):
    handle, path = tempfile.mkstemp(prefix="fitserve-sample-", suffix=ending)
    os.close(handle)
    write(path)
    return path


def strict_python(*said):
    """Whether one of the arguments or FITSERVE_STRICT_PYTHON rejects a newer Python than the requested one."""
    return any(said) or os.environ.get("FITSERVE_STRICT_PYTHON", "0").lower() not in ("", "0", "false", "no")


def ids_of(models):
    """Ids of models given as objects or as text."""
    return [model if isinstance(model, str) else model.id for model in models]


def given(**values):
    """The values that are not None."""
    return {key: value for key, value in values.items() if value is not None}


def registration(arguments):
    """Description of a registration for fitserve, from the arguments of Azure's method by name."""
    limits = arguments["resource_configuration"]
    told = {key: arguments[key] for key in ("model_name", "description", "model_framework", "model_framework_version")}
    told.update({key: as_texts(arguments[key]) for key in ("tags", "properties")})
    for key in ("sample_input_dataset", "sample_output_dataset"):
        told[key] = sample_path(arguments[key], key)
    told["resource_configuration"] = None if limits is None else limits._described()
    return told
