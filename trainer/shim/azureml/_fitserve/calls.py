"""Protocol between the shim and `fitserve rpc`: JSON lines over the standard streams of that process.

Outside a run, the shim starts that process. Inside a run, the launcher does, for each process that connects to the socket
`SOCKET_NAME` in the run's folder (`trainer.broker`).

Client → fitserve, one at a time: ``{"op": name, "args": {…}}``. fitserve → client, any number of ``print`` messages, then one
of the others:

======================================================  =========================================================
``{"print": text}``                                     text for the client's standard output
``{"value": …}``                                        the result
``{"error": sentence, "type": …, "raises": …}``         ``type`` is fitserve's class, ``raises`` one of `azureml.exceptions`
======================================================  =========================================================

Only values are exchanged: operations are names in a table of fitserve's, and nothing is pickled. The client ends the
connection by closing its end; then fitserve's process exits.

fitserve imports this file too, so it is typed. Python 3.6, standard library.
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
    """A short path of the socket in a run's folder, since socket paths are limited to 107 bytes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        short = "/proc/self/fd/{}".format(descriptor)
        yield os.path.join(short if os.path.isdir(short) else folder, SOCKET_NAME)
    finally:
        os.close(descriptor)


def encode(message: Message) -> bytes:
    """Encode a message as one line. Raises TypeError for a value that JSON cannot represent."""
    return (json.dumps(message) + "\n").encode("utf-8")


def decode(line: bytes) -> Message:
    """Decode one line. Raises ValueError if it is incomplete or not a JSON object."""
    if not line.endswith(b"\n"):
        raise ValueError("the line is cut off")
    message = json.loads(line.decode("utf-8"))
    if not isinstance(message, dict):
        raise ValueError("the line is not a JSON object")
    return message
