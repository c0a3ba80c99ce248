"""Bearer keys, checked before anything else is looked at. Only their SHA-256 is known here."""

import hashlib
import hmac
from collections.abc import Collection, Mapping
from typing import Final

from gateway.errors import Unauthorized

#: Paths that answer without a key, whatever the method: load balancers and orchestrators ask them.
#: Probes, of all dialects: they tell no more than that something answers.
PUBLIC_PATHS: Final = frozenset({"/", "/healthz", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready"})


class Guard:
    """Default deny: with keys in force every path but `PUBLIC_PATHS` asks for one.

    `digests` are lower-case hexadecimal; None means that no key is asked for. An empty collection lets nobody in.
    """

    def __init__(self) -> None:
        self._digests: tuple[str, ...] | None = None

    def update(self, digests: Collection[str] | None) -> None:
        self._digests = None if digests is None else tuple(digests)

    @property
    def on(self) -> bool:
        return self._digests is not None

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises Unauthorized unless `headers` (lower-case names) carry a key in force."""
        if self._digests is None:
            return
        if not _key(headers):
            raise Unauthorized
        if not carries(headers, self._digests):
            raise Unauthorized("this key is not in force here")


def carries(headers: Mapping[bytes, bytes], digests: Collection[str]) -> bool:
    """Whether the key in `headers` (lower-case names) is one of `digests`, lower-case hexadecimal."""
    key = _key(headers)
    given = hashlib.sha256(key).hexdigest()
    right = False
    for digest in digests:  # all of them: the time says nothing about which one matched
        right |= hmac.compare_digest(given, digest)
    return right and bool(key)


def _key(headers: Mapping[bytes, bytes]) -> bytes:
    """Empty when there is none."""
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""
