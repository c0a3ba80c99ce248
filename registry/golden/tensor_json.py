"""Arrays as JSON that gives back the same bits: dtype, shape and flat values, floats by their shortest repr.

NaN and infinity, which JSON has not, are the strings "nan", "inf" and "-inf" in a float array, and ``{"float": "nan"}``
inside an array of objects. Times are their integers. What has no such form (complex, long double) is base64 of its bytes.
"""

import base64
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from registry.records import Json

Array = NDArray[Any]

_AS_NUMBERS: Final = "biuf"
_AS_INTEGERS: Final = "mM"
_AS_TEXT: Final = "UT"


def tensor_to_json(array: Array) -> dict[str, Json]:
    """
    Raises:
        TypeError: an element of an object array is neither text nor a number, a bool or None.
    """
    array = np.asarray(array)
    flat = array.reshape(-1)
    kind = array.dtype.kind
    form: dict[str, Json] = {"dtype": array.dtype.str, "shape": list(array.shape)}
    if kind in _AS_NUMBERS and array.dtype.itemsize <= 8:
        values = flat.tolist()
        form["values"] = [_float_to_json(value) for value in values] if kind == "f" else values
    elif kind in _AS_INTEGERS:
        form["values"] = flat.astype(flat.dtype.newbyteorder("=")).view(np.int64).tolist()
    elif kind in _AS_TEXT or kind == "O":
        form["dtype"] = "|O" if kind in "OT" else form["dtype"]
        form["values"] = [_object_to_json(value) for value in flat.tolist()]
    elif kind in "cf":
        form["base64"] = base64.b64encode(np.ascontiguousarray(flat).tobytes()).decode("ascii")
    else:
        raise TypeError(f"an array of type {array.dtype} has no form in JSON")
    return form


def tensor_from_json(form: Mapping[str, Json]) -> Array:
    """
    Raises:
        ValueError, KeyError, TypeError: `form` is not what `tensor_to_json` gives.
    """
    dtype, shape = np.dtype(form["dtype"]), tuple(form["shape"])
    if "base64" in form:
        return np.frombuffer(base64.b64decode(form["base64"]), dtype).reshape(shape).copy()
    values = form["values"]
    if dtype.kind in _AS_INTEGERS:
        return np.array(values, np.int64).view(dtype.newbyteorder("=")).astype(dtype).reshape(shape)
    if dtype.kind == "O":
        objects = np.empty(len(values), object)
        objects[:] = [_object_from_json(value) for value in values]
        return objects.reshape(shape)
    if dtype.kind == "f":
        values = [float(value) for value in values]
    return np.array(values, dtype).reshape(shape)


def _float_to_json(value: float) -> Json:
    return value if math.isfinite(value) else str(value)


def _object_to_json(value: Any) -> Json:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"a value of type {type(value).__name__} has no form in JSON")


def _object_from_json(value: Json) -> Any:
    return float(value["float"]) if isinstance(value, dict) else value
