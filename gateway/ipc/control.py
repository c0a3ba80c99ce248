"""The control channel between the supervisor and an HTTP process, both ends: JSON lines over a Unix stream socket.

Supervisor → HTTP process::

    {"op": "table", "revision": r, "set": {name: ModelEntry}, "remove": [names], "default": name|null, "auth": {"keys": […]}|null,
     "default_service": name|null, "services": [ServiceEntry]}     the last one only when services changed
    {"op": "answer", "id": n, "ok": true, "value": …}  |  {"op": "answer", "id": n, "ok": false, "error": sentence, "kind": …}
    {"op": "drain"}                     answer what was accepted, then exit

HTTP process → supervisor, requests (each gets one answer)::

    {"op": "want", "id": n, "model": name, "version": v}     start it; answered when it is live: {"state": "live"}, or with a sentence
    {"op": "status", "id": n, "model": name}                 one model in full (pids, usage, limits in force, golden, log tail, …)
    {"op": "status", "id": n}                                the gateway: enforcement, memory promised, pids, all models in short
    {"op": "logs", "id": n, "model": name, "version": v, "lines": k}     the last lines of the version's log

HTTP process → supervisor, notes (no answer)::

    {"op": "ready"}                                          it accepts connections
    {"op": "ack", "revision": r, "busy": [child ids]}        revision r is in force here
    {"op": "used", "versions": [[name, version, answers]]}   at most once a second, what answered since the last note
    {"op": "answered", "child": id}                          once per child: its first successful answer here
    {"op": "stuck", "child": id}                             a frame runs longer than max_compute_s: replace the child
    {"op": "lost", "child": id, "asked": bool}               its connection broke (the supervisor may know already);
                                                             "asked": while it computed a request

**Retiring a child without losing a request.** The supervisor publishes a table without the child and ends it when every
connected HTTP process has acknowledged that revision, or a later one, with the child not in `busy`. `busy` names those
children, no longer in the table, on which a frame is outstanding or for which accepted rows are bound. A process
acknowledges again (`ControlClient.ack()`) when such a child gets idle.

The error `kind` of an answer: "not-found", "does-not-fit", "failed", "quarantined", "stopping" or "bad-request".

Both ends see a closed channel as the end of the other process. Neither end blocks: what the other side does not read is
buffered, and a peer that lets `MAX_BUFFER` bytes pile up is dropped as if it had died.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, cast

import orjson

from registry.errors import FitserveError
from registry.records import Json

Message = dict[str, Json]

MAX_LINE: Final = 256 * 2**20  # a table of 1,000 models with wide schemas is about 50 MB
MAX_BUFFER: Final = 512 * 2**20

log = logging.getLogger("fitserve.control")


class ControlError(FitserveError):
    """A request over the control channel was refused; the text is the supervisor's sentence."""

    def __init__(self, sentence: str, kind: str = "bad-request") -> None:
        self.kind = kind
        super().__init__(sentence)


class ControlClosed(ControlError):
    """The other end went away before it answered."""

    def __init__(self) -> None:
        super().__init__("the gateway is stopping", "stopping")


def encode(message: Mapping[str, Json]) -> bytes:
    """One line of the channel. What people registered can hold what the line cannot: that is `mended`."""
    options = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(message, option=options)
    except TypeError:
        return orjson.dumps(mended(message), option=options)


def mended(value: Json, depth: int = 100) -> Json:
    """`value` as orjson takes it: integers of more than 64 bits as floats, half of a surrogate pair as a question mark, and
    nothing in deeper than `depth`."""
    if isinstance(value, Mapping):
        return {mended(str(key)): mended(item, depth - 1) for key, item in value.items()} if depth else None
    if isinstance(value, list | tuple):
        return [mended(item, depth - 1) for item in value] if depth else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        try:
            return float(value)
        except OverflowError:
            return None
    return value


