"""An open loop: requests leave at a fixed rate whatever the answers do. Plain sockets and epoll, since on two cores the one who asks must be cheap.

A request that is due takes a free connection; while there are fewer than `connections`, one is there for it. When all are in use it is not sent and
counts as such: a client that cannot connect. So no request waits before it leaves, and its clock runs from when it was due. Requests that are due
within the same millisecond leave together.
"""

import re
import select
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_REFUSED: Final = (429, 503)


@dataclass
class Seen:
    """What came of `asked` requests a second for `seconds`. Latencies in seconds, of answers with status 200."""

    asked: float
    seconds: float
    deadline_s: float
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    sent: int = 0
    unsent: int = 0  # all connections were in use
    broken: int = 0  # connections that ended instead of an answer
    unanswered: int = 0  # long after the deadline
    late_ms: float = 0.0  # how late the generator itself was, on average
    cpu_s: float = 0.0  # its own

    @property
    def good(self) -> float:
        """Right status within the deadline, a second."""
        return sum(each <= self.deadline_s for each in self.latencies) / self.seconds

    @property
    def refused(self) -> int:
        return sum(self.statuses[status] for status in _REFUSED)

    @property
    def failed(self) -> int:
        """Neither answered well nor refused."""
        told = sum(count for status, count in self.statuses.items() if status not in {200, *_REFUSED})
        return told + self.broken + self.unanswered

    def p_ms(self, share: float) -> float:
        """So much percent of the accepted requests were answered within these milliseconds."""
        latencies = sorted(self.latencies)
        return (
            latencies[min(len(latencies) - 1, int(len(latencies) * share / 100))] * 1000 if latencies else float("nan")
        )


class _Generator:
    def __init__(self, port: int, requests: list[bytes], seen: Seen, connections: int) -> None:
        self.address, self.requests, self.seen = ("127.0.0.1", port), requests, seen
        self.epoll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self.due: dict[int, float] = {}  # of requests that are on their way, by descriptor
        self.partly: dict[int, bytes] = {}
        self.free: list[int] = []
        self.most = connections

    def connect(self) -> int:
        sock = socket.create_connection(self.address, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        number = sock.fileno()
        self.sockets[number] = sock
        self.epoll.register(number, select.EPOLLIN)
        return number

    def ask(self, due: float, number: int) -> None:
        if self.free:
            number_of_socket = self.free.pop()
        elif len(self.sockets) < self.most:
            number_of_socket = self.connect()
        else:
            self.seen.unsent += 1
            return
        try:
            self.sockets[number_of_socket].send(self.requests[number % len(self.requests)])
        except OSError:
            self.drop(number_of_socket)
            self.seen.broken += 1
            return
        self.seen.sent += 1
        self.due[number_of_socket] = due

    def drop(self, number: int) -> None:
        self.epoll.unregister(number)
        self.sockets.pop(number).close()
        self.partly.pop(number, None)

    def read(self, number: int) -> None:
        try:
            data = self.sockets[number].recv(65536)
        except OSError:
            data = b""
        if not data:
            if self.due.pop(number, None) is None:
                self.free.remove(number)
            else:
                self.seen.broken += 1
            self.drop(number)
            return
        if number in self.partly:
            data = self.partly.pop(number) + data
        if not _whole(data):
            self.partly[number] = data
            return
        took = time.perf_counter() - self.due.pop(number)
        status = int(data[9:12])
        self.seen.statuses[status] += 1
        if status == 200:
            self.seen.latencies.append(took)
        self.free.append(number)

    def run(self) -> None:
        seen, clock = self.seen, time.perf_counter
        total, number, late = round(seen.asked * seen.seconds), 0, 0.0
        busy, begin = time.process_time(), clock()
        while number < total:
            now = clock()
            # Between two looks at the answers at most 64 are sent, so that connections become free in overload.
            until = min(total, int((now - begin) * seen.asked) + 1, number + 64)
            for each in range(number, until):
                due = begin + each / seen.asked
                late += now - due
                self.ask(due, each)
            number = until
            for ready, _ in self.epoll.poll(max(0.0, begin + number / seen.asked - clock()), 512):
                self.read(ready)
        seen.late_ms = late / total * 1000
        ends = clock() + seen.deadline_s + 2
        while self.due and clock() < ends:
            for ready, _ in self.epoll.poll(0.1, 512):
                self.read(ready)
        seen.unanswered = len(self.due)
        seen.cpu_s = time.process_time() - busy
        for sock in self.sockets.values():
            sock.close()
        self.epoll.close()


def _whole(answer: bytes) -> bool:
    head, ended, rest = answer.partition(b"\r\n\r\n")
    if not ended:
        return False
    length = _LENGTH.search(head)
    return len(rest) >= int(length[1]) if length else rest.endswith(b"0\r\n\r\n")


def open_loop(
    port: int, requests: list[bytes], rate: float, seconds: float, *, connections: int = 2048, deadline_s: float = 1.0
) -> Seen:
    """`rate` requests a second, in turn from `requests`, each a whole request of HTTP/1.1."""
    seen = Seen(rate, seconds, deadline_s)
    _Generator(port, requests, seen, connections).run()
    return seen
