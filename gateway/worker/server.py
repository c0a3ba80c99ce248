"""What a scoring child listens to: its supervisor on the control socket, its callers on the scoring socket.

Runs inside the model's own Python (3.6 and later), beside child.py. One thread: frames in order of arrival, one computed at a time.
"""

import json
import os
import select
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from .process_setup import OUT_OF_MEMORY, freeze, leave
from .wire import CHUNK, MAX_BODY, PREFIX, BrokenFrame, FrameReader, NoMemoryForFrame, Note, encode_frame, fits

if TYPE_CHECKING:
    from .wire import Array, Header, Part

POLLIN, POLLOUT = select.POLLIN, select.POLLOUT
MOST_QUEUED = 4  # frames of one connection that wait here; more stay in its socket
PROVE_EVERY_S = 0.02  # a step of the proof this often where callers leave no time for it
MOST_UNSENT = 64 << 20  # bytes a slow reader may leave unread before it is no longer read from


class Control(object):
    """The child's end of the control socket: JSON lines to and from the supervisor."""

    def __init__(self, fd: int) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)
        self.sock.setblocking(True)
        self._rest = b""

    def send(self, **event: Any) -> None:
        try:
            self.sock.sendall(json.dumps(event).encode("ascii") + b"\n")
        except OSError:
            os._exit(0)  # nobody is left to serve for

    def receive(self) -> "Optional[Header]":
        """The next message; None when the supervisor has gone. Blocks."""
        while b"\n" not in self._rest:
            try:
                data = self.sock.recv(CHUNK)
            except OSError:
                data = b""
            if not data:
                return None
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        message = json.loads(line.decode("utf-8"))
        assert isinstance(message, dict)
        return message

    @property
    def pending(self) -> bool:
        return b"\n" in self._rest


