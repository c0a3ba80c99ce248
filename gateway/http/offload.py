"""A second process for bodies and answers that take long to read or write: meanwhile the loop of the HTTP process answers others.

Both ends are here. The desk (``python -m gateway.http.offload --fd N``) is started by the first large body, works on one after the
other, and ends with its HTTP process. It keeps what the dialect wants to find again until the answer is formatted. What travels are frames
of `gateway.worker.wire`, read from the socket straight into their place: the body as it came, then a request as the scoring child
wants it, which the HTTP process passes on without a look inside, and the child's answer in the same way. When the desk dies its work
is done in the HTTP process, as that of small bodies always is.

Sockets, not shared memory: copying 4 MB through one takes 0.7 ms, fresh pages of a memfd 4 ms.
"""

import argparse
import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

import numpy as np
import orjson

from gateway.dataplane.collate import join
from gateway.dataplane.connection import RawResult, described, described_inputs, output_of
from gateway.http.compression import decompressed
from gateway.http.logging import set_up
from gateway.http.malloc import keep_freed_memory
from gateway.http.responses import failed_answer
from gateway.http.targets import target_of
from gateway.ipc.routing_table import VersionEntry
from gateway.ipc.writer import READ, BackpressuredWriter
from gateway.protocols import dialects
from gateway.protocols.matrices import MatrixReader
from gateway.types import (
    Answer,
    ArrayInput,
    Call,
    DescribedInput,
    Dialect,
    FrameResult,
    Output,
    ScoreRequest,
    ScoreResult,
    Target,
)
from gateway.worker import wire
from gateway.worker.process_setup import die_with
from registry.records import Json

BINARY: Final = b"inference-header-content-length"  # says that a body is not all JSON
_NICE: Final = 5  # where processors are few, small requests go first
_MOST_KEPT: Final = 10_000  # requests that are parsed and not yet formatted
SILENT_S: Final = 60.0  # the largest body takes seconds
_SNDBUF: Final = 1 << 18  # bytes that are copied in one go, while the loop waits

log = logging.getLogger("fitserve.http")

#: Status, body and headers of an answer that is none.


class Refused(Exception):
    """The desk refused the request; the answer is ready."""

    def __init__(self, status: int, body: bytes | memoryview, headers: list[tuple[bytes, bytes]]) -> None:
        super().__init__(f"refused with {status}")
        self.status, self.body, self.headers = status, body, headers


class OffloadGone(Exception):
    """It died, or could not be started."""


# ---------------------------------------------------------------- called in the HTTP process


@dataclass(slots=True)
class OffloadHandle:
    """A request whose dialect's part lies in the desk."""

    number: int
    request: ScoreRequest


