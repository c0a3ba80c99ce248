"""Tensors of the Open Inference Protocol ↔ arrays, in JSON and in binary form.

Numbers are cast to the datatype that the sender declared, as a server of typed tensors does: 5.1 sent as FP32 is the float32
nearest to 5.1 in JSON as well as in binary. Binary text is a 4-byte little-endian length and the bytes, one element after the other.
"""

import base64
import binascii
import math
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from gateway.errors import InvalidRequest
from gateway.protocols.matrices import ListsWanted
from gateway.schema import columns as types
from gateway.schema.rows import quoted
from gateway.types import Array, plain

#: Datatype → numpy dtype. BYTES is text here.
DATATYPES: Final = {
    "BOOL": "|b1",
    "UINT8": "|u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "|i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_NAMES: Final = {dtype: name for name, dtype in DATATYPES.items()}
_LENGTH: Final = struct.Struct("<I")
_MOST_DIMENSIONS: Final = 32


def read_tensor(spec: Mapping[str, Any], binary: memoryview | None, encoding: str | None = None) -> Array:
    """One input as an array of its declared shape; BYTES as objects holding `str`.

    Args:
        spec: an element of ``inputs``.
        binary: its bytes, or None when its ``data`` is in the JSON.
        encoding: "base64" when texts are base64 of UTF-8.

    Raises:
        InvalidRequest: it has no name, shape or datatype that fit its data.
    """
    name = quoted(str(spec.get("name")))
    shape = _shape(spec.get("shape"), name)
    datatype = spec.get("datatype")
    if not isinstance(datatype, str) or (datatype != "BYTES" and datatype not in DATATYPES):
        known = ", ".join([*DATATYPES, "BYTES"])
        raise InvalidRequest(f"the datatype of input {name} must be one of {known}, not {types.described(datatype)}")
    count = math.prod(shape)
    if binary is not None:
        if datatype == "BYTES":
            return _texts([bytes(part) for part in _parts(binary, count, name)], name, encoding).reshape(shape)
        dtype = np.dtype(DATATYPES[datatype])
        if len(binary) != count * dtype.itemsize:
            raise InvalidRequest(
                f"input {name} has {len(binary):,} bytes of binary data; its shape and datatype ask for {count * dtype.itemsize:,}"
            )
        return np.frombuffer(binary, dtype).reshape(shape)
    if datatype == "FP16":
        raise InvalidRequest(f"input {name}: FP16 can be sent as binary data only")
    if isinstance(spec.get("data"), np.ndarray):
        return _narrowed(spec["data"], shape, datatype)
    flat = _flat(spec.get("data"), count, len(shape), name)
    if datatype == "BYTES":
        return _texts(flat, name, encoding).reshape(shape)
    return _numbers(flat, datatype, name).reshape(shape)


def _narrowed(data: Array, shape: tuple[int, ...], datatype: str) -> Array:
    """Numbers that are float64 already, in a float datatype. Raises ListsWanted for any other."""
    if not DATATYPES.get(datatype, "").startswith("<f") or data.size != math.prod(shape):
        raise ListsWanted
    if data.ndim > 1 and data.shape != shape:
        raise ListsWanted
    with np.errstate(over="ignore"):  # too large for it is infinite in it
        return data.reshape(shape).astype(DATATYPES[datatype], copy=False)


def datatype_of(array: Array) -> str:
    """The datatype that an answer's array is sent as; BYTES for text and whatever else is no number."""
    return datatype_name(array.dtype.str)


def datatype_name(dtype: str) -> str:
    """As `datatype_of`, of a dtype as numpy writes it."""
    return _NAMES.get(dtype, "BYTES")


def sendable(array: Array, binary: bool) -> Array:
    """`array` as an output can carry it: contiguous and little-endian; JSON has no FP16, and numbers in an object array are FP64."""
    if array.dtype == object and array.size and all(isinstance(value, int | float) for value in array.flat):
        array = array.astype(np.float64)
    if array.dtype == np.float16 and not binary:
        array = array.astype(np.float32)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)


