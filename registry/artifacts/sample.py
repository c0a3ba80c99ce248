"""Sample inputs and outputs of a model: from a file, a DataFrame or an array to bytes and a name that tells the format."""

import io
import json
import math
from pathlib import Path
from typing import Any, Final

from registry.errors import InvalidArgument
from registry.records import Json
from registry.stores import disk

FORMATS: Final = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".npy")
_PLAIN_CATEGORIES: Final = ("object", "str", "bool")
SIZE_LIMIT: Final = 64 * 2**20  # bytes


def read_sample(what: str, sample: object) -> tuple[bytes, str]:
    """Bytes, and a name that ends as its format does. A DataFrame becomes JSON (``{"columns", "data", "dtypes"}``), an array .npy.

    `what` names the argument in errors. Whether the content can be read is found out by who uses it.

    Raises:
        LocalPathNotFound, InvalidArgument: not there, or none of the formats.
    """
    if isinstance(sample, str | Path):
        return _from_file(what, Path(sample))
    if hasattr(sample, "columns") and hasattr(sample, "to_json"):
        return _from_frame(sample), "sample.json"
    if hasattr(sample, "dtype") and hasattr(sample, "shape"):
        return _from_array(what, sample), "sample.npy"
    if isinstance(sample, list | dict):
        return json.dumps(sample).encode(), "sample.json"
    raise InvalidArgument(what, f"a {type(sample).__name__} is not a path, a DataFrame, an array or a list")


def _from_file(what: str, path: Path) -> tuple[bytes, str]:
    if path.suffix.lower() not in FORMATS:
        raise InvalidArgument(what, f"{path.name} is none of {', '.join(FORMATS)}")
    with disk.open_plain(path) as file:
        data = file.read(SIZE_LIMIT + 1)
    if not data:
        raise InvalidArgument(what, f"{path} is empty")
    if len(data) > SIZE_LIMIT:
        raise InvalidArgument(what, f"{path} is larger than {SIZE_LIMIT // 2**20} MB; some rows are enough")
    return data, path.name


def _from_frame(frame: Any) -> bytes:
    return json.dumps(frame_form(frame), separators=(",", ":")).encode()


def frame_form(frame: Any) -> dict[str, Json]:
    """The columns, rows and dtypes of a DataFrame as JSON; `gateway.worker.frames` makes columns of these dtypes again."""
    columns = [frame.iloc[:, place] for place in range(frame.shape[1])]
    names = [str(name) for name in frame.columns]
    values = [_values(column) for column in columns]
    return {
        "columns": names,
        "data": [list(row) for row in zip(*values, strict=True)],
        "dtypes": {name: _dtype(column) for name, column in zip(names, columns, strict=True)},
    }


def _dtype(column: Any) -> dict[str, Json]:
    dtype = column.dtype
    word = str(dtype)
    if word == "category":
        of = _dtype(dtype.categories.to_series())["dtype"]
        told = {"dtype": word, "values": _values(dtype.categories), "ordered": bool(dtype.ordered)}
        return told if of in _PLAIN_CATEGORIES or of.startswith(("int", "float")) else {**told, "of": of}
    if word == "string":  # the name leaves out where the text is stored
        return {"dtype": f"string[{dtype.storage}]"}
    return _objects(column.tolist()) if word == "object" else {"dtype": word}


def _objects(values: list[Any]) -> dict[str, Json]:
    """Of a column of Python objects: what stands for missing values, and what the others are where JSON has none of their kind."""
    told: dict[str, Json] = {"dtype": "object"}
    missing = [value for value in values if value is None or value != value]  # noqa: PLR0124 - NaN
    if missing and all(value is None for value in missing):
        told["missing"] = "None"
    kinds = {type(value) for value in values if value is not None and value == value} - {str, int, float, bool}  # noqa: PLR0124
    names = {kind.__name__ for kind in kinds}
    if len(names) == 1 and names <= {"date", "Decimal"}:
        told["python"] = names.pop()
    elif names:
        told["refused"] = f"it held objects of the type {', '.join(sorted(names))}, which JSON does not have"
    return told


def _values(column: Any) -> list[Json]:
    return [_json_value(value) for value in column.tolist()]


def _json_value(value: Any) -> Json:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    return value.isoformat() if hasattr(value, "year") and hasattr(value, "isoformat") else str(value)


def _from_array(what: str, array: Any) -> bytes:
    import numpy  # late: who registers a file does not need it

    stream = io.BytesIO()
    try:
        numpy.save(stream, array, allow_pickle=False)
    except ValueError as error:
        raise InvalidArgument(what, "the array holds Python objects; pass a DataFrame") from error
    return stream.getvalue()
