"""The scoring child: one model in one process, arrays in, arrays out. Also both ends of the wire to it.

Runs inside the model's own Python (3.6 and later) with the standard library and numpy, so it imports nothing of
ours and uses no newer syntax; the gateway imports it for the frame functions at the top. It knows no HTTP, no registry
and no limits beyond the rlimits it is told to set.

A frame is a 16-byte prefix ``<IIQ`` (header length, flags 0, body length), a header (one JSON object, padded with spaces
to a multiple of 16) and a body: the raw buffers of the arrays that the header describes, each at a multiple of 16.
"""

import importlib.util
import json
import os
import select
import socket
import struct
import sys
import time
import traceback
from collections import deque, namedtuple
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Part = Union[bytes, memoryview]
    Header = Dict[str, Any]

PREFIX = struct.Struct("<IIQ")
ALIGN = 16
CHUNK = 1 << 16
#: A longer header or body is a broken peer, not a request.
MAX_HEADER = 1 << 30
MAX_BODY = 1 << 47

_to_json = json.JSONEncoder(separators=(",", ":")).encode  # ASCII; NaN stays NaN
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
# The headers of nearly all frames: one array asked, one array answered. The encoder takes ten times as long for them.
_ASKED = b'{"id":%d,"method":%b,"input":{"kind":"array","array":{"dtype":"%b","shape":%b,"offset":0,"nbytes":%d}},"checked":%b}'
_ANSWERED = b'{"id":%d,"ok":true,"output":{"dtype":"%b","shape":%b,"offset":0,"nbytes":%d},"exec_ns":%d}'

#: What a DataFrame that a model answered with becomes: `names` of the columns and one 2-D array.
Table = namedtuple("Table", ["names", "array"])


# ---------------------------------------------------------------- the wire: called on both sides


class BrokenFrame(ValueError):
    """The bytes are no frame; the connection cannot be used any more."""


class NoMemoryForFrame(MemoryError):
    """The body of the frame with this `header` did not fit into memory; `missing` bytes of it are still to come."""

    def __init__(self, header: "Header", nbytes: int, missing: int) -> None:
        MemoryError.__init__(self, "a frame of {} bytes does not fit into memory".format(nbytes))
        self.header = header
        self.missing = missing


class Body(object):
    """Collects the arrays of one frame: ``spec = body.add(array)`` goes into the header, `arrays` to `encode_frame`."""

    __slots__ = ("arrays", "nbytes")

    def __init__(self) -> None:
        self.arrays: "List[Array]" = []
        self.nbytes = 0

    def add(self, array: "Array") -> "Header":
        """The description A of `array` (any shape): raw for numbers, bool and datetime64, else its values in the header."""
        if array.dtype.kind not in "biufcmM":
            return {"values": [_plain(value) for value in array.ravel().tolist()], "shape": list(array.shape)}
        array = np.asarray(array, order="C")
        spec = {"dtype": array.dtype.str, "shape": list(array.shape), "offset": self.nbytes, "nbytes": array.nbytes}
        self.arrays.append(array)
        self.nbytes += array.nbytes + -array.nbytes % ALIGN
        return spec


def encode_frame(header: "Header", arrays: "Sequence[Array]" = ()) -> "List[Part]":
    """The parts of one frame, to be written one after the other; the arrays (C order) are not copied.

    `arrays` are laid out in order, each at a multiple of 16: as `Body.add` counted.
    """
    text = _plain_text(header) if len(arrays) == 1 and len(header) == 4 else None
    if text is None:
        text = _to_json(header).encode("ascii")
    text += b" " * (-len(text) % ALIGN)
    if len(arrays) == 1 and arrays[0].nbytes <= CHUNK // 4:  # one small copy is cheaper than a vector
        data = arrays[0].tobytes()
        data += b"\0" * (-len(data) % ALIGN)
        return [PREFIX.pack(len(text), 0, len(data)) + text + data]
    parts: "List[Part]" = []
    total = 0
    for array in arrays:
        nbytes = array.nbytes
        if nbytes:
            # datetime64 has no buffer of its own, and a 0-d array no length: both do as bytes.
            parts.append(array.reshape(-1).view(np.uint8).data)
            if nbytes % ALIGN:
                parts.append(b"\0" * (-nbytes % ALIGN))
        total += nbytes + -nbytes % ALIGN
    parts.insert(0, PREFIX.pack(len(text), 0, total) + text)
    return parts


