"""The listening socket: bound once, by the supervisor, and shared by all HTTP processes."""

import errno
import socket

from registry.errors import OperatorError

BACKLOG = 2048


class AddressInUse(OperatorError):
    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} on {host} is in use by another program; stop that program, or choose another port with --port"
        )


class CannotListen(OperatorError):
    def __init__(self, host: str, port: int, problem: str) -> None:
        super().__init__(f"cannot listen on {host} port {port}: {problem}")


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket on the first address that `host` stands for; port 0 takes a free one.

    Raises:
        AddressInUse: another program listens there.
        CannotListen: the name is unknown, the address is not of this machine, or the port is not allowed.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise CannotListen(host, port, error.strerror or str(error)) from None
    except UnicodeError:
        raise CannotListen(host, port, "this is not the name of a host") from None
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by accepted connections: small answers are not held back for an acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(host, port) from None
        raise CannotListen(host, port, error.strerror or str(error)) from None
    return sock


def url_of(sock: socket.socket) -> str:
    """The URL of the socket for clients on this machine: a wildcard address is shown as loopback."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
