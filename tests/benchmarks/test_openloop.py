"""The open loop counts what came of every request, and does not slow down for a server that does."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.openloop import Seen, open_loop

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
Answer = Callable[[int], tuple[float, bytes]]  # number of the request → seconds to wait, what to send; nothing: hang up


def told(status: int, body: bytes = b"{}") -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body


@contextmanager
def answering(answer: Answer) -> Iterator[int]:
    """The port of a server in a thread."""
    started, ports, count = threading.Event(), list[int](), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while await reader.readuntil(b"\r\n\r\n{}"):
                pause, data = answer(count)
                count += 1
                await asyncio.sleep(pause)
                if not data:
                    break
                for part in (data[:20], data[20:]):  # an answer may come in pieces
                    writer.write(part)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        started.set()
        await stop.wait()
        server.close()

    stops: list[Callable[[], object]] = []
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(10)
    try:
        yield ports[0]
    finally:
        stops[0]()
        thread.join(10)


def asked(answer: Answer, rate: float = 100, seconds: float = 0.5, connections: int = 64) -> Seen:
    with answering(answer) as port:
        return open_loop(port, [REQUEST], rate, seconds, connections=connections, deadline_s=0.3)


def test_all_that_is_asked_is_answered_and_timed() -> None:
    seen = asked(lambda _: (0.01, told(200)))
    assert seen.sent == seen.statuses[200] == len(seen.latencies) == 50
    assert seen.good == 100
    assert (seen.refused, seen.failed, seen.unsent) == (0, 0, 0)
    assert seen.p_ms(0) >= 10


def test_statuses_are_told_apart() -> None:
    statuses = [200, 429, 503, 504, 500]
    seen = asked(lambda number: (0, told(statuses[number % 5])))
    assert (seen.statuses[200], seen.refused, seen.failed) == (10, 20, 20)


def test_an_answer_after_the_deadline_is_not_good() -> None:
    seen = asked(lambda number: (0.5 if number % 2 else 0, told(200)))
    assert seen.good == 50
    assert seen.failed == 0


def test_a_slow_server_slows_nobody_down() -> None:
    seen = asked(lambda _: (0.4, told(200)), connections=10)
    assert seen.sent <= 20
    assert seen.sent + seen.unsent == 50


def test_a_connection_that_ends_counts_as_failed() -> None:
    seen = asked(lambda number: (0, b"" if number == 7 else told(200)))
    assert (seen.broken, seen.failed, seen.statuses[200]) == (1, 1, 49)


def test_an_answer_without_a_length_is_read_in_chunks() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    assert asked(lambda _: (0, chunked)).good == 100
