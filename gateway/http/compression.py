"""Compressed request bodies: made plain under the same limit as any other body."""

import zlib
from typing import Final

from gateway.errors import BodyTooLarge, InvalidRequest, UnsupportedMediaType

_WINDOW: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}


def decompressed(body: bytes | memoryview, encoding: bytes, limit: int) -> bytes | memoryview:
    """The plain body.

    Raises:
        BodyTooLarge: it is larger than `limit` bytes.
        InvalidRequest: it is not what `encoding` says.
        UnsupportedMediaType: of an `encoding` that is not known here.
    """
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return body
    if name not in _WINDOW:
        raise UnsupportedMediaType(
            f"an encoding {name.decode('latin-1')}", "application/json, plain or with gzip or deflate"
        )
    try:
        return _inflated(body, _WINDOW[name], limit)
    except zlib.error:
        if name != b"deflate":
            raise InvalidRequest("the body is not compressed as its Content-Encoding says") from None
    try:
        return _inflated(body, -15, limit)  # many clients send deflate without its envelope
    except zlib.error:
        raise InvalidRequest("the body is not compressed as its Content-Encoding says") from None


def _inflated(body: bytes | memoryview, window: int, limit: int) -> bytes:
    machine = zlib.decompressobj(window)
    plain = machine.decompress(body, limit + 1)
    if len(plain) > limit:
        raise BodyTooLarge(limit)
    if not machine.eof or machine.unused_data:
        raise zlib.error("cut off, or followed by something else")
    return plain
