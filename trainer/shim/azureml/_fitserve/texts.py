"""Small conversions that several classes of the client need."""

import datetime
import os
import tempfile

from azureml.exceptions import UserErrorException


def as_time(text):
    """A time of fitserve's, ISO 8601 in UTC, as datetime; Python 3.6 cannot parse the colon in its offset."""
    if text is None:
        return None
    if text.endswith("+00:00"):
        text = text[:-6]
    form = "%Y-%m-%dT%H:%M:%S.%f" if "." in text else "%Y-%m-%dT%H:%M:%S"
    return datetime.datetime.strptime(text, form).replace(tzinfo=datetime.timezone.utc)


def as_path(path):
    """Absolute, since fitserve's process stands in another folder than the caller may by now."""
    return None if path is None else os.path.abspath(str(path))


def as_texts(items):
    """Keys and values as text, None where nothing was given."""
    return None if items is None else {str(key): None if v is None else str(v) for key, v in dict(items).items()}


def sample_path(value, what):
    """The path of a file with a sample input or output: of a path, dataset, DataFrame or numpy array."""
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
        import numpy  # late: the caller's own, and only where there is one

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
    """Whether any of them, or who started the program, wants no newer Python in place of the one that is asked for."""
    return any(said) or os.environ.get("FITSERVE_STRICT_PYTHON", "0").lower() not in ("", "0", "false", "no")


def ids_of(models):
    """Of models that are named by an object or by text."""
    return [model if isinstance(model, str) else model.id for model in models]


def given(**values):
    """Only those that are not None."""
    return {key: value for key, value in values.items() if value is not None}


def registration(arguments):
    """What fitserve is told of a model that is to be registered: of the arguments of Azure's call, by their names."""
    limits = arguments["resource_configuration"]
    told = {key: arguments[key] for key in ("model_name", "description", "model_framework", "model_framework_version")}
    told.update({key: as_texts(arguments[key]) for key in ("tags", "properties")})
    for key in ("sample_input_dataset", "sample_output_dataset"):
        told[key] = sample_path(arguments[key], key)
    told["resource_configuration"] = None if limits is None else limits._described()
    return told