class Lines:
    """Bytes in any pieces → whole messages. A line that is not a JSON object raises ValueError."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Message]:
        head, *rest = data.split(b"\n")
        self._parts.append(head)
        self._size += len(head)
        if self._size > MAX_LINE:
            raise ValueError(f"a control line is longer than {MAX_LINE} bytes")
        if not rest:
            return []
        lines = [b"".join(self._parts), *rest[:-1]]
        self._parts, self._size = [rest[-1]], len(rest[-1])
        return [_message(line) for line in lines if line]


def _message(line: bytes) -> Message:
    message = orjson.loads(line)
    if not isinstance(message, dict) or not isinstance(message.get("op"), str):
        raise ValueError("a control line is not an object with an op")
    return message


class Channel(asyncio.Protocol):
    """One end: hands over whole messages, in order, and says once when the other end has gone."""

    def __init__(self, on_message: Callable[[Message], None], on_close: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_close = on_close
        self._lines = Lines()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(
        cls, sock: socket.socket, on_message: Callable[[Message], None], on_close: Callable[[], None]
    ) -> "Channel":
        """Take over a connected Unix stream socket (also one end of a socketpair)."""
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_unix_connection(lambda: cls(on_message, on_close), sock=sock)
        return channel

    def send(self, message: Mapping[str, Json]) -> None:
        """Never waits. After the other end has gone it does nothing."""
        self.send_bytes(encode(message))

    def send_bytes(self, line: bytes) -> None:
        """`send` for a line that several channels get."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > MAX_BUFFER:
            log.error("control channel: the other end does not read, dropped with %d bytes unsent", MAX_BUFFER)
            transport.abort()
            return
        transport.write(line)

    def close(self) -> None:
        """What was sent is still delivered."""
        if self._transport is not None:
            self._transport.close()

    @property
    def closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._lines.feed(data)
        except ValueError as error:
            log.error("control channel: %s; closed", error)
            assert self._transport is not None
            self._transport.abort()
            return
        for message in messages:
            self._on_message(message)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        self._on_close()


