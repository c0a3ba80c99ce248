"""Who stands at the door of every path that is not scoring: keys, and under whose name a browser may come.

Where keys are in force, a key is all that counts. Where none is asked for, the danger is a page from anywhere in a browser on this
machine: it can make its own name mean 127.0.0.1 (DNS rebinding) and read what the gateway says of itself, or send what changes
something. So what the gateway says of itself is told only under names that nobody outside can give to an address.
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
_OF_ITSELF: Final = ("/models", "/metrics", "/v2/repository", _SERVICE)
_UNLOAD: Final = re.compile(r"/v2/repository/models/[^/]+/unload")
_READING: Final = frozenset({"GET", "HEAD"})
_PORT: Final = re.compile(r":\d{1,5}$")
_LOCAL: Final = re.compile(r"[a-z0-9_-]*|([a-z0-9_-]+\.)+localhost")


class AccessControl:
    """`allowed_hosts`: further names that are believed, separated by commas; ``*`` believes all."""

    def __init__(self, guard: Guard, cors: Cors, table: RoutingTable, allowed_hosts: str) -> None:
        self._guard, self._cors, self._table = guard, cors, table
        self._allowed = {name.strip().lower() for name in allowed_hosts.split(",") if name.strip()}

    def check(self, verb: str, path: str, headers: Mapping[bytes, bytes], peer: str | None = None) -> None:
        """Raises Unauthorized or Forbidden. `path` is the one that decides the route; the Host header never does. `peer` is the
        address at the other end of the connection, None where it has none."""
        if path in PUBLIC_PATHS:
            return
        if self._guard.on:
            self._check_key(path, headers)
        elif path.startswith(_OF_ITSELF) and not path.endswith("/swagger.json"):
            reading = verb in _READING
            if reading or path.startswith("/v2/repository"):
                self._check_host(headers)
            if not reading:
                self._check_origin(headers)
                if _UNLOAD.fullmatch(path) and not _is_this_machine(peer):
                    raise Forbidden("without a key, models are unloaded from the gateway's own machine only")

    def _check_key(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        try:
            self._guard.check(headers)
        except Unauthorized:
            services = self._table.services
            name = path.removeprefix(_SERVICE).partition("/")[0] if path.startswith(_SERVICE) else ""
            own = services.get(name)
            if own is not None and carries(headers, own.keys or ()):
                return
            if any(carries(headers, service.keys or ()) for service in services.values()):
                raise Forbidden("this key opens the scoring path of its service, and nothing else") from None
            raise

    def _check_host(self, headers: Mapping[bytes, bytes]) -> None:
        name = _PORT.sub("", headers.get(b"host", b"").decode("latin-1").strip().lower()).removesuffix(".")
        if not (_cannot_be_rebound(name) or "*" in self._allowed or name in self._allowed):
            raise Forbidden(
                "this Host is not one under which the gateway tells of itself without a key; --allowed-hosts adds names"
            )

    def _check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        origin = headers.get(b"origin")
        if origin is None or self._cors.allows(origin):
            return
        if origin.rpartition(b"//")[2].lower() != headers.get(b"host", b"").lower():
            raise Forbidden("pages of other origins may not change anything here; --cors-origins adds origins")


def _is_this_machine(peer: str | None) -> bool:
    if peer is None:  # a Unix socket
        return True
    address = ipaddress.ip_address(peer.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _cannot_be_rebound(name: str) -> bool:
    """An address, `localhost`, or a name without a dot: no name that somebody outside could have registered."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return bool(_LOCAL.fullmatch(name))
    return True