def _plain_text(header: "Header") -> "Optional[bytes]":
    """The text of a header that describes one array; None for any other."""
    output = header.get("output")
    if output is not None:
        if "dtype" not in output or "exec_ns" not in header:
            return None
        return _ANSWERED % (
            header["id"],
            output["dtype"].encode("ascii"),
            b"%a" % output["shape"],
            output["nbytes"],
            header["exec_ns"],
        )
    given = header.get("input") or {}
    if given.get("kind") != "array" or "dtype" not in given["array"] or "checked" not in header:
        return None
    array = given["array"]
    return _ASKED % (
        header["id"],
        _quoted(header["method"]),
        array["dtype"].encode("ascii"),
        b"%a" % array["shape"],
        array["nbytes"],
        b"true" if header["checked"] else b"false",
    )


@lru_cache(maxsize=1000)
def _quoted(method: str) -> bytes:
    return _to_json(method).encode("ascii")


class FrameReader(object):
    """Frames out of a stream of bytes, without touching a socket.

    Either `feed(data)`, or without a copy for large bodies: read into `get_buffer()`, then `buffer_updated(n)` - the
    two methods of `asyncio.BufferedProtocol`. Both give the frames that are complete now as (header, body) pairs;
    a body is a writable buffer that belongs to its frame alone, so arrays may stay views of it.

    Raises:
        BrokenFrame: the peer does not speak this protocol.
        NoMemoryForFrame: there is no memory for a body.
    """

    __slots__ = ("_body_len", "_chunk", "_end", "_filled", "_header", "_header_len", "_start", "_target")

    def __init__(self) -> None:
        self._chunk = memoryview(bytearray(CHUNK))  # small frames lie in here, from _start to _end
        self._start = self._end = 0
        self._target: "Optional[memoryview]" = None  # a header or body too large for the chunk, being filled
        self._filled = 0
        self._header_len = -1  # -1: the next bytes are a prefix
        self._body_len = 0
        self._header: "Optional[Header]" = None

    def get_buffer(self, sizehint: int = -1) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where the next bytes go; never empty."""
        if self._target is not None:
            return self._target[self._filled :]
        return self._chunk[self._end :]

    def buffer_updated(self, nbytes: int) -> "List[Tuple[Header, Union[bytearray, memoryview]]]":
        if self._target is not None:
            self._filled += nbytes
            if self._filled < len(self._target):
                return []
        else:
            self._end += nbytes
        frames: "List[Tuple[Header, Union[bytearray, memoryview]]]" = []
        while True:
            if self._header_len < 0:
                if self._end - self._start >= PREFIX.size:
                    whole = self._take_whole()
                    if whole is not None:
                        frames.append(whole)
                        continue
                prefix = self._take(PREFIX.size)
                if prefix is None:
                    break
                self._header_len, flags, self._body_len = PREFIX.unpack(prefix)
                if flags or self._header_len > MAX_HEADER or self._body_len > MAX_BODY:
                    raise BrokenFrame("the peer sent something that is not a frame")
            if self._header is None:
                text = self._take(self._header_len)
                if text is None:
                    break
                self._header = _parse_header(text)
            body = self._take(self._body_len)
            if body is None:
                break
            frames.append((self._header, body))
            self._header_len, self._header = -1, None
        return frames

    def feed(self, data: "Union[bytes, bytearray, memoryview]") -> "List[Tuple[Header, Union[bytearray, memoryview]]]":
        frames = []
        view = memoryview(data)
        while len(view):
            room = self.get_buffer()
            n = min(len(room), len(view))
            room[:n] = view[:n]
            frames.extend(self.buffer_updated(n))
            view = view[n:]
        return frames

    @property
    def idle(self) -> bool:
        """True between frames: nothing of a next frame has arrived."""
        return self._target is None and self._header_len < 0 and self._start == self._end

    def _take_whole(self) -> "Optional[Tuple[Header, bytearray]]":
        """A frame that lies in the chunk from its first to its last byte: most do."""
        chunk, start = self._chunk, self._start
        header_len, flags, body_len = PREFIX.unpack_from(chunk, start)
        middle = start + PREFIX.size + header_len
        stop = middle + body_len
        if flags or stop > self._end:
            return None
        header = _parse_header(chunk[start + PREFIX.size : middle])
        body = bytearray(chunk[middle:stop])
        self._start = stop
        if stop == self._end:
            self._start = self._end = 0
        return header, body

    def _take(self, need: int) -> "Optional[Union[bytearray, memoryview]]":
        """The next `need` bytes in a buffer of their own, or None after making room for those that miss."""
        if self._target is not None:
            done, self._target = self._target, None
            return done
        have = self._end - self._start
        if have >= need:
            taken = bytearray(self._chunk[self._start : self._start + need])
            self._start += need
            if self._start == self._end:
                self._start = self._end = 0
            return taken
        if need > CHUNK // 2:
            try:
                target = np.empty(need, np.uint8).data  # unlike bytearray(need), not zeroed first
            except MemoryError:
                raise NoMemoryForFrame(self._header or {}, need, need - have) from None
            target[:have] = self._chunk[self._start : self._end]
            self._target, self._filled = target, have
            self._start = self._end = 0
        elif self._start + need > CHUNK:
            self._chunk[:have] = bytes(self._chunk[self._start : self._end])
            self._start, self._end = 0, have
        return None


def arrays_from(part: "Header", body: "Union[bytes, bytearray, memoryview]") -> Any:
    """What a description in a header stands for: an array (a view of `body`), or a list, tuple or Table of such."""
    if "dtype" in part:
        dtype = np.dtype(part["dtype"])
        count = part["nbytes"] // dtype.itemsize if dtype.itemsize else 0
        if not count:
            return np.empty(part["shape"], dtype)
        return np.frombuffer(body, dtype, count, part["offset"]).reshape(part["shape"])
    if "values" in part:
        values = np.empty(len(part["values"]), object)
        values[:] = part["values"]
        return values.reshape(part["shape"])
    if "list" in part:
        return [arrays_from(item, body) for item in part["list"]]
    if "tuple" in part:
        return tuple([arrays_from(item, body) for item in part["tuple"]])
    if "columns" in part:
        return Table(part["columns"], arrays_from(part["array"], body))
    raise BrokenFrame("a header describes no array: {}".format(sorted(part)))


def _parse_header(text: "Union[bytearray, memoryview]") -> "Header":
    try:
        words = str(text, "utf-8")
        header, end = _scan(words, 0)
        if end != len(words) and words[end:].strip(" "):
            raise BrokenFrame("a frame's header is not JSON")
    except (ValueError, StopIteration):
        raise BrokenFrame("a frame's header is not JSON") from None
    if not isinstance(header, dict):
        raise BrokenFrame("a frame's header is not an object")
    return header


def _plain(value: Any) -> Any:
    """An element of an object array as JSON can carry it."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, dict):  # what a DictVectorizer gives back
        return {str(key): _plain(item) for key, item in value.items()}
    raise TypeError("an answer holds a {}, which has no form in JSON".format(type(value).__name__))


