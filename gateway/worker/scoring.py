"""One model's answers: from the input of a request to the arrays of its answer, and what kind of error is whose.

Runs inside the model's own Python (3.6 and later), beside child.py; needs numpy, and pandas only where a model takes columns.
"""

import sys
import time
import traceback
import warnings
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import numpy as np

from .boosters import INPUT_ERRORS
from .columns import columns_of
from .frames import converters, objects, series
from .shortcut_base import Unsupported, finite
from .shortcut_verify import Proof

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Header = Dict[str, Any]

DENSE_LIMIT = 50 * 1000 * 1000  # bytes of a sparse answer written out
MAX_MESSAGE = 1000
MOST_WHOLE = 2**24  # whole numbers up to here have the same value in every type
MOST_GOLDEN = 1000 * 1000  # values of golden rows and answers that are kept for the proof

_clock = getattr(time, "perf_counter_ns", None) or (lambda: int(time.perf_counter() * 1e9))  # before Python 3.7


class AnswerRefused(ValueError):
    """The answer cannot be sent; the request can be changed so that it can."""


class Scorer(object):
    """Calls the allow-listed methods of one loaded model.

    Args:
        description: of the model; see describe.py.
        shorter: whether to look for shortcuts, see `prove`.
        arrays_from, new_body: the wire's, from child.py.
    """

    def __init__(
        self,
        model: Any,
        description: "Header",
        arrays_from: "Callable[[Header, Any], Any]",
        new_body: "Callable[[], Any]",
        dense_limit: int = DENSE_LIMIT,
        shorter: bool = True,
    ) -> None:
        self._methods = {name: getattr(model, name) for name in description["methods"]}
        self._model, self._shorter = model, shorter
        self._shortcuts: "Dict[str, Any]" = {}  # by method; a method without one goes through the public method
        self._golden: "List[Any]" = []
        self._golden_values = 0
        self._width = description.get("n_features")
        self._names: "List[str]" = description.get("feature_names") or []
        self._frames = description["kind"] == "columns"
        self._flat = bool(description.get("flat"))
        self._convert = _converters(model, self._names, description.get("dtypes") or {})
        self._unsure = {
            name: spec["unsure"] for name, spec in (description.get("dtypes") or {}).items() if "unsure" in spec
        }
        self._series = False
        self._labels = description.get("item") == "label"
        self._arrays_from, self._new_body = arrays_from, new_body
        self._dense_limit = dense_limit
        self._logged: "Set[Tuple[str, str]]" = set()

    def answer(self, header: "Header", body: Any) -> "Tuple[Header, List[Array], bool]":
        """(header and arrays of the answer, whether this process should end after sending it).

        Every exception of the model becomes an error in the header. ValueError and TypeError are laid to the input, and to that of
        `inverse_transform` also IndexError.
        """
        number = header.get("id")
        out = self._new_body()
        try:
            method = self._methods.get(header["method"]) or self._several(header)
            if method is None:
                raise KeyError(header["method"])
        except KeyError:
            names = ", ".join(sorted(self._methods))
            message = "the model has no method {!r}; it has: {}".format(header.get("method"), names)
            return {"id": number, "ok": False, "error": _error("method", "KeyError", message)}, [], False
        answered = False
        try:
            X = self._input(header["input"], body, header["method"])
            started = _clock()
            try:
                result = self._called(header["method"], method, X, header)
            except AttributeError as error:
                if type(X) is not list or "'list' object has no attribute" not in str(error):
                    raise
                self._series = True  # a custom step was written for a column of a DataFrame
                result = self._called(header["method"], method, _pandas().Series(X), header)
            spent = _clock() - started
            answered = True
            output = self._output(result, out)
            return {"id": number, "ok": True, "output": output, "exec_ns": spent}, out.arrays, False
        except MemoryError:
            self._log_once()
            message = "the model ran out of memory while answering"
            return {"id": number, "ok": False, "error": _error("memory", "MemoryError", message)}, [], True
        except BaseException as error:  # also SystemExit: a model does not end its process by an ordinary raise
            self._log_once()
            whose = isinstance(error, AnswerRefused) or (not answered and _is_input_error(error, header["method"]))
            kind = "input" if whose or self._unsure else "model"
            return (
                {"id": number, "ok": False, "error": _error(kind, type(error).__name__, self._said(error))},
                [],
                False,
            )

    def _said(self, error: BaseException) -> str:
        """The message of an error, with the columns whose dtype at fitting is not known."""
        notes = ["column '{}': {}".format(name, why) for name, why in self._unsure.items()]
        return "; ".join(notes + [_said(error)])

    def scoring(self) -> "Dict[str, Header]":
        """By method: the code path of its answers (`path`), the gain for one row (`gain`, public time / own time), and the index of
        the shortcut among the candidates (`way`)."""
        told: "Dict[str, Header]" = {name: {"path": "public"} for name in self._methods}
        for name, shortcut in self._shortcuts.items():
            told[name] = {
                "path": shortcut.name,
                "gain": shortcut.gain,
                "way": shortcut.number,
                "dtypes": list(shortcut.dtypes),
            }
        return told

    def prove(self, known: "Optional[Dict[str, Header]]" = None) -> "Iterator[None]":
        """Find shortcuts, step by step; each is used as soon as it is verified. `known`: see `Proof`."""
        if self._shorter:
            proof = Proof(self._model, self._methods, self._golden, known)
            self._shortcuts = proof.found
            for _ in proof.steps():
                yield
        self._golden = []

    def _several(self, header: "Header") -> "Optional[Callable[[Any], Any]]":
        """A call for several methods joined by commas, which gives a tuple of answers; None if the model lacks one of them."""
        names = str(header["method"]).split(",")
        if len(names) < 2 or not all(name in self._methods for name in names):
            return None
        # Each method gets its own copy: a model may write into its input.
        return lambda X: tuple([self._called(name, self._methods[name], X.copy(), header) for name in names])

    def _called(self, name: str, public: "Callable[[Any], Any]", X: Any, header: "Header") -> Any:
        """The public method's answer, through a shortcut if one is verified for input like `X`."""
        if header.get("prove"):
            return self._remembered(name, public, X)
        shortcut = self._shortcuts.get(name)
        if shortcut is None:
            return public(X)
        Z = X if self._fits(X) else self._widened(X, shortcut.dtypes)
        if Z is None or not (header.get("checked") or finite(Z)):
            return public(X)
        try:
            return shortcut.call(Z)
        except Unsupported:
            return public(X)

    def _widened(self, X: Any, dtypes: "Sequence[str]") -> "Optional[Array]":
        """`X` as float64, if the shortcut was verified for its dtype and float32 holds the same numbers."""
        if type(X) is not np.ndarray or X.dtype.name not in dtypes:
            return None
        Z = X.astype(np.float64)
        if not self._fits(Z) or (X.dtype.kind == "i" and np.abs(Z).max() > MOST_WHOLE):
            return None
        return Z

    def _fits(self, X: Any) -> bool:
        return (
            type(X) is np.ndarray and X.dtype == np.float64 and X.ndim == 2 and X.shape[1] == self._width and len(X) > 0
        )

    def _remembered(self, name: str, public: "Callable[[Any], Any]", X: Any) -> Any:
        """The public method's answer, kept until a shortcut has been compared with it."""
        if not self._shorter or not self._fits(X) or not finite(X):
            return public(X)
        answer = public(X.copy())
        self._golden_values += X.size + _size(answer)
        if self._golden_values <= MOST_GOLDEN:
            self._golden.append((name, X, answer))
        return answer

    def _input(self, given: "Header", body: Any, method: str) -> Any:
        kind = given["kind"]
        if kind == "array":
            X = self._arrays_from(given["array"], body)
            if method == "inverse_transform":
                return X
            if self._frames and X.ndim == 2 and X.shape[1] == len(self._names):
                if self._convert:
                    return self._frame(dict(zip(self._names, X.T)), self._names)
                return _pandas().DataFrame(X, columns=self._names)
            if self._flat and X.ndim == 2 and X.shape[1] == 1:
                return X[:, 0]
            return self._unnamed(X) if self._convert and not self._names and X.ndim == 2 else X
        if kind == "columns":
            columns = [self._arrays_from(spec, body) for spec in given["columns"]]
            return self._columns(given["names"], columns)
        if self._series:
            return _pandas().Series(given["values"])
        return _labels(given["values"]) if self._labels else given["values"]

    def _columns(self, names: "List[str]", columns: "List[Array]") -> Any:
        """A DataFrame with the model's own columns first and in its order; an array where no DataFrame is needed."""
        have = dict(zip(names, columns))
        known = [name for name in self._names if name in have]
        order = known + [name for name in names if name not in set(known)]
        if not self._frames and known and len(known) == len(order) == len(self._names):
            if all(column.dtype.kind in "biuf" for column in columns):
                return np.column_stack([have[name] for name in order])
        return self._frame(have, order)

    def _frame(self, have: "Dict[str, Array]", order: "List[str]") -> Any:
        """The DataFrame of the columns, each with the dtype that the model was fitted on."""
        made = {
            name: series(self._convert[name](have[name])) if name in self._convert else have[name] for name in order
        }
        return _pandas().DataFrame(made, columns=order)

    def _unnamed(self, X: "Array") -> Any:
        """`X`, whose columns have no names, with its values as the model was fitted on them."""
        columns = [self._convert[str(i)](X[:, i]) if str(i) in self._convert else X[:, i] for i in range(X.shape[1])]
        kinds = {getattr(column, "dtype", None) for column in columns}
        if len(kinds) == 1 and getattr(list(kinds)[0], "kind", "O") in "mM":
            return np.column_stack([np.asarray(column) for column in columns])
        made = np.empty(X.shape, object)
        for index, column in enumerate(columns):
            made[:, index] = objects(list(column))
        return made

    def _output(self, value: Any, out: Any) -> Any:
        """The description of `value` for the header; its arrays go to `out`."""
        if isinstance(value, np.ndarray):
            if value.dtype.kind == "O" and any(isinstance(item, np.ndarray) for item in value.flat):
                # radius_neighbors: rows of unequal length
                return {"list": [self._output(item, out) for item in value.flat]}
            if value.dtype.kind == "V":
                raise TypeError("an answer with the structured type {} has no form on the wire".format(value.dtype))
            return out.add(value)
        if isinstance(value, tuple):
            return {"tuple": [self._output(item, out) for item in value]}
        if isinstance(value, list):
            if any(isinstance(item, (np.ndarray, list, tuple)) for item in value):
                return {"list": [self._output(item, out) for item in value]}
            return out.add(
                _labels(value) if any(isinstance(item, (str, dict)) for item in value) else np.asarray(value)
            )
        if hasattr(value, "toarray") and hasattr(value, "nnz"):
            return out.add(self._dense(value))
        if hasattr(value, "columns") and hasattr(value, "to_numpy"):
            return {"columns": [str(name) for name in value.columns], "array": out.add(_values(value))}
        if hasattr(value, "to_numpy") or hasattr(value, "__array__"):
            return out.add(np.asarray(value))
        if isinstance(value, (str, bool, int, float, complex)):
            return out.add(np.asarray(value))
        raise TypeError("the model answered with a {}, not with an array".format(type(value).__name__))

    def _dense(self, matrix: Any) -> "Array":
        nbytes = int(np.prod([int(n) for n in matrix.shape], dtype=np.int64)) * matrix.dtype.itemsize
        if nbytes > self._dense_limit:
            raise AnswerRefused(
                "the answer is a sparse matrix of {} rows and {} columns: written out it has {:.0f} MB, more than {:.0f} MB; "
                "send fewer rows at once".format(
                    matrix.shape[0], matrix.shape[1], nbytes / 1e6, self._dense_limit / 1e6
                )
            )
        return np.asarray(matrix.toarray())

    def _log_once(self) -> None:
        """The current exception: whole the first time, one line after that, so that bad requests cannot flood the log."""
        kind, error, trace = sys.exc_info()
        last = traceback.extract_tb(trace)[-1]
        key = (str(kind), "{}:{}".format(last[0], last[1]))
        if key in self._logged or len(self._logged) > 1000:
            sys.stderr.write("".join(traceback.format_exception_only(kind, error))[:MAX_MESSAGE])
        else:
            self._logged.add(key)
            traceback.print_exc()


