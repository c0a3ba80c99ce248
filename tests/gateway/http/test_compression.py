import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BodyTooLarge, InvalidRequest, UnsupportedMediaType
from gateway.http.compression import decompressed
from registry.errors import CallerError

LIMIT = 10_000


def raw_deflate(body: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(body) + engine.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        (b"gzip", gzip.compress),
        (b"x-gzip", gzip.compress),
        (b"GZIP", gzip.compress),
        (b"deflate", zlib.compress),
        (b"deflate", raw_deflate),
        (b"identity", bytes),
        (b"", bytes),
    ],
)
def test_bodies_are_unpacked(encoding: bytes, pack: object) -> None:
    body = b'{"data": [[1, 2]]}' * 100
    assert decompressed(pack(body), encoding, LIMIT) == body  # type: ignore[operator]


def test_a_bomb_stops_at_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < 100_000
    with pytest.raises(BodyTooLarge):
        decompressed(bomb, b"gzip", LIMIT)
    assert decompressed(gzip.compress(b"\0" * LIMIT), b"gzip", LIMIT) == b"\0" * LIMIT


def test_what_is_not_packed_as_it_says_is_refused() -> None:
    for encoding, body in (
        (b"gzip", b"plain"),
        (b"deflate", b"plain"),
        (b"gzip", gzip.compress(b"x" * 5000)[:-9]),
        (b"gzip", gzip.compress(b"x") + b"more"),
    ):
        with pytest.raises(InvalidRequest, match="not compressed as its Content-Encoding says"):
            decompressed(body, encoding, LIMIT)
    for encoding in (b"br", b"gzip, gzip"):
        with pytest.raises(UnsupportedMediaType):
            decompressed(b"x", encoding, LIMIT)


@given(st.binary(max_size=200), st.sampled_from([b"gzip", b"deflate", b"br", b"\xff"]))
def test_any_bytes_are_unpacked_or_refused(body: bytes, encoding: bytes) -> None:
    try:
        assert len(decompressed(body, encoding, LIMIT)) <= LIMIT
    except CallerError:
        return
