"""The control channel: whole messages in order, requests answered once, and children released only when nobody uses them."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.ipc.control import (
    ControlClient,
    ControlClosed,
    ControlError,
    ControlPeer,
    Lines,
    Message,
    all_released,
    encode,
)
from tests.waiting import until


class Ends:
    """A connected pair that notes what arrives."""

    def __init__(self) -> None:
        self.tables: list[Message] = []
        self.drains = 0
        self.supervisor_gone = False
        self.notes: list[Message] = []
        self.busy: set[int] = set()
        self.client = ControlClient(self.tables.append, self._drained, self._gone, lambda: self.busy)
        self.peer = ControlPeer(lambda _, message: self.notes.append(message), lambda _: None)

    def _drained(self) -> None:
        self.drains += 1

    def _gone(self) -> None:
        self.supervisor_gone = True

    def publish(self, revision: int) -> None:
        self.peer.send_line(encode({"op": "table", "revision": revision, "set": {}, "remove": []}))


@asynccontextmanager
async def connected() -> AsyncIterator[Ends]:
    ends = Ends()
    ours, theirs = socket.socketpair()
    await ends.peer.connect(ours)
    await ends.client.connect(theirs.detach())
    try:
        yield ends
    finally:
        ends.client.close()
        ends.peer.close()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_messages_survive_any_cutting(size: int) -> None:
    messages = [{"op": "used", "versions": [["iris", 1, n]]} for n in range(20)]
    data = b"".join(encode(message) for message in messages)
    lines = Lines()
    got = [m for start in range(0, len(data), size) for m in lines.feed(data[start : start + size])]
    assert got == messages


@pytest.mark.parametrize("line", [b"[]\n", b"nonsense\n", b'{"no": "op"}\n', b'{"op": 3}\n'])
def test_a_line_that_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"control line|unexpected|JSON|invalid"):
        Lines().feed(line)


def test_what_json_lines_cannot_hold_costs_nobody_else_a_message() -> None:
    deep: object = "end"
    for _ in range(600):
        deep = [deep]
    odd = {"large": 2**70, "larger": 10**400, "half": "\ud800", "deep": deep, "negative": -(2**64)}
    line = encode({"op": "table", "set": {"odd": {"settings": odd, 2: [1]}, "sound": {"tags": {"a": "ü"}}}})
    [message] = Lines().feed(line)
    assert message["set"]["sound"] == {"tags": {"a": "ü"}}
    settings = message["set"]["odd"]["settings"]
    assert (settings["large"], settings["negative"]) == (2.0**70, -(2.0**64))
    assert (settings["larger"], settings["half"]) == (None, "?")
    assert message["set"]["odd"]["2"] == [1]


def test_a_table_is_put_in_force_before_it_is_acknowledged() -> None:
    async def run() -> None:
        async with connected() as ends:
            ends.busy = {4}
            ends.publish(3)
            await until(lambda: ends.peer.revision == 3)
            assert [table["revision"] for table in ends.tables] == [3]
            assert ends.peer.busy == {4}

    asyncio.run(run())


def test_a_retired_child_is_released_when_it_is_no_longer_busy() -> None:
    async def run() -> None:
        async with connected() as ends:
            assert not ends.peer.released(4, 1)
            ends.busy = {4}
            ends.publish(1)
            await until(lambda: ends.peer.revision == 1)
            assert not ends.peer.released(4, 1)
            assert ends.peer.released(5, 1)
            ends.busy.clear()
            ends.client.ack()
            await until(lambda: ends.peer.released(4, 1))
            assert not all_released([ends.peer], 4, 2)

    asyncio.run(run())


def test_a_process_that_went_away_holds_no_child() -> None:
    async def run() -> None:
        async with connected() as ends:
            ends.busy = {4}
            ends.publish(1)
            await until(lambda: ends.peer.revision == 1)
            ends.client.close()
            await until(lambda: not ends.peer.connected)
            assert all_released([ends.peer], 4, 1)

    asyncio.run(run())


def test_a_process_that_never_heard_of_a_child_holds_it_not() -> None:
    async def run() -> None:
        async with connected() as ends:
            ends.peer.greet({"op": "table", "revision": 5, "set": {}, "remove": []})
            assert all_released([ends.peer], 4, 5)
            assert not all_released([ends.peer], 4, 6)

    asyncio.run(run())


def test_requests_are_answered_by_their_number_in_any_order() -> None:
    async def run() -> None:
        async with connected() as ends:
            first = asyncio.ensure_future(ends.client.request("status", model="iris"))
            second = asyncio.ensure_future(ends.client.request("want", model="wine", version=3))
            await until(lambda: len(ends.notes) == 2)
            status, want = ends.notes
            assert (want["op"], want["model"], want["version"]) == ("want", "wine", 3)
            ends.peer.refuse(want, "wine:3 does not fit", "does-not-fit")
            ends.peer.answer(status, {"live": 1})
            assert await first == {"live": 1}
            with pytest.raises(ControlError, match="wine:3 does not fit") as caught:
                await second
            assert caught.value.kind == "does-not-fit"

    asyncio.run(run())


def test_the_answer_to_a_caller_who_gave_up_is_dropped() -> None:
    async def run() -> None:
        async with connected() as ends:
            gone = asyncio.ensure_future(ends.client.request("status"))
            await until(lambda: ends.notes)
            gone.cancel()
            await asyncio.wait([gone])
            ends.peer.answer(ends.notes[0], 1)
            assert await self_answer(ends) == 2

    async def self_answer(ends: Ends) -> object:
        request = asyncio.ensure_future(ends.client.request("status"))
        await until(lambda: len(ends.notes) == 2)
        ends.peer.answer(ends.notes[1], 2)
        return await request

    asyncio.run(run())


def test_when_the_supervisor_goes_every_request_ends() -> None:
    async def run() -> None:
        async with connected() as ends:
            waiting = asyncio.ensure_future(ends.client.request("want", model="iris", version=1))
            await until(lambda: ends.notes)
            ends.peer.close()
            with pytest.raises(ControlClosed):
                await waiting
            assert ends.supervisor_gone
            with pytest.raises(ControlClosed):
                await ends.client.request("status")

    asyncio.run(run())


def test_drain_and_ready_pass() -> None:
    async def run() -> None:
        async with connected() as ends:
            ends.client.send("ready")
            await until(lambda: ends.peer.ready)
            ends.peer.drain()
            await until(lambda: ends.drains == 1)

    asyncio.run(run())


def test_a_peer_that_talks_nonsense_is_dropped() -> None:
    async def run() -> None:
        ends = Ends()
        ours, theirs = socket.socketpair()
        await ends.peer.connect(ours)
        with theirs:
            theirs.sendall(b"nonsense\n")
            await until(lambda: not ends.peer.connected)

    asyncio.run(run())
