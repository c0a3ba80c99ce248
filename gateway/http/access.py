"""Access control: keys on every path, and checks against foreign web pages where no key is asked for.

Where keys are in force, a key is all that counts. Where none is asked for, the danger is a page from anywhere in a browser on this
machine: it can make its own name mean 127.0.0.1 (DNS rebinding) and read the gateway's metadata, or send a request that changes
something. So metadata is served only under host names that nobody outside can register, and foreign pages may change nothing.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final

from gateway.auth.guard import PUBLIC_PATHS, Guard, carries
from gateway.errors import Forbidden, Unauthorized
from gateway.http.cors import Cors
from gateway.ipc.routing_table import RoutingTable

_SERVICE: Final = "/api/v1/service/"
_METADATA: Final = ("/models", "/metrics", "/v2/repository", _SERVICE)
_UNLOAD: Final = re.compile(r"/v2/repository/models/[^/]+/unload")
_READING: Final = frozenset({"GET", "HEAD"})
_PORT: Final = re.compile(r":\d{1,5}$")
_LOCAL: Final = re.compile(r"[a-z0-9_-]*|([a-z0-9_-]+\.)+localhost")


class AccessControl:
    """`allowed_hosts`: further host names under which metadata is served, separated by commas; ``*`` allows all."""

    def __init__(self, guard: Guard, cors: Cors, table: RoutingTable, allowed_hosts: str) -> None:
        self._guard, self._cors, self._table = guard, cors, table
        self._allowed = {name.strip().lower() for name in allowed_hosts.split(",") if name.strip()}

    def check(self, verb: str, path: str, headers: Mapping[bytes, bytes], peer: str | None = None) -> None:
        """For all paths but scoring. `path` is the one that selects the route. `peer`: address of the caller; None: a Unix socket.

        Raises:
            Unauthorized · Forbidden
        """
        if path in PUBLIC_PATHS:
            return
        if self._guard.on:
            self._check_key(path, headers)
        elif path.startswith(_METADATA) and not path.endswith("/swagger.json"):
            reading = verb in _READING
            if reading or path.startswith("/v2/repository"):
                self._check_host(headers)
            if not reading:
                self._check_origin(headers)
                if _UNLOAD.fullmatch(path) and not _is_this_machine(peer):
                    raise Forbidden("without a key, models are unloaded from the gateway's own machine only")

    def check_scoring(self, guard: Guard, headers: Mapping[bytes, bytes]) -> None:
        """`guard` is that of the scoring path. Raises Unauthorized, or Forbidden for the key of another service."""
        try:
            guard.check(headers)
        except Unauthorized:
            digests = [digest for service in self._table.services.values() for digest in service.keys or ()]
            if carries(headers, digests):
                raise Forbidden("this key opens the scoring path of its service, and nothing else") from None
            raise

    def _check_key(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        name = path.removeprefix(_SERVICE).partition("/")[0] if path.startswith(_SERVICE) else ""
        service = self._table.services.get(name)
        if service is None or not carries(headers, service.keys or ()):
            self.check_scoring(self._guard, headers)

    def _check_host(self, headers: Mapping[bytes, bytes]) -> None:
        name = _PORT.sub("", headers.get(b"host", b"").decode("latin-1").strip().lower()).removesuffix(".")
        if not (_cannot_be_rebound(name) or "*" in self._allowed or name in self._allowed):
            raise Forbidden(
                "without a key, models and metrics are not shown under this Host name; --allowed-hosts adds names"
            )

    def _check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        origin = headers.get(b"origin")
        if origin is not None and self._cors.allows(origin):
            return
        foreign = headers.get(b"sec-fetch-site") == b"cross-site"
        if origin is not None:
            foreign |= origin.rpartition(b"//")[2].lower() != headers.get(b"host", b"").lower()
        if foreign:
            raise Forbidden("pages of other origins may not change anything here; --cors-origins adds origins")


def _is_this_machine(peer: str | None) -> bool:
    if peer is None:  # a Unix socket
        return True
    address = ipaddress.ip_address(peer.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _cannot_be_rebound(name: str) -> bool:
    """True for an address, `localhost` and names without a dot: nobody outside can register these."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return bool(_LOCAL.fullmatch(name))
    return True
