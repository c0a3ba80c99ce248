"""A scoring child of a few lines, for tests and benchmarks of the HTTP process: the real wire, any model, no limits.

Run as ``python -m tests.gateway.dataplane.stub_child SOCKET MODEL``: `MODEL` is a joblib file, or ``double`` for the arithmetic model
below, which obeys a few words so that every way to fail can be had on demand.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.worker import wire

POISON = 666.0  # a row that holds it kills the child by SIGKILL
REFUSED = 13.0  # ValueError: the caller's fault
BROKEN = 14.0  # RuntimeError: the model's fault
HUNGRY = 15.0  # MemoryError, then exit 137
SLOW = 16.0  # 0.2 s of computing
STUCK = 17.0  # for ever


class Double:
    """``predict`` gives 2x + column number, (n, columns); ``transform`` a single scalar row whatever comes in."""

    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        flat = rows.ravel()
        if (flat == POISON).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (flat == REFUSED).any():
            raise ValueError("I refuse 13")
        if (flat == BROKEN).any():
            raise RuntimeError("secret /etc/passwd detail")
        if (flat == HUNGRY).any():
            raise MemoryError
        if (flat == SLOW).any():
            time.sleep(0.2)
        if (flat == STUCK).any():
            time.sleep(3600)
        return np.asarray(2 * rows + np.arange(rows.shape[1]))

    def transform(self, rows: NDArray[Any]) -> NDArray[Any]:
        return np.array([rows.sum()])

    def kneighbors(self, rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        return rows * 3, np.arange(len(rows)) * 0 + rows.shape[1]


def answer(model: Any, header: dict[str, Any], body: Any) -> tuple[list[Any], bool]:
    """The parts of the answering frame, and whether the child ends after it."""
    if header.get("op") == "ping":
        return wire.encode_frame({"id": header["id"], "ok": True}), False
    started = time.perf_counter_ns()
    try:
        sent = header["input"]
        rows = wire.arrays_from(sent["array"], body) if sent["kind"] == "array" else sent["values"]
        output = getattr(model, header["method"])(rows)
    except MemoryError:
        return _error(header["id"], "memory", MemoryError()), True
    except (ValueError, TypeError) as error:
        return _error(header["id"], "input", error), False
    except Exception as error:
        return _error(header["id"], "model", error), False
    out = wire.Body()
    spec = {"tuple": [out.add(part) for part in output]} if isinstance(output, tuple) else out.add(output)
    reply = {"id": header["id"], "ok": True, "output": spec, "exec_ns": time.perf_counter_ns() - started}
    return wire.encode_frame(reply, out.arrays), False


def _error(number: int, kind: str, error: Exception) -> list[Any]:
    told = {"kind": kind, "type": type(error).__name__, "message": str(error)}
    return wire.encode_frame({"id": number, "ok": False, "error": told})


def main(path: str, model_file: str) -> None:
    model: Any = Double()
    if model_file != "double":
        import joblib

        model = joblib.load(model_file)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(64)
    print(json.dumps({"listening": True}), flush=True)
    readers: dict[socket.socket, wire.FrameReader] = {}
    while True:
        ready, _, _ = select.select([listening, *readers], [], [])
        for sock in ready:
            if sock is listening:
                readers[listening.accept()[0]] = wire.FrameReader()
                continue
            reader = readers[sock]
            nbytes = 0
            with contextlib.suppress(OSError):
                nbytes = sock.recv_into(reader.get_buffer())
            if not nbytes:
                del readers[sock]
                sock.close()
                continue
            for header, body in reader.buffer_updated(nbytes):
                parts, ends = answer(model, header, body)
                with contextlib.suppress(OSError):
                    sock.sendall(b"".join(bytes(part) for part in parts))
                if ends:
                    os._exit(137)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
