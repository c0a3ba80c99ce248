"""Sample inputs and outputs of a model: from a file, a DataFrame or an array to bytes and a name that tells the format."""

import io
import json
from pathlib import Path
from typing import Any, Final

from registry.errors import InvalidArgument
from registry.stores import disk

FORMATS: Final = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".npy")
SIZE_LIMIT: Final = 64 * 2**20  # bytes


def read_sample(what: str, sample: object) -> tuple[bytes, str]:
    """Bytes, and a name that ends as its format does. A DataFrame becomes JSON (``{"columns", "data"}``), an array .npy.

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
    text: str = frame.to_json(orient="split", index=False, date_format="iso", double_precision=15)
    return text.encode()


def _from_array(what: str, array: Any) -> bytes:
    import numpy  # late: who registers a file does not need it

    stream = io.BytesIO()
    try:
        numpy.save(stream, array, allow_pickle=False)
    except ValueError as error:
        raise InvalidArgument(what, "the array holds Python objects; pass a DataFrame") from error
    return stream.getvalue()
