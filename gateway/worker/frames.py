"""Columns with the dtypes that a model was fitted on: times with a zone, periods, intervals, categories, None for missing values.

JSON knows numbers, text, true, false and null. Where a model was fitted on anything else, each column is converted before the model
sees it, or refused with its name. A dtype is known from the model itself (the categories of its encoders, the categories that a
booster keeps) or from the registered sample; it travels in descriptions as a `Spec`.

Runs inside the model's own Python (3.6 and later), beside child.py; pandas is imported only where a column needs it.
"""

import re
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from .pipeline import is_missing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    #: JSON. "dtype" is the name that pandas gives it, with "values" and "ordered" for a category ("of": the dtype of the values).
    #: "missing": "None" where None stands for missing values. "lookup": text stands for the category that is written so.
    #: "whole": whole numbers are integers. "text": all values are. "unknown": "missing" where a value that is not a category counts as missing. "python": the class of
    #: the values, date or Decimal.
    #: "unsure": why the dtype is not known; "refused": why the column cannot be made at all.
    Spec = Dict[str, Any]
    Converter = Callable[[Array], Any]

_PLAIN = (str, bool, int, float, type(None), np.bool_, np.number)
_INTERVAL = re.compile(r"\s*([\[(])\s*(.+?)\s*,\s*(.+?)\s*([\])])\s*")
_CLOSED = {("(", "]"): "right", ("[", ")"): "left", ("[", "]"): "both", ("(", ")"): "neither"}
_MOST_SHOWN = 60


class BadColumn(ValueError):
    """A column cannot be given the dtype that the model was fitted on; the message names the column."""


def spec_of(values: "Array") -> "Optional[Spec]":
    """The Spec of a column that had these `values` at fitting (the categories of an encoder); None where JSON has them as they are."""
    if values.dtype.kind in "mM":
        return {"dtype": values.dtype.name}
    if values.dtype.kind != "O":
        return None
    listed = values.tolist()
    none = {"missing": "None"} if any(value is None for value in listed) else {}
    present = [value for value in listed if not is_missing(value)]
    if not present or all(isinstance(value, _PLAIN) for value in present):
        return dict(none, dtype="object") if none else None
    dtype = _dtype_of(present)
    if dtype is not None:
        return {"dtype": str(dtype)}
    text = {} if any(isinstance(value, Decimal) or isinstance(value, _PLAIN) for value in present) else {"text": True}
    return dict(none, lookup=True, **text)


def _dtype_of(present: "List[Any]") -> Any:
    """What pandas makes of values that are all its own scalars of one kind; None for others."""
    if any(type(value).__module__.split(".")[0] != "pandas" for value in present):
        return None
    import pandas

    dtype = pandas.Series(present).dtype
    return None if dtype.name == "object" else dtype


def as_json(values: "Array") -> "List[Any]":
    """The values of an encoder's category list that are not missing, in the form in which callers send them."""
    listed = values.tolist()
    if values.dtype.kind in "mM":  # tolist gives integers for nanoseconds
        listed = [None if text == "NaT" else text for text in values.astype(str).tolist()]
    return [value if isinstance(value, _PLAIN) else _text(value) for value in listed if not is_missing(value)]


