"""inference-schema's parameter types, as a scoring script's decorators use them, with known defects of the package mended.

Runs inside the model's own Python (3.6 and later), beside child.py; the package is the user's. It reads no dates before Python 3.14, cuts
fractions off where the sample holds integers, counts columns instead of comparing their names, and documents neither nanoseconds nor
booleans.
"""

import datetime
import importlib
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

_PLACE = "inference_schema.parameter_types."
_DATE = "%Y-%m-%d"
_SHOWN = 20

Deserialize = Callable[[Any, Any], Any]


def offer_mended_types() -> None:
    """Before the script is imported: its decorators document their samples at once."""
    try:
        importlib.import_module(_PLACE + "standard_py_parameter_type")
        importlib.import_module(_PLACE + "numpy_parameter_type")
    except ImportError:
        return
    mend()


def mend() -> None:
    """All types that are imported by now; each once."""
    for module, name, mended in (
        ("standard_py_parameter_type", "StandardPythonParameterType", _mend_standard),
        ("numpy_parameter_type", "NumpyParameterType", _mend_numpy),
        ("pandas_parameter_type", "PandasParameterType", _mend_pandas),
    ):
        cls = getattr(sys.modules.get(_PLACE + module), name, None)
        if cls is not None and not getattr(cls, "_mended_here", False):
            cls._mended_here = True
            mended(cls)


def parameter_of(error: BaseException) -> "Optional[str]":
    """The name of the parameter whose type refused what was sent, if a decorator of inference-schema raised `error`."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "_deserialize_input_argument":
            name = trace.tb_frame.f_locals.get("param_name")
            return None if name is None else str(name)
        trace = trace.tb_next
    return None


def _mend_standard(cls: Any) -> None:
    original: Deserialize = cls.deserialize_input

    def deserialize_input(self: Any, data: Any) -> Any:
        if self.sample_data_type is not datetime.date or not isinstance(data, str):
            return original(self, data)
        return datetime.datetime.strptime(data, _DATE).date()

    cls.deserialize_input = deserialize_input


def _mend_numpy(cls: Any) -> None:
    original: Deserialize = cls.deserialize_input
    document: "Callable[[Any], Dict[str, Any]]" = cls.input_to_swagger

    def deserialize_input(self: Any, data: Any) -> Any:
        if self.enforce_column_type and self.sample_input.dtype.kind in "iu" and isinstance(data, list):
            for value in _leaves(data):
                _check_whole(value, "")
        return original(self, data)

    def input_to_swagger(self: Any) -> "Dict[str, Any]":
        sample = self.sample_input
        if sample.dtype.kind == "M":  # nanoseconds would be integers
            return document(cls(sample.astype("datetime64[us]")))
        documented = document(self)
        if sample.dtype.kind == "b":
            documented["example"] = sample.tolist()
        return documented

    cls.deserialize_input, cls.input_to_swagger = deserialize_input, input_to_swagger


def _mend_pandas(cls: Any) -> None:
    original: Deserialize = cls.deserialize_input

    def deserialize_input(self: Any, data: Any) -> Any:
        columns = self.sample_input.columns
        given = None if self.apply_column_names else _names(data, self.orient)
        if given is not None and self.enforce_shape:
            _check_names([str(name) for name in columns], given)
        if self.enforce_column_type and self.orient == "records" and given is not None:
            whole = [
                str(name)
                for name, dtype in self.sample_input.dtypes.items()
                if getattr(dtype, "kind", None) in ("i", "u")
            ]
            for record in data:
                for name in whole:
                    _check_whole(record.get(name), "column {!r}: ".format(name))
        frame = original(self, data)
        if given is not None and list(frame.columns) != list(columns) and set(frame.columns) == set(columns):
            return frame[list(columns)]
        return frame

    cls.deserialize_input = deserialize_input


def _names(data: Any, orient: str) -> "Optional[List[str]]":
    """The columns' names in `data`; None where it holds none, or is not what `orient` says."""
    try:
        if orient == "split":
            return [str(name) for name in data["columns"]]
        if orient == "columns":
            return [str(name) for name in data.keys()]
        if orient not in ("records", "index"):
            return None
        records = data if orient == "records" else data.values()
        return list(dict.fromkeys(str(name) for record in records for name in record.keys()))
    except (KeyError, TypeError, AttributeError):
        return None


def _check_names(known: "Sequence[str]", given: "Sequence[str]") -> None:
    missing = [name for name in known if name not in set(given)]
    unknown = [name for name in given if name not in set(known)]
    if missing or unknown:
        parts = [
            "{} column{} {}".format(word, "s" if len(names) > 1 else "", ", ".join(map(repr, names[:_SHOWN])))
            for word, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        raise ValueError("{}; it takes {}".format("; ".join(parts), ", ".join(map(repr, known[:_SHOWN]))))


def _check_whole(value: Any, where: str) -> None:
    if isinstance(value, float) and np.isfinite(value) and value != int(value):
        raise ValueError("{}the sample holds integers, and {!r} is none".format(where, value))


def _leaves(values: Any) -> "Any":
    for value in values:
        if isinstance(value, list):
            for leaf in _leaves(value):
                yield leaf
        else:
            yield value