class ControlClient:
    """The HTTP process's end.

    Args:
        on_table: gets each "table" message and puts it in force before it returns (``RoutingTable.apply`` and what hangs
            on it); the client then acknowledges it.
        on_drain: the supervisor asked this process to finish.
        on_close: the supervisor has gone.
        busy: ids of the retired children that are still in use here, see the module's text.
        counted: what this process counted, for ``/metrics``.
    """

    def __init__(
        self,
        on_table: Callable[[Message], None],
        on_drain: Callable[[], None],
        on_close: Callable[[], None] = lambda: None,
        busy: Callable[[], Collection[int]] = lambda: (),
        counted: Callable[[], Mapping[str, Json]] = dict,
    ) -> None:
        self._counted = counted
        self._on_table = on_table
        self._on_drain = on_drain
        self._on_close = on_close
        self._busy = busy
        self._channel: Channel | None = None
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._next_id = 1
        self.revision = 0

    async def connect(self, sock: socket.socket | int) -> None:
        """`sock` is the connected control socket, or its inherited file descriptor."""
        if isinstance(sock, int):
            sock = socket.socket(fileno=sock)
        self._channel = await Channel.open(sock, self._received, self._lost)

    async def request(self, op: str, **values: Json) -> Json:
        """The supervisor's answer.

        Raises:
            ControlError: it refused, with a sentence and a `kind`.
            ControlClosed: it went away.
        """
        if self._channel is None or self._channel.closed:
            raise ControlClosed
        number, self._next_id = self._next_id, self._next_id + 1
        future: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._channel.send({"op": op, "id": number, **values})
            return await future
        finally:
            self._waiting.pop(number, None)

    def send(self, op: str, **values: Json) -> None:
        """A note that gets no answer."""
        if self._channel is not None:
            self._channel.send({"op": op, **values})

    def ack(self) -> None:
        """Say again what is in force and which retired children are in use; called when one of them gets idle."""
        self.send("ack", revision=self.revision, busy=list(self._busy()))

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _received(self, message: Message) -> None:
        match message["op"]:
            case "table":
                self._on_table(message)
                self.revision = message["revision"]
                self.ack()
            case "answer":
                self._answered(message)
            case "drain":
                self._on_drain()
            case "count":
                self.send("counted", counted=self._counted())
            case other:
                log.warning("control channel: the supervisor sent an unknown %r", other)

    def _answered(self, message: Message) -> None:
        future = self._waiting.pop(message["id"], None)
        if future is None or future.done():  # the caller gave up
            return
        if message["ok"]:
            future.set_result(message.get("value"))
        else:
            future.set_exception(ControlError(message["error"], message.get("kind", "bad-request")))

    def _lost(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(ControlClosed())
        self._on_close()


class ControlPeer:
    """The supervisor's end for one HTTP process: what it has acknowledged, and a way to answer it.

    Args:
        on_message: gets (peer, message) for everything but "ack" and "ready".
        on_change: called when acknowledgement or readiness changed, or the process went away.
    """

    def __init__(
        self, on_message: Callable[["ControlPeer", Message], None], on_change: Callable[["ControlPeer"], None]
    ) -> None:
        self._on_message = on_message
        self._on_change = on_change
        self._channel: Channel | None = None
        self.ready = False
        self.since = 0  # the revision of the whole table that it was greeted with
        self.revision = 0  # acknowledged
        self.busy: frozenset[int] = frozenset()
        self.counted: Mapping[str, Json] = {}  # at the last time that somebody asked
        self._counting: list[asyncio.Future[None]] = []

    async def count(self) -> None:
        """Have `counted` brought up to date. Returns when it is, or when the process has gone."""
        if self.connected:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._counting.append(future)
            self.send_line(encode({"op": "count"}))
            await future

    def _count_over(self) -> None:
        counting, self._counting = self._counting, []
        for future in counting:
            if not future.done():
                future.set_result(None)

    async def connect(self, sock: socket.socket) -> None:
        self._channel = await Channel.open(sock, self._received, self._lost)

    @property
    def connected(self) -> bool:
        return self._channel is not None and not self._channel.closed

    def greet(self, table: Mapping[str, Json]) -> None:
        """Send the whole table to a process that has none yet."""
        self.since = table["revision"]
        self.send_line(encode(table))

    def send_line(self, line: bytes) -> None:
        """An encoded message; the table goes to all processes in the same bytes."""
        if self._channel is not None:
            self._channel.send_bytes(line)

    def answer(self, request: Mapping[str, Json], value: Json) -> None:
        self.send_line(encode({"op": "answer", "id": request["id"], "ok": True, "value": value}))

    def refuse(self, request: Mapping[str, Json], sentence: str, kind: str) -> None:
        self.send_line(encode({"op": "answer", "id": request["id"], "ok": False, "error": sentence, "kind": kind}))

    def drain(self) -> None:
        self.send_line(encode({"op": "drain"}))

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def acknowledged(self, revision: int) -> bool:
        """This process answers by that revision of the table, or by a later one; one that has gone answers nobody."""
        return not self.connected or max(self.since, self.revision) >= revision

    def released(self, child: int, revision: int) -> bool:
        """This process will send nothing more to that child, which is not in the table since `revision`."""
        if not self.connected or self.since >= revision:  # gone, or too young to have heard of the child
            return True
        return self.revision >= revision and child not in self.busy

    def _lost(self) -> None:
        self._count_over()
        self._on_change(self)

    def _received(self, message: Message) -> None:
        match message["op"]:
            case "counted":
                self.counted = message["counted"]
                self._count_over()
            case "ack":
                self.revision = message["revision"]
                self.busy = frozenset(message.get("busy", ()))
                self._on_change(self)
            case "ready":
                self.ready = True
                self._on_change(self)
            case _:
                self._on_message(self, message)


def all_released(peers: Iterable[ControlPeer], child: int, revision: int) -> bool:
    """Every HTTP process has let go of the child, so that ending it loses nothing."""
    return all(peer.released(child, revision) for peer in peers)
