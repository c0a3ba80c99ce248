"""Request ids: echoed where the caller sent one, made cheaply where not; Azure's three headers."""

import os
import re
from collections.abc import Mapping
from typing import Final

from gateway.errors import HeaderTooLong, InvalidRequest

LONGEST: Final = 100
Headers = list[tuple[bytes, bytes]]

_SAFE: Final = re.compile(rb"[\x20-\x7e]*")
_ID, _MS, _CLIENT, _TRACE = b"x-request-id", b"x-ms-request-id", b"x-ms-client-request-id", b"traceid"
ID_HEADERS: Final = (_ID, _MS, _CLIENT, _TRACE)


class RequestIds:
    """Makes ids that look like version 4 UUIDs: 62 random bits drawn once, then a counter from a random start.

    They are unique, and say nothing but how many requests lie between two of them.
    """

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        text = os.urandom(8).hex()
        self._prefix = (
            f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[os.urandom(1)[0] % 4]}{os.urandom(2).hex()[:3]}-".encode()
        )
        self._count = int.from_bytes(os.urandom(5), "big")
        self._end = self._count + 2**32

    def new(self) -> bytes:
        self._count += 1
        if self._count == self._end:
            self._renew()
        return b"%b%012x" % (self._prefix, self._count)

    def headers(self, given: Mapping[bytes, bytes]) -> Headers:
        """The id headers of the answer to a request with the headers `given`.

        Raises:
            HeaderTooLong · InvalidRequest: an id of the caller's is too long, or holds control characters.
        """
        echoed = self.given(given)
        if echoed is None:
            number = self.new()
            return [(_ID, number), (_MS, number)]
        return echoed

    def given(self, given: Mapping[bytes, bytes]) -> Headers | None:
        """The same, or None when the caller sent no id: then any new one will do."""
        if not (_ID in given or _MS in given or _CLIENT in given or _TRACE in given):
            return None
        check(given)
        own = given.get(_ID) or self.new()
        client = given.get(_CLIENT) or given.get(_MS)
        answer = [(_ID, own), (_MS, given.get(_MS) or client or own)]
        if client:
            answer.append((_CLIENT, client))
        if _TRACE in given:
            answer.append((_TRACE, given[_TRACE]))
        return answer


def check(given: Mapping[bytes, bytes]) -> None:
    """Raises HeaderTooLong or InvalidRequest."""
    if len(given.get(_ID, b"")) > LONGEST:
        raise HeaderTooLong(["x-request-id"], LONGEST)
    if len(given.get(_MS, b"")) > LONGEST or len(given.get(_CLIENT, b"")) > LONGEST:
        raise HeaderTooLong(["x-ms-request-id", "x-ms-client-request-id"], LONGEST)
    if len(given.get(_TRACE, b"")) > LONGEST:
        raise HeaderTooLong(["traceid"], LONGEST)
    for name in ID_HEADERS:
        if not _SAFE.fullmatch(given.get(name, b"")):
            raise InvalidRequest(f"the header {name.decode()} may hold printable ASCII only")
