"""Lists of numbers read as arrays are the same numbers as orjson reads, or are left to it."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.matrices import FEW, MatrixReader

pytest.importorskip("simdjson", reason="no wheel of pysimdjson for this Python: orjson reads everything")
READER = MatrixReader()

number = st.floats(allow_nan=False, allow_infinity=False, width=64) | st.integers(-(2**54), 2**54)
leaf = number | st.none() | st.booleans() | st.text(max_size=4)
row = st.lists(number, min_size=2, max_size=2) | st.lists(leaf, max_size=3)
value = leaf | st.lists(row, max_size=4) | st.lists(st.lists(number, min_size=3, max_size=3), min_size=1, max_size=5)
document = st.dictionaries(st.text(max_size=4), value | st.lists(number, min_size=FEW, max_size=FEW + 3), max_size=4)


def plain(found: Any) -> Any:
    if isinstance(found, np.ndarray):
        return found.tolist()
    if isinstance(found, dict):
        return {key: plain(part) for key, part in found.items()}
    return [plain(part) for part in found] if isinstance(found, list) else found


def bits(given: Any) -> Any:
    """Numbers as float64 has them, to the sign of zero."""
    if isinstance(given, list):
        return [bits(part) for part in given]
    if isinstance(given, dict):
        return {key: bits(part) for key, part in given.items()}
    return float(given).hex() if isinstance(given, int | float) and not isinstance(given, bool) else given


@given(document)
def test_it_reads_what_orjson_reads_or_nothing(given: dict[str, Any]) -> None:
    body = json.dumps(given).encode()
    found = READER.read(body)
    if found is not None:
        expected = orjson.loads(body)
        assert list(found) == list(expected)
        # An integer zero has no sign, and as a float it has none either.
        assert bits(plain(found)) == bits(expected)


@given(st.lists(st.floats(-1e15, 1e15, width=64), min_size=4, max_size=40))
def test_usual_numbers_are_read_to_the_last_bit(values: list[float]) -> None:
    found = READER.read(memoryview(orjson.dumps({"data": [values, values]})))
    assert found is not None
    assert found["data"].tobytes() == np.array([values, values]).tobytes()


@pytest.mark.parametrize(
    "rows",
    [
        b"[[1,2],[3]]",
        b"[[1,[2]],[3,4]]",
        b"[[1,2],[3,null]]",
        b"[[1,true],[3,4]]",
        b'[[1,"2"],[3,4]]',
        b"[[1,2],3]",
        b"[[],[]]",
        b"[[1,9007199254740993],[3,4]]",
        b"[[1,123456789012345678901234567890],[3,4]]",
        b"[[1,NaN],[3,4]]",
        b"[[1,1e400],[3,4]]",
        b"[[1,2],[3,4]",
        b"[[1,2],[3,{}]]",
        b"[[[1],[2]],[[3],[4]]]",
    ],
)
def test_whatever_is_unusual_is_left_to_orjson(rows: bytes) -> None:
    assert READER.read(b'{"data":' + rows + b"}") is None
    assert READER.read(b'{"data":[[1,2],[3,4]]}') is not None, "the reader is not hurt by it"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[[1,2]]",
        b'{"data":[[1,2]],"data":[[3,4]]}',
        b'{"da\\u0000ta":[[1,2]]}',
        b'{"a":"[","data":[[1,2]]}',
        b"{}",
    ],
)
def test_whole_bodies_that_are_left_to_orjson(body: bytes) -> None:
    assert READER.read(body) is None