def tensor_bytes(array: Array) -> bytes:
    """Binary data of an output, row-major."""
    if datatype_of(array) != "BYTES":
        return array.tobytes()
    parts = []
    for text in text_values(array):
        encoded = text.encode("utf-8", "surrogatepass")
        parts += [_LENGTH.pack(len(encoded)), encoded]
    return b"".join(parts)


def text_values(array: Array) -> list[str]:
    """The values of a BYTES output, row-major; what is missing is empty."""
    values = plain(array.reshape(-1))
    return ["" if value is None else value if isinstance(value, str) else str(value) for value in values]


def _shape(shape: Any, name: str) -> tuple[int, ...]:
    if (
        not isinstance(shape, list)
        or not 0 < len(shape) <= _MOST_DIMENSIONS
        or not all(type(size) is int and 0 <= size < 2**40 for size in shape)
    ):
        raise InvalidRequest(f"the shape of input {name} must be a list of sizes, rows first, such as [1, 4]")
    return tuple(shape)


def _flat(data: Any, count: int, depth: int, name: str) -> list[Any]:
    """`data`, which may be nested as deep as the shape is long, row-major."""
    if not isinstance(data, list):
        raise InvalidRequest(f"input {name} has no data: a list is needed, flat or nested as its shape is")
    flat = data
    for _ in range(depth - 1):
        if not flat or not isinstance(flat[0], list):
            break
        if not all(isinstance(part, list) for part in flat):
            raise InvalidRequest(f"input {name}: data is nested unevenly")
        flat = [value for part in flat for value in part]
    if len(flat) != count:
        raise InvalidRequest(f"input {name} has {len(flat):,} values; its shape asks for {count:,}")
    return flat


def _numbers(flat: list[Any], datatype: str, name: str) -> Array:
    def where(index: int) -> str:
        return f"input {name}, value {index} (counted from 0)"

    dtype = np.dtype(DATATYPES[datatype])
    if dtype.kind == "u" and dtype.itemsize == 8 and all(type(value) is int and 0 <= value < 2**64 for value in flat):
        return np.array(flat, dtype)
    numbers = types.numbers(flat, where)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # too large for it is infinite in it
            return numbers.astype(dtype)
    lowest, highest = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    wrong = ~((numbers >= lowest) & (numbers <= highest) & (numbers == np.floor(numbers)))
    if dtype.itemsize == 8 and numbers.dtype.kind == "f":
        wrong |= numbers >= 2.0**63  # as floats, the largest integers round up to one too many
    if wrong.any():
        index = int(np.argmax(wrong))
        raise InvalidRequest(f"{where(index)}: {types.described(flat[index])} is no {datatype}")
    return numbers.astype(dtype)


def _parts(binary: memoryview, count: int, name: str) -> list[memoryview]:
    parts: list[memoryview] = []
    at = 0
    while at < len(binary) and len(parts) <= count:
        if at + 4 > len(binary):
            break
        (length,) = _LENGTH.unpack_from(binary, at)
        at += 4 + length
        if at > len(binary):
            break
        parts.append(binary[at - length : at])
    if at != len(binary) or len(parts) != count:
        raise InvalidRequest(
            f"the binary data of input {name} does not hold {count:,} texts, each behind its 4-byte length"
        )
    return parts


def _texts(values: list[Any], name: str, encoding: str | None) -> Array:
    texts: list[str | None] = []
    for index, value in enumerate(values):
        if value is None:
            texts.append(None)
            continue
        if not isinstance(value, str | bytes):
            raise InvalidRequest(
                f"input {name}, value {index} (counted from 0): expected a string, got {types.described(value)}"
            )
        try:
            raw = base64.b64decode(value, validate=True) if encoding == "base64" else value
            texts.append(raw.decode() if isinstance(raw, bytes) else raw)
        except (binascii.Error, ValueError):  # also UnicodeDecodeError
            what = "base64 of UTF-8 text" if encoding == "base64" else "UTF-8 text"
            raise InvalidRequest(f"input {name}, value {index} (counted from 0) is not {what}") from None
    return types.objects(texts)
