"""The wire to a scoring child, both ends: frames of a JSON header and raw arrays.

Imported by the gateway, and by the scoring child inside the model's own Python (3.6 and later), so it imports nothing of ours
and uses no newer syntax: the standard library and numpy.

A frame is a 16-byte prefix ``<IIQ`` (header length, flags 0, body length), a header (one JSON object, padded with spaces
to a multiple of 16) and a body: the raw buffers of the arrays that the header describes, each at a multiple of 16.
"""

import json
import mmap
import os
import struct
from collections import namedtuple
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Part = Union[bytes, memoryview]
    Header = Dict[str, Any]

PREFIX = struct.Struct("<IIQ")
NOTE = ".now"  # beside a child's socket, see `Note`
_WORD = struct.Struct("<Q")
ALIGN = 16
CHUNK = 1 << 16
#: More values than this travel in the body as JSON text, so that whoever only passes a frame on need not read them.
MOST_VALUES = 1000
MAX_BODY = 1 << 47  # a longer one is a broken peer, not a request
LEAST_HEADER = 1 << 20  # that any reader takes
MOST_TEXT = 1 << 26  # bytes of values as text
_MOST_EMPTY = 1 << 20  # elements of an array, not counting the axis that makes it empty

_to_json = json.JSONEncoder(separators=(",", ":")).encode  # ASCII; NaN stays NaN
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
# The headers of nearly all frames: one array asked, one array answered. The encoder takes ten times as long for them.
_ASKED = b'{"id":%d,"method":%b,"input":{"kind":"array","array":{"dtype":"%b","shape":%b,"offset":0,"nbytes":%d}},"checked":%b}'
_ANSWERED = b'{"id":%d,"ok":true,"output":{"dtype":"%b","shape":%b,"offset":0,"nbytes":%d},"exec_ns":%d}'

#: What a DataFrame that a model answered with becomes: `names` of the columns and one 2-D array.
Table = namedtuple("Table", ["names", "array"])


class BrokenFrame(ValueError):
    """The bytes are no frame; the connection cannot be used any more."""


class FrameTooLarge(BrokenFrame):
    """The frame has more than the `largest` bytes that are taken here."""

    def __init__(self, largest: int) -> None:
        BrokenFrame.__init__(self, "a frame is larger than {} bytes".format(largest))
        self.largest = largest


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
        """The description A of `array` (any shape): raw for numbers, bool and datetime64; else its values in the header, or as JSON
        text in the body where they are many.
        """
        if array.dtype.kind not in "biufcmM":
            values = [_plain(value) for value in array.ravel().tolist()]
            if len(values) <= MOST_VALUES:
                return {"values": values, "shape": list(array.shape)}
            text = self.add(np.frombuffer(_to_json(values).encode("ascii"), np.uint8))
            return {"text": text, "shape": list(array.shape)}
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


def encode_described(header: "Header", described: "Part", body: "Part") -> "List[Part]":
    """As `encode_frame`, of a request whose "input" is JSON text already, and whose body lies in one piece."""
    text = _to_json(header).encode("ascii")[:-1] + b',"input":'
    end = b"}" + b" " * (-(len(text) + len(described) + 1) % ALIGN)
    padding = -len(body) % ALIGN
    prefix = PREFIX.pack(len(text) + len(described) + len(end), 0, len(body) + padding)
    parts = [prefix + text, described, end, body, b"\0" * padding]
    return [part for part in parts if len(part)]


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