class Connection(object):
    """One peer on the scoring socket: what it has sent in part, and what it has not yet read."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reader = FrameReader()
        self.unsent: "Deque[Part]" = deque()
        self.unsent_bytes = 0
        self.queued = 0
        self.mask = 0  # what it is registered for
        self.open = True

    def receive(self) -> "List[Tuple[Header, Union[bytearray, memoryview]]]":
        """The frames that are complete now. Raises ConnectionError when the peer has gone or talks nonsense."""
        try:
            count = self.sock.recv_into(self.reader.get_buffer())
        except (BlockingIOError, InterruptedError):
            return []
        if not count:
            raise ConnectionError
        try:
            return self.reader.buffer_updated(count)
        except BrokenFrame:
            raise ConnectionError from None

    def send(self, parts: "List[Part]") -> None:
        """Send what goes at once; the rest follows when the peer reads. Raises OSError when it has gone."""
        if len(parts) == 1 and not self.unsent:  # nearly all: a row or two
            try:
                count = self.sock.send(parts[0])
            except (BlockingIOError, InterruptedError):
                count = 0
            if count == len(parts[0]):
                return
            parts = [memoryview(parts[0])[count:]]
        self.unsent.extend(parts)
        self.unsent_bytes += sum(len(part) for part in parts)
        self.flush()

    def flush(self) -> None:
        while self.unsent:
            try:
                if len(self.unsent) > 1 and self.unsent_bytes <= CHUNK // 4:
                    self.unsent = deque([b"".join(self.unsent)])  # one small copy is cheaper than a vector
                count = self.sock.sendmsg([self.unsent[i] for i in range(min(len(self.unsent), 512))])
            except (BlockingIOError, InterruptedError):
                return
            self.unsent_bytes -= count
            while self.unsent and count >= len(self.unsent[0]):
                count -= len(self.unsent.popleft())
            if count:
                self.unsent[0] = memoryview(self.unsent[0])[count:]

    def swallow(self, nbytes: int) -> None:
        """Read and drop what still comes of a frame: a peer that is busy writing would not see the answer."""
        buffer = bytearray(CHUNK)
        deadline = time.monotonic() + 10.0
        try:
            self.sock.settimeout(1.0)
            while nbytes > 0 and time.monotonic() < deadline:
                count = self.sock.recv_into(buffer)
                if not count:
                    return
                nbytes -= count
        except OSError:
            pass  # it has gone, or waits too: it gets the answer then

    @property
    def wanted(self) -> int:
        read = self.queued < MOST_QUEUED and self.unsent_bytes < MOST_UNSENT
        return (POLLIN if read else 0) | (POLLOUT if self.unsent else 0)


class Server(object):
    """Computes the frames of all connections in order of arrival, one at a time, until the control socket closes.

    `answer(header, body)` returns the header and arrays of the answer, and whether to exit after it. `prove(known)` is work that the
    supervisor asks for and that is done between frames; `scoring()` then reports the code path of each method. An answer whose body
    has more than `largest` bytes is not sent. `note` is kept current.
    """

    def __init__(
        self,
        control: Control,
        listener: socket.socket,
        answer: "Callable[[Header, Any], Tuple[Header, Sequence[Array], bool]]",
        prove: "Callable[[Any], Iterator[None]]",
        scoring: "Callable[[], Header]",
        note: Note,
        largest: int = MAX_BODY,
    ) -> None:
        self.note, self.largest = note, largest
        self.control, self.listener = control, listener
        self.answer, self.prove, self.scoring = answer, prove, scoring
        self.proof: "Optional[Iterator[None]]" = None
        self.proof_due = 0.0
        self.frames: "Deque[Tuple[Connection, Header, Any]]" = deque()
        self.connections: "Dict[int, Connection]" = {}
        self.poll = select.poll()
        self.ending = False
        listener.setblocking(False)
        for sock in (listener, control.sock):
            self.poll.register(sock, POLLIN)
        if hasattr(os, "register_at_fork"):  # Python 3.7
            os.register_at_fork(after_in_child=self._let_go)

    def _let_go(self) -> None:
        """Called in processes that the model forks: peers must see this process's death even if a fork outlives it."""
        for sock in [connection.sock for connection in self.connections.values()] + [self.listener, self.control.sock]:
            sock.close()

    def run(self) -> None:
        """Serve until the supervisor sends "exit"; requests that are in the sockets by then are still answered."""
        while True:
            events = self.poll.poll(self._patience())
            for fd, event in events:
                self._on_event(fd, event)
            while self.control.pending:
                self._on_control()
            if self.frames:
                self._compute(*self.frames.popleft())
            elif self.ending and not events and not self._unsent():
                return
            if self.proof is not None and (not self.frames or time.monotonic() > self.proof_due):
                self._prove_on(self.proof)

    def _patience(self) -> "Optional[int]":
        """Milliseconds to wait for the next event; None waits forever."""
        if self.frames or self.control.pending or self.proof is not None:
            return 0
        return (10 if self._unsent() else 0) if self.ending else None

    def _prove_on(self, proof: "Iterator[None]") -> None:
        """Do one step of the verification."""
        try:
            next(proof)
        except StopIteration:
            self.proof = None
            self.control.send(event="proved", scoring=self.scoring())
        self.proof_due = time.monotonic() + PROVE_EVERY_S

    def _unsent(self) -> bool:
        return any(connection.unsent for connection in self.connections.values())

    def _on_event(self, fd: int, event: int) -> None:
        connection = self.connections.get(fd)
        if connection is not None:
            try:
                if event & POLLOUT:
                    connection.flush()
                if event & ~POLLOUT:
                    self._receive(connection)
            except OSError:
                self._close(connection)
            self._watch(connection)
        elif fd == self.control.sock.fileno():
            self._on_control()
        elif fd == self.listener.fileno():
            self._accept()

    def _receive(self, connection: Connection) -> None:
        number = connection.reader.receiving
        if number is not None:
            self.note.begin(number)  # its body may be what does not fit into memory
        try:
            frames = connection.receive()
        except NoMemoryForFrame as error:
            message = "the request does not fit into the model's memory limit ({})".format(error)
            connection.swallow(error.missing)
            self._end_without_memory(connection, error.header.get("id"), message)
            return
        for header, body in frames:
            connection.queued += 1
            self.frames.append((connection, header, body))

    def _compute(self, connection: Connection, header: "Header", body: Any) -> None:
        if not connection.open:
            return  # nobody waits for it
        answer: "Header" = {"id": header.get("id"), "ok": True}
        arrays: "Sequence[Array]" = ()
        fatal = False
        self.note.begin(answer["id"])
        if header.get("op") != "ping":
            answer, arrays, fatal = self.answer(header, body)
        connection.queued -= 1
        if fatal:
            self._end_without_memory(connection, answer["id"], answer["error"]["message"])
        try:
            connection.send(self._within_bounds(encode_frame(answer, arrays), answer["id"]))
        except MemoryError:
            self._end_without_memory(connection, answer["id"], "no memory is left for the answer")
        except OSError:
            self._close(connection)
        self._watch(connection)

    def _within_bounds(self, parts: "List[Part]", number: Any) -> "List[Part]":
        """The frame, or one that says that it is larger than its reader takes."""
        header_len, _, body_len = PREFIX.unpack_from(parts[0])
        if fits(header_len, body_len, self.largest):
            return parts
        message = "the answer has {:.0f} MB, more than the {:g} MB that are accepted of a model; send fewer rows at once".format(
            (header_len + body_len) / 1e6, self.largest / 1e6
        )
        error = {"kind": "input", "type": "AnswerRefused", "message": message}
        return encode_frame({"id": number, "ok": False, "error": error})

    def _end_without_memory(self, connection: Connection, number: Any, message: str) -> None:
        """Say so and end: what is left of this process's memory may be in any state."""
        error = {"kind": "memory", "type": "MemoryError", "message": message}
        try:
            connection.sock.settimeout(1.0)
            while connection.unsent:
                connection.sock.sendall(connection.unsent.popleft())
            connection.sock.sendall(b"".join(encode_frame({"id": number, "ok": False, "error": error})))
        except OSError:
            pass  # its peer has gone; the end is the same
        leave(OUT_OF_MEMORY)

    def _accept(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        sock.setblocking(False)
        connection = self.connections[sock.fileno()] = Connection(sock)
        self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        wanted = connection.wanted
        if connection.open and wanted != connection.mask:
            connection.mask = wanted
            self.poll.register(connection.sock, wanted)

    def _close(self, connection: Connection) -> None:
        if connection.open:
            connection.open = False
            self.poll.unregister(connection.sock)
            del self.connections[connection.sock.fileno()]
            connection.sock.close()
            connection.unsent.clear()

    def _on_control(self) -> None:
        message = self.control.receive()
        if message is None:
            leave(0)
        elif message["op"] == "exit":
            self.ending = True
        elif message["op"] == "serve":
            freeze()
        elif message["op"] == "prove":
            self.proof = self.prove(message.get("known"))
        elif message["op"] == "ping":
            self.control.send(event="pong")
