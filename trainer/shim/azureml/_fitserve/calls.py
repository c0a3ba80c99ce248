"""The wire between the shim and `fitserve rpc`, both ends: JSON lines over the standard streams of that process.

Outside of a run the shim starts that process. Inside of one the run's launcher does, for each process that connects to the
socket `SOCKET_NAME` in the run's folder (`trainer.broker`).

Client → fitserve, one at a time: ``{"op": name, "args": {…}}``. fitserve → client, any number of the first, then one of the
others:

======================================================  =========================================================
``{"print": text}``                                     for the client's standard output, as it is
``{"value": …}``                                        the answer
``{"error": sentence, "type": …, "raises": …}``         ``type`` is fitserve's class, ``raises`` one of `azureml.exceptions`
======================================================  =========================================================

Values only: what is called is a name in a table on fitserve's side, and nothing here is ever a pickle. The client ends the
connection by closing its end; fitserve ends with it.

This file is imported by fitserve too, hence it is typed. Python 3.6, standard library.
"""

import contextlib
import json
import os
from typing import Any, Dict, Iterator

Message = Dict[str, Any]

RPC_VARIABLE = "FITSERVE_RPC"  # the command of `fitserve rpc`, as a JSON list

SOCKET_NAME = "rpc.sock"


@contextlib.contextmanager
def short_name(folder: str) -> Iterator[str]:
    """A name of the socket in a run's folder; the folder's own may be longer than the 107 bytes that a socket's can have."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        short = "/proc/self/fd/{}".format(descriptor)
        yield os.path.join(short if os.path.isdir(short) else folder, SOCKET_NAME)
    finally:
        os.close(descriptor)


def encode(message: Message) -> bytes:
    """One line. Raises TypeError for a value that JSON does not have."""
    return (json.dumps(message) + "\n").encode("utf-8")


def decode(line: bytes) -> Message:
    """Raises ValueError: it is not a JSON object, or was cut off."""
    if not line.endswith(b"\n"):
        raise ValueError("the line is cut off")
    message = json.loads(line.decode("utf-8"))
    if not isinstance(message, dict):
        raise ValueError("the line is not a JSON object")
    return message
