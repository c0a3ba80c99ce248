"""Cross-origin headers for the scoring routes, off unless origins are configured; as Azure's server does it."""

from collections.abc import Mapping
from typing import Final

from gateway.http.request_id import Headers

_ALLOW: Final = b"access-control-allow-origin"


class Cors:
    """`origins`: allowed ones separated by commas, ``*`` for all, empty for none.

    One configured origin is named in every answer; of several, the one that the request names.
    """

    def __init__(self, origins: str = "") -> None:
        self.origins = [origin.strip().encode("latin-1", "ignore") for origin in origins.split(",") if origin.strip()]

    @property
    def on(self) -> bool:
        return bool(self.origins)

    def allows(self, origin: bytes) -> bool:
        return b"*" in self.origins or origin in self.origins

    def headers(self, request: Mapping[bytes, bytes]) -> Headers:
        """For any answer to `request`."""
        if b"*" in self.origins:
            return [(_ALLOW, b"*")]
        if len(self.origins) == 1:
            return [(_ALLOW, self.origins[0])]
        origin = request.get(b"origin", b"")
        return [(_ALLOW, origin), (b"vary", b"Origin")] if origin in self.origins else []

    def preflight(self, request: Mapping[bytes, bytes]) -> Headers:
        """What an answer to OPTIONS has on top of `headers`."""
        origin = request.get(b"origin", b"")
        if not origin or not self.allows(origin):
            return []
        return [
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-allow-headers", request.get(b"access-control-request-headers", b"*")),
        ]
