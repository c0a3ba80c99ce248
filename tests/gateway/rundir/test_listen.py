"""The listening socket: any free port, and one line for a port in use."""

import socket

import pytest

from gateway.rundir.listen import AddressInUse, CannotListen, bind, url_of


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:")])
def test_port_0_takes_a_free_port_that_the_url_names(host: str, shown: str) -> None:
    with bind(host, 0) as sock:
        assert url_of(sock).startswith(shown)
        with socket.create_connection(("127.0.0.1", sock.getsockname()[1])):
            pass


def test_ipv6_has_brackets() -> None:
    try:
        sock = bind("::1", 0)
    except CannotListen as error:
        pytest.skip(f"no IPv6 here: {error}")
    with sock:
        assert url_of(sock).startswith("http://[::1]:")


def test_a_port_in_use_is_one_line_that_says_what_to_do() -> None:
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(
            AddressInUse, match=f"port {port} on 127.0.0.1 is in use .* choose another port with --port"
        ):
            bind("127.0.0.1", port)


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "a" * 70, "my..host"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    with pytest.raises(CannotListen, match=f"cannot listen on {host} port 0: "):
        bind(host, 0)
