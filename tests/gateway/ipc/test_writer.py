"""Large writes go in pieces and in order, also to a reader that is slow, and the loop turns in between."""

import asyncio
import socket
from typing import cast

import pytest

from gateway.ipc.writer import PIECE, BackpressuredWriter, pieces


class Writer(asyncio.Protocol):
    outlet: BackpressuredWriter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.outlet = BackpressuredWriter(cast(asyncio.Transport, transport), asyncio.get_running_loop())

    def pause_writing(self) -> None:
        self.outlet.pause()

    def resume_writing(self) -> None:
        self.outlet.resume()


@pytest.mark.parametrize("factory", ["asyncio", "uvloop"])
def test_everything_arrives_in_its_order_while_the_loop_turns(factory: str) -> None:
    large = bytes(range(256)) * (5 * PIECE // 256 + 1)
    expected = b"a" + large + b"b" + b"c" * 10 + large + b"d"

    async def run() -> tuple[bytes, int]:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
        transport, writer = await loop.create_unix_connection(Writer, sock=ours)
        for parts in ([b"a", memoryview(large), b"b"], [b"c" * 10], [large], [b"d"]):
            writer.outlet.write(parts)
        turns, got = 0, bytearray()
        with theirs:
            while len(got) < len(expected):
                got += await loop.sock_recv(theirs, 50_000)
                turns += 1
            transport.close()
        return bytes(got), turns

    runner = asyncio.Runner(loop_factory=None if factory == "asyncio" else pytest.importorskip(factory).new_event_loop)
    with runner:
        got, turns = runner.run(asyncio.wait_for(run(), 30))
    assert got == expected
    assert turns > 10


def test_pieces_are_the_whole_and_no_copy() -> None:
    body = bytes(3 * PIECE + 5)
    cut = pieces(body)
    assert [len(part) for part in cut] == [PIECE, PIECE, PIECE, 5]
    assert all(isinstance(part, memoryview) and part.obj is body for part in cut)
    assert pieces(b"") == [b""]


def test_a_closed_connection_drops_what_waits() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            transport, writer = await loop.create_unix_connection(Writer, sock=ours)
            writer.outlet.write([bytes(100 * PIECE)])
            transport.abort()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            writer.outlet.resume()
            assert not writer.outlet._queue

    asyncio.run(run())
