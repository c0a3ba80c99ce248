"""Reads an untrusted file forwards, plain or compressed, in bounded memory and time.

Skipped bytes are never kept. A compressed stream is decompressed piece by piece and given up when it grows
past a limit, so a small file that claims to be huge costs a bounded amount of work.
"""

import bz2
import gzip
import importlib
import io
import lzma
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

COMPRESSORS: Final = (  # name, first bytes; as joblib knows them
    ("gzip", b"\x1f\x8b"),
    ("bz2", b"BZh"),
    ("xz", b"\xfd7zXZ"),
    ("lzma", b"\x5d\x00\x00"),
    ("lz4", b"\x04\x22\x4d\x18"),
    ("zfile", b"ZF0x"),  # joblib before 0.10
    ("zlib", b"\x78"),
)
_CHUNK: Final = 1 << 20
_LINE: Final = 1 << 16
_LZMA_MEMORY: Final = 256 << 20  # `xz -9` needs a quarter of it
_ZFILE_HEADER: Final = 2 + len(hex(2**64))
# A model that shrinks more than 200 times when compressed would be all zeros; below a gigabyte nobody minds.
_LEAST_LIMIT: Final = 1 << 30
_MOST_RATIO: Final = 200


class Damaged(Exception):
    """The bytes break a rule of their format. The text completes "<name> is not a model file: …"."""


class OutOfBudget(Exception):
    """Reading on would cost more time or memory than knowing the rest is worth."""


class NoDecompressor(Exception):
    """The module that decompresses this is not installed here."""


class ByteSource:
    """Reads and skips forward over one stream; each either completes or raises `Damaged`.

    Args:
        stream: positioned at its first byte.
        size: its length in bytes where that is known.
        limit: bytes after which it is given up; None means its size bounds it.
        seconds: time after which `tick` raises `OutOfBudget`.
    """

    def __init__(self, stream: IO[bytes], *, size: int | None, limit: int | None, seconds: float) -> None:
        self._stream = stream
        self._size = size
        self._limit = limit
        self._deadline = time.monotonic() + seconds
        self.position = 0

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes, which the caller has made sure are few."""
        data = self._checked(self._stream.read, count)
        if len(data) != count:
            raise self._truncated()
        return data

    def line(self, keep: int = 512) -> bytes:
        """Up to and without the next newline; a longer line is cut to `keep` bytes."""
        kept = piece = self._line_piece()
        while not piece.endswith(b"\n"):
            piece = self._line_piece()
            self.tick()
        return kept.rstrip(b"\n")[:keep]

    def skip(self, count: int) -> None:
        if self._size is not None:
            if count > self._size - self.position:
                raise self._truncated()
            self._stream.seek(count, io.SEEK_CUR)
            self.position += count
            return
        while count:
            piece = self._checked(self._stream.read, min(count, _CHUNK))
            if not piece:
                raise self._truncated()
            count -= len(piece)
            self.tick()

    def tick(self) -> None:
        """Raises `OutOfBudget` when the time is used up; to be called now and then."""
        if time.monotonic() > self._deadline:
            raise OutOfBudget

    def _line_piece(self) -> bytes:
        piece = self._checked(self._stream.readline, _LINE)
        if not piece:
            raise self._truncated()
        return piece

    def _checked(self, take: Callable[[int], bytes], count: int) -> bytes:
        try:
            data = take(count)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, RuntimeError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk, not the file's content
            raise Damaged(
                f"its compressed bytes are damaged near byte {self.position} of the content ({error})"
            ) from None
        self.position += len(data)
        if self._limit is not None and self.position > self._limit:
            raise Damaged(f"it grows to more than {self._limit / 2**30:.0f} GB when decompressed")
        return data

    def _truncated(self) -> Damaged:
        return Damaged(f"it is cut off: more bytes should follow after byte {self.position}")


def compressor_of(start: bytes) -> str | None:
    """The name of the compressor whose mark `start` begins with, or None."""
    for name, mark in COMPRESSORS:
        if start.startswith(mark):
            return name
    return None


def open_source(path: Path, file: BinaryIO, compressor: str | None, seconds: float) -> ByteSource:
    """A source over `file` (open, at its first byte).

    Raises:
        NoDecompressor: lz4 is not installed.
    """
    size = path.stat().st_size
    if compressor is None:
        return ByteSource(file, size=size, limit=None, seconds=seconds)
    limit = max(_LEAST_LIMIT, _MOST_RATIO * size)
    return ByteSource(_decompressing(file, compressor), size=None, limit=limit, seconds=seconds)


def _decompressing(file: BinaryIO, compressor: str) -> IO[bytes]:
    match compressor:
        case "gzip":
            return io.BufferedReader(gzip.GzipFile(fileobj=file, mode="rb"), _CHUNK)
        case "bz2":
            return bz2.BZ2File(file)
        case "xz" | "lzma":
            form = lzma.FORMAT_XZ if compressor == "xz" else lzma.FORMAT_ALONE
            return io.BufferedReader(_Inflating(file, lzma.LZMADecompressor(form, memlimit=_LZMA_MEMORY)), _CHUNK)
        case "lz4":
            try:
                frame = importlib.import_module("lz4.frame")
            except ImportError:
                raise NoDecompressor("lz4") from None
            stream: IO[bytes] = frame.LZ4FrameFile(file)
            return stream
        case "zfile":
            file.read(_ZFILE_HEADER)
            if file.read(1) != b" ":  # Python 2 wrote one more character
                file.seek(_ZFILE_HEADER)
    return io.BufferedReader(_Inflating(file, _Zlib()), _CHUNK)


class _Zlib:
    """zlib's decompressor in the shape of those of bz2 and lzma."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj()

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflater.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflater.decompress(self._inflater.unconsumed_tail + data, max_length)


class _Inflating(io.RawIOBase):
    """A stream through a decompressor whose memory is bounded, unlike that of `lzma.LZMAFile`."""

    def __init__(self, file: BinaryIO, decompressor: Any) -> None:
        self._file = file
        self._decompressor = decompressor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        while not self._decompressor.eof:
            data = self._file.read(_CHUNK // 16) if self._decompressor.needs_input else b""
            asked = self._decompressor.needs_input
            piece: bytes = self._decompressor.decompress(data, len(view))
            if piece:
                view[: len(piece)] = piece
                return len(piece)
            if asked and not data:
                raise EOFError("it ends too early")
        return 0