def quiet_warnings() -> None:
    """Each warning of the model goes to the log once, however often it is given.

    One filter is left: every task of scikit-learn's parallel helpers installs all filters again, which with the filters of an
    ordinary import costs a forest more than its trees. The names of columns are checked before they come here.
    """
    seen: "Set[Tuple[Any, ...]]" = set()

    def show(
        message: Any,
        category: Any,
        filename: str,
        lineno: int,
        file: Any = None,  # noqa: ARG001 - the signature that warnings calls
        line: Optional[str] = None,
    ) -> None:
        text = str(message)
        key = (category, text, filename, lineno)
        if key in seen or len(seen) > 1000 or text.startswith("X does not have valid feature names"):
            return
        seen.add(key)
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))

    warnings.resetwarnings()
    warnings.simplefilter("default")
    warnings.showwarning = show


def _converters(model: Any, names: "List[str]", specs: "Dict[str, Header]") -> "Dict[str, Callable[[Array], Any]]":
    return converters(specs, columns_of(model, names or None).values) if specs else {}


def _is_input_error(error: BaseException, method: str) -> bool:
    if isinstance(error, IndexError) and method == "inverse_transform":  # a category's number that there is not
        return True
    if type(error).__name__ in INPUT_ERRORS:
        return True
    if not isinstance(error, (ValueError, TypeError)):
        return False
    return type(error).__name__ not in ("NotFittedError", "LinAlgError")  # ValueErrors that no caller can mend


def _error(kind: str, name: str, message: str) -> "Header":
    return {
        "kind": kind,
        "type": name,
        "message": message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…",
    }


def _labels(values: "List[Any]") -> "Array":
    """A 1-D array as scikit-learn sees labels; mixed ones stay objects."""
    if all(isinstance(value, str) for value in values) or not any(
        isinstance(value, (str, list, dict)) for value in values
    ):
        return np.asarray(values)
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _values(frame: Any) -> "Array":
    if any(not isinstance(dtype, np.dtype) for dtype in frame.dtypes):  # pandas' own types, such as category
        return np.asarray(frame.astype(object))
    return np.asarray(frame.to_numpy())


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise RuntimeError(
            "pandas is not installed in this model's environment, and the model takes named columns"
        ) from None
    return pandas


def _size(answer: Any) -> int:
    """About how many values it holds: an array, sparse or not, or several of them."""
    if isinstance(answer, (tuple, list)):
        return sum([_size(part) for part in answer])
    return int(getattr(answer, "size", 1))


def _said(error: BaseException) -> str:
    """The message of an error; a model's own error class may be broken."""
    try:
        return str(error)
    except Exception:
        return "(an error that cannot be written as text)"
