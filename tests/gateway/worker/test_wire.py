"""Frames: whatever goes in comes out, however the bytes are cut."""

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.worker import wire


def frame(header: dict[str, Any], body: wire.Body | None = None) -> bytes:
    return b"".join(wire.encode_frame(header, body.arrays if body else ()))


def round_trip(array: np.ndarray[Any, Any]) -> Any:
    body = wire.Body()
    data = frame({"x": body.add(array)}, body)
    ((header, received),) = wire.FrameReader().feed(data)
    return wire.arrays_from(header["x"], received)


ARRAYS = [
    np.arange(12.0).reshape(3, 4),
    np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    np.arange(24).reshape(2, 3, 4)[:, ::2],
    np.array([True, False]),
    np.array(3.5),
    np.zeros((0, 4)),
    np.zeros((3, 0)),
    np.array([1, 2, 3], ">i2"),
    np.array([1 + 2j]),
    np.array([0.1], np.float16),
    np.array(["2026-01-01", "NaT"], "datetime64[ns]"),
    np.array([5], "timedelta64[s]"),
    np.full(70_000, np.nan),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_arrive_bit_for_bit(array: np.ndarray[Any, Any]) -> None:
    got = round_trip(array)
    assert got.dtype == array.dtype
    assert got.shape == array.shape
    assert got.tobytes() == array.tobytes()


def test_texts_and_objects_arrive_as_objects() -> None:
    assert round_trip(np.array([["a", "ü\ud800"], ["", "b"]])).tolist() == [["a", "ü\ud800"], ["", "b"]]
    mixed = round_trip(np.array([None, 1, "x", 2.5, True], object))
    assert mixed.dtype == object
    assert mixed.tolist() == [None, 1, "x", 2.5, True]
    assert np.isnan(round_trip(np.array([float("nan"), "x"], object))[0])


def test_what_json_cannot_carry_is_refused() -> None:
    with pytest.raises(TypeError, match="a set"):
        wire.Body().add(np.array([{1}], object))


def test_lists_tuples_and_tables_nest() -> None:
    body = wire.Body()
    a, b = np.arange(3), np.arange(4.0).reshape(2, 2)
    header = {"x": {"tuple": [body.add(a), {"list": [body.add(b), {"columns": ["p", "q"], "array": body.add(b)}]}]}}
    ((header, data),) = wire.FrameReader().feed(frame(header, body))
    first, (second, table) = wire.arrays_from(header["x"], data)
    assert (first == a).all()
    assert (second == b).all()
    assert table.names == ["p", "q"]
    assert (table.array == b).all()


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=5),
    big=st.integers(0, 4),
    cuts=st.lists(st.integers(5, 100_000), min_size=2, max_size=20),
)
def test_frames_are_the_same_however_the_stream_is_cut(sizes: list[int], big: int, cuts: list[int]) -> None:
    arrays = [np.arange(size * (40 if index == big else 1), dtype=float) for index, size in enumerate(sizes)]
    stream = b""
    for index, array in enumerate(arrays):
        body = wire.Body()
        stream += frame(
            {"id": index, "pad": "x" * (sizes[index] * (250 if index == big else 1)), "x": body.add(array)}, body
        )
    reader, got, at = wire.FrameReader(), [], 0
    turn = 0
    while at < len(stream):
        step = cuts[turn % len(cuts)]
        got += reader.feed(stream[at : at + step])
        at, turn = at + step, turn + 1
    assert reader.idle
    assert [header["id"] for header, _ in got] == list(range(len(arrays)))
    for array, (header, data) in zip(arrays, got, strict=True):
        assert (wire.arrays_from(header["x"], data) == array).all()


def test_bodies_belong_to_their_frames() -> None:
    reader = wire.FrameReader()
    kept = []
    for value in range(5):
        body = wire.Body()
        data = frame({"x": body.add(np.full(100, float(value)))}, body)
        ((header, received),) = reader.feed(data)
        kept.append(wire.arrays_from(header["x"], received))
    assert [array[0] for array in kept] == [0, 1, 2, 3, 4]
    assert all(array.flags.writeable for array in kept)


def test_arrays_are_aligned_views() -> None:
    body = wire.Body()
    specs = [body.add(np.arange(n, dtype=d)) for n, d in ((3, "i1"), (5, "f8"), (7, "c16"), (100_000, "f8"))]
    ((header, received),) = wire.FrameReader().feed(frame({"x": specs}, body))
    for spec in header["x"]:
        array = wire.arrays_from(spec, received)
        assert array.flags.aligned
        assert np.shares_memory(array, np.frombuffer(received, np.uint8))


def test_sending_does_not_copy() -> None:
    array = np.arange(10_000.0)
    body = wire.Body()
    parts = wire.encode_frame({"x": body.add(array)}, body.arrays)
    assert any(isinstance(p, memoryview) and np.shares_memory(np.frombuffer(p, np.uint8), array) for p in parts)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        wire.PREFIX.pack(16, 0, 0) + b"[1]             ",
        wire.PREFIX.pack(16, 0, 0) + b"\xff" * 16,
        wire.PREFIX.pack(16, 0, 2**50) + b" " * 16,
        wire.PREFIX.pack(10**5, 0, 0) + b"[" * 10**5,
    ],
)
def test_what_is_no_frame_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(wire.BrokenFrame):
        wire.FrameReader().feed(data)


def test_a_frame_is_no_larger_than_its_reader_takes_and_its_prefix_alone_takes_no_memory() -> None:
    reader = wire.FrameReader(1000)
    ((_, body),) = reader.feed(wire.PREFIX.pack(16, 0, 992) + b'{"id":7}'.ljust(16) + bytes(992))
    assert len(body) == 992
    for header_len, body_len in ((16, 1008), (16, 2**46), (wire.LEAST_HEADER + 16, 0), (2**31, 0)):
        with pytest.raises(wire.FrameTooLarge, match="larger than 1000 bytes"):
            wire.FrameReader(1000).feed(wire.PREFIX.pack(header_len, 0, body_len) + b" " * 16)
    before = resident_bytes()
    reader = wire.FrameReader(10**9)
    reader.feed(wire.PREFIX.pack(16, 0, 10**9) + b'{"id":7}'.ljust(16) + bytes(1000))
    assert resident_bytes() - before < 50_000_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize(
    "spec",
    [
        {"dtype": "<f8", "shape": [10**6, 10**6], "offset": 0, "nbytes": 0},
        {"dtype": "<f8", "shape": [10**12, 0], "offset": 0, "nbytes": 0},
        {"dtype": "<f8", "shape": [-1, 0], "offset": 0, "nbytes": 0},
        {"values": [], "shape": [10**6, 10**6, 0]},
        {"text": {"dtype": "|u1", "shape": [10**9], "offset": 0, "nbytes": 10**9}, "shape": [1]},
    ],
)
def test_few_words_do_not_describe_a_large_array(spec: dict[str, Any]) -> None:
    with pytest.raises(wire.BrokenFrame):
        wire.arrays_from(spec, b"")


def test_a_body_without_memory_names_its_request() -> None:
    reader = wire.FrameReader()
    header = b'{"id":7}'.ljust(16)
    with pytest.raises(wire.NoMemoryForFrame) as raised:
        reader.feed(wire.PREFIX.pack(len(header), 0, wire.MAX_BODY) + header)
    assert raised.value.header == {"id": 7}


def test_importing_the_wire_is_light() -> None:
    code = "import sys, gateway.worker.wire; print([m for m in ('sklearn', 'pandas', 'scipy', 'joblib') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