def _text(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") and hasattr(value, "year") else str(value)


def type_of(spec: "Spec") -> "Optional[str]":
    """The JSON type of a column, as `column_types` has it; None where the values decide."""
    if "text" in spec:
        return "string"
    if "values" in spec:
        if isinstance(spec.get("of"), str):
            return type_of({"dtype": spec["of"]})
        present = spec["values"]
        if present and all(isinstance(value, str) for value in present):
            return "string"
        if present and all(isinstance(value, bool) for value in present):
            return "boolean"
        return "number" if present and all(isinstance(value, (int, float)) for value in present) else None
    if spec.get("python") == "date":
        return "string"
    word = spec.get("dtype", "")
    if word.startswith("datetime64"):
        return "datetime"
    if word.startswith(("timedelta64", "period", "interval", "string", "str")):
        return "string"
    if word in ("bool", "boolean"):
        return "boolean"
    return "number" if re.match(r"(u?int|float)\d+$", word.lower()) else None


def converters(specs: "Dict[str, Spec]", known: "Dict[str, Array]") -> "Dict[str, Converter]":
    """By column, what makes a Series (or an array) of the values on the wire.

    Args:
        known: values that an encoder saw at fitting, by column: a dtype that was read from them is taken as it is, not by name.
    """
    made = {}
    for name, spec in specs.items():
        if _is_plain(spec):
            continue
        make = _lookup(known[name], spec) if "lookup" in spec and name in known else _converter(spec, known.get(name))
        made[name] = _named(name, spec, make)
    return made


def _is_plain(spec: "Spec") -> bool:
    """Whether the wire's arrays have this dtype already."""
    if set(spec) != {"dtype"}:
        return "dtype" not in spec and "unsure" in spec
    return bool(re.match(r"(u?int|float)\d+$|bool$", spec["dtype"]))


def _named(name: str, spec: "Spec", make: "Converter") -> "Converter":
    def convert(values: "Array") -> Any:
        try:
            return make(values)
        except BadColumn as error:
            raise BadColumn("column '{}': {}".format(name, error)) from None
        except (ValueError, TypeError, OverflowError, KeyError, AttributeError, InvalidOperation) as error:
            text = "column '{}' cannot be given the dtype {} that the model was fitted on: {}"
            raise BadColumn(text.format(name, spec.get("dtype", "of its categories"), error)) from None

    return convert


def _converter(spec: "Spec", known: "Optional[Array]" = None) -> "Converter":
    if "refused" in spec:
        return _refusing(spec["refused"])
    word = spec.get("dtype", "object")
    if "values" in spec:
        return _categories(spec)
    if word == "object":
        return _objects(spec)
    if word.startswith("datetime64[") and "," not in word:
        return lambda values: _naive(values, word)
    try:
        dtype = _resolved(word, known)
    except BadColumn as error:
        return _refusing(str(error))
    if word.startswith("datetime64[") and "," in word:
        return lambda values: _zoned(values, dtype)
    if word.startswith("timedelta64"):
        return lambda values: _pandas().Series(_pandas().to_timedelta(_or_none(values))).astype(dtype)
    if word.startswith("period"):
        return lambda values: _pandas().Series(_pandas().PeriodIndex(_or_none(values), freq=dtype.freq))
    if word.startswith("interval"):
        return lambda values: _intervals(values, dtype)
    if word in ("boolean", "string") or word.startswith("string"):
        return lambda values: _pandas().Series(_pandas().array(_or_none(values), dtype=dtype))
    return lambda values: _pandas().Series(values).astype(dtype)


def _resolved(word: str, known: "Optional[Array]") -> Any:
    """The dtype itself. Its name is not enough for every zone, so what the model still holds comes first."""
    if known is not None and known.dtype.kind == "O":
        found = _dtype_of([value for value in known.tolist() if not is_missing(value)])
        if found is not None and str(found) == word:
            return found
    pandas = _pandas()
    if word == "str" and int(pandas.__version__.split(".")[0]) < 3:  # there it is Python's str, which makes text of NaN
        return object
    try:
        return pandas.Series([], dtype=word).dtype
    except (TypeError, ValueError, ImportError) as error:
        sentence = "the dtype {} that the model was fitted on cannot be made in its environment: {}"
        raise BadColumn(sentence.format(word, error)) from None


def _refusing(sentence: str) -> "Converter":
    def refuse(values: "Array") -> Any:  # noqa: ARG001 - none of them can be taken
        raise BadColumn(sentence)

    return refuse


def _objects(spec: "Spec") -> "Converter":
    """An object column: None for missing values where the model was fitted so, integers where it tells them from fractions."""
    missing, whole = None if spec.get("missing") == "None" else np.nan, spec.get("whole")
    make = _PYTHON.get(spec.get("python", ""))

    def convert(values: "Array") -> Any:
        listed = [missing if is_missing(value) else value for value in values.tolist()]
        if make is not None:
            listed = [v if is_missing(v) else make(v) for v in listed]
        if whole:
            listed = [int(v) if isinstance(v, float) and v == v and v.is_integer() else v for v in listed]
        return objects(listed)

    return convert


_PYTHON = {
    "date": lambda value: datetime.strptime(value[:10], "%Y-%m-%d").date(),
    "Decimal": lambda value: Decimal(str(value)),
}  # type: Dict[str, Callable[[Any], Any]]


def _lookup(known: "Array", spec: "Spec") -> "Converter":
    """Categories that are neither JSON's nor pandas': dates, decimals, identifiers. Each is found by its text."""
    by_text = {}
    for value in known.tolist():
        if not is_missing(value):
            by_text.update({str(value): value, _text(value): value})
    missing = None if spec.get("missing") == "None" else np.nan

    def convert(values: "Array") -> Any:
        return objects([missing if is_missing(v) else by_text.get(str(v), v) for v in values.tolist()])

    return convert


def _categories(spec: "Spec") -> "Converter":
    pandas = _pandas()
    index = pandas.Index(_cast(spec["values"], spec.get("of")))
    dtype = pandas.CategoricalDtype(index, bool(spec.get("ordered")))

    def convert(values: "Array") -> Any:
        given = values if index.dtype == object or values.dtype.kind != "O" else _or_none(values)
        cast = _cast(given, spec.get("of"))
        codes = index.get_indexer(pandas.Index(cast))
        if spec.get("unknown") != "missing":
            strange = [v for v, code in zip(values.tolist(), codes) if code < 0 and not is_missing(v)]
            if strange:
                known = ", ".join(str(value) for value in spec["values"])
                known = known if len(known) <= 200 else known[:199] + "…"
                raise BadColumn("{} is not a category of the model; it knows {}".format(_shown(strange[0]), known))
        return pandas.Series(pandas.Categorical.from_codes(codes, dtype=dtype))

    return convert


def _cast(values: Any, of: "Optional[str]") -> Any:
    """The values of a category as the dtype `of`; as they are where it is None."""
    if of is None:
        return values
    return _converter({"dtype": of})(objects(values) if isinstance(values, list) else values)


def _naive(values: "Array", word: str) -> "Array":
    """Times without a zone: as they are, or from the text or the numbers that they are among other objects."""
    if values.dtype.kind == "M":
        return values
    return np.array(["NaT" if is_missing(value) else value for value in values.tolist()], word)


def _zoned(values: "Array", dtype: Any) -> Any:
    """Times that are UTC on the wire, in the column's zone."""
    pandas = _pandas()
    if values.dtype.kind == "O":
        values = pandas.to_datetime(_or_none(values), utc=True)
    made = pandas.Series(pandas.DatetimeIndex(values))
    made = made.dt.tz_localize("UTC") if made.dt.tz is None else made
    return made.dt.tz_convert(dtype.tz).astype(dtype)


def _intervals(values: "Array", dtype: Any) -> Any:
    pandas = _pandas()
    made: "List[Any]" = []
    for value in values.tolist():
        if is_missing(value):
            made.append(np.nan)
            continue
        parts = _INTERVAL.match(value) if isinstance(value, str) else None
        if parts is None:
            raise BadColumn("{} is not an interval; write it as (0, 1]".format(_shown(value)))
        closed = _CLOSED[(parts.group(1), parts.group(4))]
        if closed != dtype.closed:
            raise BadColumn(
                "the interval {} is closed {}, and the model's are closed {}".format(value, closed, dtype.closed)
            )
        ends = [_end(parts.group(place), dtype.subtype) for place in (2, 3)]
        made.append(pandas.Interval(ends[0], ends[1], closed=closed))
    return pandas.Series(pandas.arrays.IntervalArray(made, dtype=dtype))


def _end(text: str, subtype: Any) -> Any:
    pandas = _pandas()
    if getattr(subtype, "kind", "") in "iu":
        return int(text)
    if getattr(subtype, "kind", "") == "f":
        return float(text)
    return pandas.Timedelta(text) if getattr(subtype, "kind", "") == "m" else pandas.Timestamp(text)


def objects(values: "Sequence[Any]") -> "Array":
    """A 1-D object array; numpy alone would look into lists."""
    made = np.empty(len(values), object)
    made[:] = values
    return made


def series(values: Any) -> Any:
    """A Series that keeps the dtype of `values`: pandas 3 reads text in object arrays as its own text type, and None as NaN."""
    pandas = _pandas()
    if isinstance(values, np.ndarray) and values.dtype == object:
        return pandas.Series(values, dtype=object)
    return pandas.Series(values)


def _or_none(values: "Array") -> "List[Any]":
    """Every missing value as None, which pandas' own dtypes take for missing."""
    return [None if is_missing(value) else value for value in values.tolist()]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"


def _pandas() -> Any:
    import pandas

    return pandas