# ---------------------------------------------------------------- called in the child, from here to the end

MOST_QUEUED = 4  # frames of one connection that wait here; more stay in its socket
MOST_UNSENT = 64 << 20  # bytes a slow reader may leave unread before it is no longer read from


def sibling(name: str) -> Any:
    """The module in the file beside this one: here is no package, and nothing of ours on the path."""
    full = "fitserve_child_" + name
    if full not in sys.modules:
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
        spec = importlib.util.spec_from_file_location(full, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[full]


def prepare() -> None:
    """Import what a child needs before its model is known: called in the nursery, so that its children need not."""
    for name in ("describe", "fast", "loading", "scoring", "selfcare"):
        sibling(name)


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
        deadline = time.time() + 10.0
        try:
            self.sock.settimeout(1.0)
            while nbytes > 0 and time.time() < deadline:
                count = self.sock.recv_into(buffer)
                if not count:
                    return
                nbytes -= count
        except OSError:
            pass  # it has gone, or waits too: it gets the answer then

    @property
    def wanted(self) -> int:
        read = self.queued < MOST_QUEUED and self.unsent_bytes < MOST_UNSENT
        return (select.POLLIN if read else 0) | (select.POLLOUT if self.unsent else 0)


class Server(object):
    """Frames of all connections in order of arrival, one computed at a time, until the control socket closes.

    `answer(header, body)` gives the header and arrays of the answer, and whether to end after it; `scoring()` says which way
    each method's answers go.
    """

    def __init__(
        self,
        control: Control,
        listener: socket.socket,
        answer: "Callable[[Header, Any], Tuple[Header, Sequence[Array], bool]]",
        scoring: "Callable[[], Header]",
    ) -> None:
        self.control, self.listener, self.answer, self.scoring = control, listener, answer, scoring
        self.frames: "Deque[Tuple[Connection, Header, Any]]" = deque()
        self.connections: "Dict[int, Connection]" = {}
        self.poll = select.poll()
        self.ending = False
        listener.setblocking(False)
        for sock in (listener, control.sock):
            self.poll.register(sock, select.POLLIN)

    def run(self) -> None:
        """Serve until the supervisor says "exit"; what lies in the sockets by then is still answered."""
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

    def _patience(self) -> "Optional[int]":
        """How long to wait for the next event, ms; None is for ever."""
        if self.frames or self.control.pending:
            return 0
        return (10 if self._unsent() else 0) if self.ending else None

    def _unsent(self) -> bool:
        return any(connection.unsent for connection in self.connections.values())

    def _on_event(self, fd: int, event: int) -> None:
        connection = self.connections.get(fd)
        if connection is not None:
            try:
                if event & select.POLLOUT:
                    connection.flush()
                if event & ~select.POLLOUT:
                    self._receive(connection)
            except OSError:
                self._close(connection)
            self._watch(connection)
        elif fd == self.control.sock.fileno():
            self._on_control()
        elif fd == self.listener.fileno():
            self._accept()

    def _receive(self, connection: Connection) -> None:
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
        if header.get("op") == "scoring":
            answer["scoring"] = self.scoring()
        elif header.get("op") != "ping":
            answer, arrays, fatal = self.answer(header, body)
        connection.queued -= 1
        if fatal:
            self._end_without_memory(connection, answer["id"], answer["error"]["message"])
        try:
            connection.send(encode_frame(answer, arrays))
        except MemoryError:
            self._end_without_memory(connection, answer["id"], "no memory is left for the answer")
        except OSError:
            self._close(connection)
        self._watch(connection)

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
        care = sibling("selfcare")
        care.leave(care.OUT_OF_MEMORY)

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
            sibling("selfcare").leave(0)
        elif message["op"] == "exit":
            self.ending = True
        elif message["op"] == "serve":
            sibling("selfcare").freeze()
        elif message["op"] == "ping":
            self.control.send(event="pong")


def run_child(control_fd: int) -> None:
    """From the first word to the last: hello, go, load, describe, serve. Does not return."""
    sys.dont_write_bytecode = True  # the folders of models are not for writing
    care, loading = sibling("selfcare"), sibling("loading")
    control = Control(control_fd)
    control.send(event="hello", pid=os.getpid(), threads=care.thread_count())
    order = control.receive()
    if order is None:
        care.leave(0)
        return
    try:
        server = _start(control, order)
    except loading.LoadFailed as failure:
        cause = failure.__cause__
        if cause is not None:
            traceback.print_exception(type(cause), cause, cause.__traceback__)
        control.send(event="failed", kind=failure.kind, reason=failure.reason)
        care.leave(care.OUT_OF_MEMORY if failure.kind == "memory" else 1)
        return
    server.run()
    care.leave(0)


def _start(control: Control, order: "Header") -> Server:
    care, describe, loading, scoring = [sibling(name) for name in ("selfcare", "describe", "loading", "scoring")]
    started, resident = time.time(), describe.resident()
    care.confine(order.get("rlimits") or {})
    threads = int(order.get("threads") or 1)
    other = care.name_threads(threads)
    scoring.quiet_warnings()
    try:
        if order.get("script"):
            scorer, description = _script(order)
            if other:
                care.limit_threads(threads)
        else:
            scorer, description = _model(order, threads if other else None)
    except describe.NotScorable as error:
        raise loading.LoadFailed("load", str(error)) from None
    except sibling("script").ScriptFailed as error:
        raise loading.LoadFailed("load", str(error)) from error.__cause__
    except MemoryError:
        raise loading.LoadFailed("memory", "the model does not fit into its memory limit") from None
    except loading.LoadFailed:
        raise
    except Exception as error:  # somebody's class that raises when it is looked at
        text = "it was loaded but cannot be described: {}: {}".format(type(error).__name__, error)
        raise loading.LoadFailed("load", text[:500]) from error
    listener = care.listen(order["listen"])
    care.freeze()
    description["memory_bytes"] = describe.memory_bytes(resident)
    description["load_ms"] = round((time.time() - started) * 1000, 2)
    control.send(event="loaded", description=description)
    return Server(control, listener, scorer.answer, scorer.scoring)


def _model(order: "Header", threads: "Optional[int]") -> "Tuple[Any, Header]":
    """What answers with the methods of the model that `order` names, and its description."""
    describe, loading, scoring = [sibling(name) for name in ("describe", "loading", "scoring")]
    model, caught = loading.load_model(order["artifact"], order["digest"], order["format"], order.get("code") or "")
    describe.run_on_one_core(model)
    if threads is not None:
        sibling("selfcare").limit_threads(threads)
    description = describe.describe(model, order["methods"], caught)
    fast = None if order.get("fast") is False else sibling("fast")
    scorer = scoring.Scorer(
        model, description, arrays_from, Body, order.get("dense_limit_bytes") or scoring.DENSE_LIMIT, fast
    )
    description["scoring"] = scorer.scoring()
    return scorer, description


def _script(order: "Header") -> "Tuple[Any, Header]":
    """The same for a scoring script, which loads the model by itself from where Azure's variables point."""
    sibling("loading").verify(order["artifact"], order["digest"], order["kind"])
    os.environ["AZUREML_MODEL_DIR"], os.environ["AML_APP_ROOT"] = order["model_dir"], order["app_root"]
    sys.path.insert(0, order["code"])
    script = sibling("script").Script(order["script"], arrays_from, Body)
    return script, script.describe()


def main(arguments: "Sequence[str]") -> None:
    """A child in an interpreter of its own: `child.py --control-fd N --supervisor-pid P`."""
    options = dict(zip(arguments[::2], arguments[1::2]))
    control = int(options["--control-fd"])
    os.set_inheritable(control, False)
    care = sibling("selfcare")
    care.settle()
    care.die_with(int(options["--supervisor-pid"]))
    run_child(control)


if __name__ == "__main__":
    main(sys.argv[1:])