class Note(object):
    """A word of memory in which a child writes which frame it begins. Whoever has it open can read it after the child's death,
    and so knows whose request that was.
    """

    def __init__(self, word: "Union[bytearray, mmap.mmap]") -> None:
        self._word = word

    @classmethod
    def make(cls, socket_path: str) -> "Note":
        """Called in the child, before it listens. Without shared memory the word is private and readers find none."""
        try:
            if hasattr(os, "memfd_create"):  # Python 3.8; no disk can make it slow
                fd = os.memfd_create("fitserve-note")
                os.symlink("/proc/{}/fd/{}".format(os.getpid(), fd), socket_path + NOTE)
            else:
                fd = os.open(socket_path + NOTE, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(fd, bytes(_WORD.size))  # a full disk is an error here, and would be a signal later
            return cls(mmap.mmap(fd, _WORD.size))
        except OSError:
            return cls(bytearray(_WORD.size))

    @classmethod
    def read(cls, socket_path: str) -> "Optional[Note]":
        """Called by its callers. None: there is none, or the child has died."""
        try:
            fd = os.open(socket_path + NOTE, os.O_RDONLY)
            try:
                return cls(mmap.mmap(fd, _WORD.size, access=mmap.ACCESS_READ))
            finally:
                os.close(fd)
        except (OSError, ValueError):
            return None

    @property
    def number(self) -> int:
        return int(_WORD.unpack_from(self._word)[0])

    def begin(self, number: "Optional[int]") -> None:
        _WORD.pack_into(self._word, 0, number or 0)


class FrameReader(object):
    """Frames out of a stream of bytes, without touching a socket.

    Either `feed(data)`, or without a copy for large bodies: read into `get_buffer()`, then `buffer_updated(n)` - the
    two methods of `asyncio.BufferedProtocol`. Both give the frames that are complete now as (header, body) pairs;
    a body is a writable buffer that belongs to its frame alone, so arrays may stay views of it.

    Memory for a body is touched only as its bytes come; what a prefix says takes none.

    Args:
        largest: bytes of the largest body that is taken. See `fits` for headers.

    Raises:
        BrokenFrame: the peer does not speak this protocol, or (FrameTooLarge) says too much.
        NoMemoryForFrame: there is no memory for a body.
    """

    __slots__ = ("_body_len", "_chunk", "_end", "_filled", "_header", "_header_len", "_largest", "_start", "_target")

    def __init__(self, largest: int = MAX_BODY) -> None:
        self._largest = largest
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
                if flags:
                    raise BrokenFrame("the peer sent something that is not a frame")
                if not fits(self._header_len, self._body_len, self._largest):
                    raise FrameTooLarge(self._largest)
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

    @property
    def receiving(self) -> "Optional[int]":
        """Id of the frame of which a large body is coming in."""
        return None if self._target is None or self._header is None else self._header.get("id")

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


def fits(header_len: int, body_len: int, largest: int) -> bool:
    """Whether a frame may be that long where bodies may have `largest` bytes. Headers are read into Python objects, which are larger."""
    return body_len <= largest and header_len <= max(LEAST_HEADER, largest // 8)


def arrays_from(part: "Header", body: "Union[bytes, bytearray, memoryview]") -> Any:
    """What a description in a header stands for: an array (a view of `body`), or a list, tuple or Table of such."""
    if "dtype" in part:
        dtype = np.dtype(part["dtype"])
        count = part["nbytes"] // dtype.itemsize if dtype.itemsize else 0
        if not count:
            return np.empty(_empty_shape(part["shape"]), dtype)
        return np.frombuffer(body, dtype, count, part["offset"]).reshape(part["shape"])
    if "values" in part or "text" in part:
        if "text" in part and part["text"]["nbytes"] > MOST_TEXT:
            raise FrameTooLarge(MOST_TEXT)
        found = (
            part["values"]
            if "values" in part
            else json.loads(arrays_from(part["text"], body).tobytes().decode("ascii"))
        )
        values = np.empty(len(found), object)
        values[:] = found
        return values.reshape(part["shape"] if len(values) else _empty_shape(part["shape"]))
    if "list" in part:
        return [arrays_from(item, body) for item in part["list"]]
    if "tuple" in part:
        return tuple([arrays_from(item, body) for item in part["tuple"]])
    if "columns" in part:
        return Table(part["columns"], arrays_from(part["array"], body))
    raise BrokenFrame("a header describes no array: {}".format(sorted(part)))


def _empty_shape(shape: "Sequence[int]") -> "Sequence[int]":
    """The shape of an empty array. Raises BrokenFrame for a shape with elements, or one that claims a huge array."""
    rest = 1
    for length in shape:
        rest *= length or 1
    if 0 not in shape or not 0 < rest <= _MOST_EMPTY:
        raise BrokenFrame("a header describes an array that is not there")
    return shape


def _parse_header(text: "Union[bytearray, memoryview]") -> "Header":
    try:
        words = str(text, "utf-8")
        header, end = _scan(words, 0)
        if end != len(words) and words[end:].strip(" "):
            raise BrokenFrame("a frame's header is not JSON")
    except (ValueError, StopIteration, RecursionError):
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
