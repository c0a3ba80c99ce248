"""Compressed request bodies, unpacked within the limit: a small body must not become a large one in memory."""

import zlib
from typing import Final

from gateway.errors import BodyTooLarge, InvalidRequest, UnsupportedMediaType

_WINDOWS: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}


def decompressed(body: bytes, encoding: bytes, limit: int) -> bytes:
    """`body` without its content encodings (gzip, deflate), the last one first.

    Args:
        encoding: value of the Content-Encoding header.
        limit: bytes that may come out.

    Raises:
        UnsupportedMediaType: another encoding.
        BodyTooLarge: more would come out.
        InvalidRequest: it is not what the header says.
    """
    names = [name.strip().lower() for name in encoding.split(b",") if name.strip().lower() not in (b"", b"identity")]
    if len(names) > 2:
        raise InvalidRequest("the body is encoded more than twice")
    for name in reversed(names):
        if name not in _WINDOWS:
            raise UnsupportedMediaType(
                f"encoded as {name.decode('latin-1')}", "gzip or deflate encoded, or not encoded"
            )
        body = _inflated(body, name, limit)
    return body


def _inflated(body: bytes, name: bytes, limit: int) -> bytes:
    window = _WINDOWS[name]
    if name == b"deflate" and not _has_zlib_header(body):
        window = -15  # some clients send deflate without its wrapping
    engine = zlib.decompressobj(window)
    try:
        result = engine.decompress(body, limit + 1)
    except zlib.error:
        raise InvalidRequest(f"the body is not {name.decode()}, as its Content-Encoding says") from None
    if len(result) > limit:
        raise BodyTooLarge(limit)
    if not engine.eof:
        raise InvalidRequest(f"the {name.decode()} body ends too early")
    return result


def _has_zlib_header(body: bytes) -> bool:
    return len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