class OffloadClient(asyncio.BufferedProtocol):
    """The HTTP process's end. Starts its process when it is first needed, and anew when it has died."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._outlet: BackpressuredWriter | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = wire.FrameReader()
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Any], Any]]] = {}
        self._number = 0
        self._owed = 0  # answers that it still owes, also to callers that have given up
        self._heard = 0.0  # when it answered last, or was asked with nothing else to do; the loop's time
        self._starting = asyncio.Lock()

    async def parse(self, dialect: str, call: Call, entry: VersionEntry, limit: int) -> OffloadHandle:
        """
        Args:
            limit: bytes of a body that is still compressed.

        Raises:
            Refused: the caller's fault, with the answer.
            DeskGone: parse it here.
        """
        body = wire.Body()
        head = {"op": "parse", **_described_call(dialect, call, entry, body)}
        if call.encoding is not None:
            head |= {"encoding": call.encoding.decode("latin-1"), "limit": limit}
        number, header, data = await self._ask(head, body.arrays)
        if not header["ok"]:
            raise _refusal(header, data)
        text = _bytes_of(header["input"], data)
        inputs = DescribedInput(text, memoryview(data)[: header["input"]["offset"]])
        facts = header["method"], inputs, header["n_rows"], header["nbytes"], None
        return OffloadHandle(number, ScoreRequest(*facts, checked=header["checked"], once=header["once"]))

    async def format(self, ticket: OffloadHandle, result: ScoreResult) -> memoryview | Answer:
        """As `parse`; afterwards the ticket is used up."""
        body = wire.Body()
        head = {"op": "format", "ticket": ticket.number, **_described_result(result, body)}
        ticket.number = 0
        return _answer_of(*(await self._ask(head, body.arrays))[1:])

    async def write(self, dialect: str, call: Call, entry: VersionEntry, result: ScoreResult) -> memoryview | Answer:
        """The answer to a small request that was parsed elsewhere: `call` is parsed again. As `parse`."""
        body = wire.Body()
        head = {"op": "write", **_described_result(result, body), **_described_call(dialect, call, entry, body)}
        return _answer_of(*(await self._ask(head, body.arrays))[1:])

    def drop(self, ticket: OffloadHandle) -> None:
        """The answer is not wanted any more."""
        if ticket.number and self._transport is not None:
            self._send({"op": "drop", "ticket": ticket.number}, [])

    def check_alive(self, now: float) -> None:
        """Called now and then: end a process that does not answer. Its work is done here then, and by the next one."""
        if self._owed and now - self._heard > SILENT_S and self._process is not None:
            log.error("the desk has said nothing for %g s and is ended", SILENT_S)
            self._process.kill()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def _ask(self, head: dict[str, Any], arrays: list[Any]) -> tuple[int, dict[str, Any], Any]:
        async with self._starting:
            if self._transport is None:
                await self._start()
        self._number += 1
        number = self._number
        future: asyncio.Future[tuple[dict[str, Any], Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        if not self._owed:
            self._heard = asyncio.get_running_loop().time()
        self._owed += 1
        try:
            self._send({"id": number, **head}, arrays)
            header, body = await future
        except asyncio.CancelledError:
            if head["op"] == "parse" and self._transport is not None:
                self._send({"op": "drop", "ticket": number}, [])
            raise
        finally:
            self._waiting.pop(number, None)
        return number, header, body

    def _send(self, head: dict[str, Any], arrays: list[Any]) -> None:
        assert self._outlet is not None
        self._outlet.write(wire.encode_frame(head, arrays))

    async def _start(self) -> None:
        """Called in the HTTP process's main thread, whose life the desk's depends on."""
        if self._process is not None:
            self._process.wait()  # it was killed
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SNDBUF)
            command = [
                sys.executable,
                "-P",
                "-m",
                "gateway.http.offload",
                "--fd",
                str(theirs.fileno()),
                "--parent",
                str(os.getpid()),
            ]
            try:
                self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
            except OSError as error:
                ours.close()
                raise OffloadGone(str(error)) from None
        ours.setblocking(False)
        self._reader = wire.FrameReader()
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)

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
        for header, body in self._reader.buffer_updated(nbytes):
            self._owed -= 1
            self._heard = asyncio.get_running_loop().time()
            future = self._waiting.get(header["id"])
            if future is not None and not future.done():
                future.set_result((header, body))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = self._outlet = None
        self._owed = 0
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(OffloadGone("its process ended"))


def _answer_of(header: Mapping[str, Any], body: Any) -> memoryview | Answer:
    if not header["ok"]:
        raise _refusal(header, body) if "status" in header else OffloadGone("it knows nothing of this request")
    content = _bytes_of(header["content"], body)
    if "content_type" not in header:
        return content
    return Answer(content, header["content_type"], tuple((k, v) for k, v in header["headers"]), header["status"])


def _refusal(header: Mapping[str, Any], body: Any) -> Refused:
    headers = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in header["headers"]]
    return Refused(header["status"], _bytes_of(header["content"], body), headers)


def _described_call(dialect: str, call: Call, entry: VersionEntry, body: wire.Body) -> dict[str, Any]:
    return {
        "dialect": dialect,
        "headers": [[key.decode("latin-1"), value.decode("latin-1")] for key, value in call.headers.items()],
        "query": call.query.decode("latin-1"),
        "method": call.method,
        "verb": call.verb,
        "entry": body.add(np.frombuffer(_encoded(entry), np.uint8)),
        "content": body.add(np.frombuffer(call.body, np.uint8)),
    }


def _described_result(result: ScoreResult, body: wire.Body) -> dict[str, Any]:
    """Comes first in a frame: what a child sent keeps its places."""
    frame = result.frame
    if isinstance(frame, RawResult) and result.stop < 0:
        body.add(np.frombuffer(frame.body, np.uint8))
        return {"output": frame.described, "exec_ns": frame.exec_ns}
    return {"output": described(result.output, body), "exec_ns": frame.exec_ns}


_entries: "OrderedDict[int, tuple[VersionEntry, bytes]]" = OrderedDict()


def _encoded(entry: VersionEntry) -> bytes:
    """What of `entry` a dialect needs; the same bytes as long as the entry is the same."""
    known = _entries.get(id(entry))
    if known is None or known[0] is not entry:
        data = {**entry.to_json(), "children": [], "last_death": None}
        known = _entries[id(entry)] = (entry, orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS))
        while len(_entries) > 64:
            _entries.popitem(last=False)
    return known[1]


def _bytes_of(place: Mapping[str, Any], body: Any) -> memoryview:
    """What lies at a place that `wire.Body.add` described: called on both sides, and not copied."""
    return memoryview(body)[place["offset"] : place["offset"] + place["nbytes"]]


# ---------------------------------------------------------------- called in the desk, from here to the end


class OffloadServer:
    """Parses and formats what comes over the socket, one after the other."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._dialects = {dialect.name: dialect for dialect in dialects()}
        self._kept: OrderedDict[int, tuple[Dialect, ScoreRequest, Target]] = OrderedDict()
        self._matrices = MatrixReader()

    def run(self) -> None:
        """Until the HTTP process closes its end."""
        reader = wire.FrameReader()
        while count := self._sock.recv_into(reader.get_buffer()):
            for header, body in reader.buffer_updated(count):
                for part in self._answer(header, body):
                    self._sock.sendall(part)

    def _answer(self, header: dict[str, Any], body: Any) -> list[Any]:
        if header["op"] == "drop":
            self._kept.pop(header["ticket"], None)
            return []
        if header["op"] == "format":
            return self._format(header, body)
        dialect = self._dialects[header["dialect"]]
        try:
            target = _target(bytes(_bytes_of(header["entry"], body)))
            request = self._request(header, body, dialect, target)
            if header["op"] == "write":
                return self._written(header, body, dialect, request, target)
            out = wire.Body()
            inputs = join([request])
            assert inputs is not None, "a lone request is always joined"
            text = json.dumps(described_inputs(inputs, out), separators=(",", ":")).encode("ascii")  # NaN stays NaN
        except Exception as error:
            return self._refuse(header["id"], dialect, error)
        self._kept[header["id"]] = (dialect, request, target)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        request.inputs = ArrayInput(np.empty(0))  # not needed to format
        head = {"id": header["id"], "ok": True, "method": request.method, "n_rows": request.n_rows}
        head |= {"nbytes": request.nbytes, "checked": request.checked, "once": request.once}
        return wire.encode_frame({**head, "input": out.add(np.frombuffer(text, np.uint8))}, out.arrays)

    def _request(self, header: dict[str, Any], body: Any, dialect: Dialect, target: Target) -> ScoreRequest:
        headers = {key.encode("latin-1"): value.encode("latin-1") for key, value in header["headers"]}
        content: bytes | memoryview = _bytes_of(header["content"], body)
        if "encoding" in header:
            content = decompressed(content, header["encoding"].encode("latin-1"), header["limit"])
        call = Call(content, headers, header["query"].encode("latin-1"), header["method"], header["verb"])
        if BINARY not in headers:
            call.json = self._matrices.read(content)
        if call.json is not None:
            try:
                return dialect.parse(call, target)
            except Exception:  # arrays do not fit, or the caller is at fault: lists say what it is
                call.json = None
        return dialect.parse(call, target)

    def _format(self, header: dict[str, Any], body: Any) -> list[Any]:
        kept = self._kept.pop(header["ticket"], None)
        if kept is None:
            return wire.encode_frame({"id": header["id"], "ok": False})
        dialect, request, target = kept
        try:
            return self._written(header, body, dialect, request, target)
        except Exception as error:
            return self._refuse(header["id"], dialect, error)

    def _written(
        self, header: dict[str, Any], body: Any, dialect: Dialect, request: ScoreRequest, target: Target
    ) -> list[Any]:
        output: Output = output_of(wire.arrays_from(header["output"], body))
        answer = dialect.format(request, ScoreResult(FrameResult(output, header["exec_ns"]), 0, -1), target)
        head: dict[str, Json] = {"id": header["id"], "ok": True}
        if not isinstance(answer, Answer):
            return _with_bytes(head, answer)
        head |= {"content_type": answer.content_type, "headers": list(answer.headers), "status": answer.status}
        return _with_bytes(head, answer.body)

    def _refuse(self, number: int, dialect: Dialect, error: Exception) -> list[Any]:
        status, body, headers = failed_answer(dialect, error)
        told = [[key.decode("latin-1"), value.decode("latin-1")] for key, value in headers]
        return _with_bytes({"id": number, "ok": False, "status": status, "headers": told}, body)


def _with_bytes(head: dict[str, Json], content: bytes | memoryview) -> list[Any]:
    body = wire.Body()
    return wire.encode_frame({**head, "content": body.add(np.frombuffer(content, np.uint8))}, body.arrays)


@lru_cache(maxsize=64)
def _target(entry: bytes) -> Target:
    return target_of(VersionEntry.from_json(orjson.loads(entry)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="gateway.http.offload")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args()
    die_with(options.parent)
    keep_freed_memory()
    os.nice(_NICE)
    set_up("warning")
    OffloadServer(socket.socket(fileno=options.fd)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
