"""Connections to scoring children: frames out, frames in. Both ends of the wire are defined in
`gateway.worker.wire`."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import numpy as np

from gateway.dataplane.collate import ReadyInputs
from gateway.dataplane.frame import Frame, Refusal
from gateway.ipc.writer import READ, BackpressuredWriter
from gateway.types import (
    ArrayInput,
    ColumnsInput,
    DescribedInput,
    FrameResult,
    Output,
    ScoreResult,
    Table,
)
from gateway.worker import wire

log = logging.getLogger("fitserve.http")

LARGE: Final = 250_000  # bytes of a request's or an answer's body: about 1.5 ms of reading or writing JSON

_UNREAD: Final = 8_192  # bytes; a larger answer is not decoded before it is needed

Answered = Callable[["ChildLink", Frame, FrameResult | Refusal], None]
Lost = Callable[["ChildLink", Sequence[Frame]], None]


class ChildLink(asyncio.BufferedProtocol):
    """One connection to one child. Each frame is reported once: answered, or lost with the connection.

    Answers must come in the order of the frames; the connection of a child that breaks this is dropped.
    """

    def __init__(
        self,
        child_id: int,
        on_answer: Answered,
        on_lost: Lost,
        largest: int = wire.MAX_BODY,
        note: wire.Note | None = None,
    ) -> None:
        self.id = child_id
        self._note = note
        self.frames: deque[Frame] = deque()
        self.answered_once = False
        self._on_answer, self._on_lost = on_answer, on_lost
        self._reader = wire.FrameReader(largest)
        self._transport: asyncio.Transport | None = None
        self._outlet: BackpressuredWriter | None = None
        self._closing = False

    @classmethod
    async def open(
        cls, child_id: int, socket_path: str, on_answer: Answered, on_lost: Lost, largest: int = wire.MAX_BODY
    ) -> "ChildLink":
        """`largest`: bytes of the largest answer. Raises OSError when the child does not listen any more; `on_lost` is
        not called then."""
        loop = asyncio.get_running_loop()
        note = wire.Note.read(socket_path)  # first: once this connection breaks, the child's files may be gone
        _, link = await loop.create_unix_connection(
            lambda: cls(child_id, on_answer, on_lost, largest, note), socket_path
        )
        return link

    @property
    def computed(self) -> int | None:
        return None if self._note is None else self._note.number

    def send(self, frame: Frame, method: str, inputs: ReadyInputs, checked: bool) -> None:
        """Never waits. When the child has just died, `on_lost` follows."""
        header: dict[str, Any] = {"id": frame.id, "method": method, "checked": checked}
        if isinstance(inputs, DescribedInput):
            parts = wire.encode_described(header, inputs.text, inputs.body)
        else:
            body = wire.Body()
            header["input"] = described_inputs(inputs, body)
            parts = wire.encode_frame(header, body.arrays)
        self.frames.append(frame)
        assert self._outlet is not None, "a lost link was used"
        self._outlet.write(parts)

    def close(self) -> None:
        """Drop the connection without a report; only called while no frame is outstanding."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection now; outstanding frames are lost."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._outlet = BackpressuredWriter(self._transport, asyncio.get_running_loop())

    def pause_writing(self) -> None:
        if self._outlet is not None:
            self._outlet.pause()

    def resume_writing(self) -> None:
        if self._outlet is not None:
            self._outlet.resume()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.get_buffer(sizehint)[:READ]

    def buffer_updated(self, nbytes: int) -> None:
        try:
            received = [_answer(header, body) for header, body in self._reader.buffer_updated(nbytes)]
        except wire.FrameTooLarge as error:
            log.error("a child's answer is larger than %d bytes; its connection is dropped", error.largest)
            if self.frames:
                self._on_answer(self, self.frames.popleft(), Refusal("large", "FrameTooLarge", str(error.largest)))
            self.abort()
            return
        except (wire.BrokenFrame, MemoryError, LookupError, TypeError, ValueError, AttributeError) as error:
            log.error("a child's answer could not be read (%s); its connection is dropped", type(error).__name__)
            self.abort()
            return
        for number, answer in received:
            if not self.frames or number != self.frames[0].id:
                log.error("a child answered a frame that was not sent; its connection is dropped")
                self.abort()
                return
            self._on_answer(self, self.frames.popleft(), answer)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = self._outlet = None
        frames, self.frames = list(self.frames), deque()
        if not self._closing or frames:
            self._on_lost(self, frames)
        self._note = None


def _answer(header: dict[str, Any], body: bytearray | memoryview) -> tuple[int, FrameResult | Refusal]:
    """Raises LookupError, TypeError, ValueError or AttributeError for an invalid answer: a model may send anything."""
    if header["ok"]:
        exec_ns = int(header["exec_ns"])
        if len(body) < _UNREAD:
            return header["id"], FrameResult(output_of(wire.arrays_from(header["output"], body)), exec_ns)
        raw = RawResult(header["output"], body, exec_ns)
        raw.output  # noqa: B018 - makes views now, so that an invalid answer fails here
        return header["id"], raw
    error = header["error"]
    return header["id"], Refusal(str(error["kind"]), str(error.get("type", "")), str(error.get("message", "")))


class RawResult(FrameResult):
    """An answer as received, a description and the bytes of its arrays. It is decoded on demand, since it may be
    passed on as it is."""

    __slots__ = ("_output", "body", "described")

    def __init__(self, described: dict[str, Any], body: bytearray | memoryview, exec_ns: int) -> None:
        self.described, self.body, self.exec_ns = described, body, exec_ns
        self._output: Output | None = None
        self._values = None

    @property
    def output(self) -> Output:  # type: ignore[override]
        if self._output is None:
            self._output = output_of(wire.arrays_from(self.described, self.body))
        return self._output


def is_large(result: ScoreResult) -> bool:
    """Whether one caller's part of an answer takes long to write."""
    frame = result.frame
    if type(frame) is not RawResult or len(frame.body) < LARGE:
        return False
    return result.stop < 0 or _size(result.output) >= LARGE


def _size(output: Output) -> int:
    if isinstance(output, list | tuple):
        return sum(map(_size, output))
    return output.array.nbytes if isinstance(output, Table) else output.nbytes


def described_inputs(inputs: ReadyInputs, body: wire.Body) -> dict[str, Any]:
    """The description of `inputs` for a header; their arrays go to `body`."""
    assert not isinstance(inputs, DescribedInput), "it is described already"
    if isinstance(inputs, ArrayInput):
        return {"kind": "array", "array": body.add(inputs.array)}
    if isinstance(inputs, ColumnsInput):
        columns = [body.add(column) for column in inputs.columns]
        return {"kind": "columns", "names": list(inputs.names), "columns": columns}
    return {"kind": "list", "values": inputs.values}


def described(output: Output, body: wire.Body) -> dict[str, Any]:
    """The description of an answer for a header; its arrays go to `body`."""
    if isinstance(output, np.ndarray):
        return body.add(output)
    if isinstance(output, Table):
        return {"columns": list(output.names), "array": body.add(output.array)}
    return {"tuple" if isinstance(output, tuple) else "list": [described(part, body) for part in output]}


def output_of(value: Any) -> Output:
    if isinstance(value, wire.Table):
        return Table(tuple(value.names), value.array)
    if isinstance(value, list):
        return [output_of(part) for part in value]
    if isinstance(value, tuple):
        return tuple(output_of(part) for part in value)
    return cast(Output, value)
