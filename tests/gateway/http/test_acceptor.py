"""Callers that come together are let in together, whatever else the loop has to do."""

import asyncio
import errno
import logging
import socket
from contextlib import ExitStack
from typing import Any, cast

import pytest
import uvloop

from gateway.http.acceptor import Acceptor


class Greeting(asyncio.Protocol):
    """Says one byte to whoever comes in, and goodbye."""

    def __init__(self, came: list["Greeting"]) -> None:
        came.append(self)
        self.gone = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's is none by class
        stream.write(b"!")
        stream.close()


class Tired(socket.socket):
    """A listening socket that has no descriptor left, once."""

    refusals = 1

    def accept(self) -> tuple[socket.socket, Any]:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def listening(kind: type[socket.socket] = socket.socket) -> socket.socket:
    sock = kind()
    sock.bind(("127.0.0.1", 0))
    sock.listen(2048)
    return sock


def callers(sock: socket.socket, stack: ExitStack, count: int = 1) -> list[socket.socket]:
    made = [stack.enter_context(socket.create_connection(sock.getsockname(), 10)) for _ in range(count)]
    for each in made:
        each.settimeout(0.2)
    return made


async def let_in(came: list[Greeting], count: int) -> int:
    """The turns of the loop until so many are in."""
    turns = 0
    while len(came) < count and turns < 100_000:
        turns += 1
        await asyncio.sleep(0)
    for each in came:
        await asyncio.wait_for(each.gone.wait(), 10)
    await asyncio.sleep(0)
    return turns


@pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_all_who_have_come_are_let_in_within_a_few_turns(factory: Any) -> None:
    came: list[Greeting] = []

    async def test(sock: socket.socket) -> int:
        acceptor = Acceptor(sock, lambda: Greeting(came))
        acceptor.open()
        turns = await let_in(came, 100)
        await acceptor.close()
        return turns

    with ExitStack() as stack, asyncio.Runner(loop_factory=factory) as runner:
        sock = stack.enter_context(listening())
        clients = callers(sock, stack, 100)
        assert runner.run(test(sock)) < 20  # one a turn would be a hundred
        assert [client.recv(1) for client in clients] == [b"!"] * 100


def test_beside_siblings_a_turn_takes_one_and_more_while_more_have_come() -> None:
    came: list[Greeting] = []
    taken: list[int] = []

    async def test(sock: socket.socket) -> None:
        sock.setblocking(False)
        acceptor = Acceptor(sock, lambda: Greeting(came), siblings=True)
        for expected in (1, 3, 7, 10):
            acceptor._accept()
            await let_in(came, expected)
            taken.append(len(came))

    with ExitStack() as stack:
        sock = stack.enter_context(listening())
        callers(sock, stack, 10)
        asyncio.run(test(sock))
    assert taken == [1, 3, 7, 10]


def test_who_came_before_the_close_is_let_in_and_nobody_after_it() -> None:
    came: list[Greeting] = []

    async def test(stack: ExitStack) -> None:
        sock = stack.enter_context(listening())
        address = sock.getsockname()
        acceptor = Acceptor(sock, lambda: Greeting(came), siblings=True)
        acceptor.open()
        callers(sock, stack, 5)
        await acceptor.close()
        assert len(came) == 5
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, 10)
        await let_in(came, 5)

    with ExitStack() as stack:
        asyncio.run(test(stack))


def test_without_descriptors_it_rests_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    came: list[Greeting] = []

    async def test(stack: ExitStack) -> None:
        sock = stack.enter_context(listening(Tired))
        acceptor = Acceptor(sock, lambda: Greeting(came))
        acceptor.open()
        callers(sock, stack)
        await let_in(came, 1)
        await acceptor.close()

    with caplog.at_level(logging.ERROR), ExitStack() as stack:
        asyncio.run(test(stack))
    assert len(came) == 1
    assert [record.message.partition(": ")[2] for record in caplog.records] == ["[Errno 24] Too many open files"]
