"""RPC server for the shim: JSON lines in, JSON lines out, one call at a time, until the client disconnects.

The caller passes the operations: `gateway.cli.rpc` combines those of the trainer and of the gateway.
The protocol is described in `trainer.shim.azureml._fitserve.calls`.
"""

import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, BinaryIO, Final

from registry import errors
from registry.records import Json
from trainer import errors as ours
from trainer.open_workspaces import OpenWorkspaces
from trainer.shim.azureml._fitserve.calls import Message, decode, encode

log = logging.getLogger("fitserve.rpc")

Operation = Callable[..., Json]  # (workspaces, **args)
Raises = Mapping[type[Exception], str]

#: Error class → name in `azureml.exceptions`; the most specific class wins.
RAISES: Final[Raises] = {
    errors.FitserveError: "AzureMLException",
    errors.CallerError: "UserErrorException",
    errors.ModelNotFound: "ModelNotFoundException",
    errors.ModelPathNotFound: "ModelPathNotFoundException",
    errors.FrameworkMissing: "WebserviceException",
    errors.ModelInUse: "WebserviceException",
    errors.ServiceNotFound: "WebserviceException",
    errors.ServiceExists: "WebserviceException",
    errors.ArtifactError: "WebserviceException",
    errors.WorkspaceError: "WorkspaceException",
    errors.WorkspaceNotFound: "UserErrorException",
    errors.NoWorkspace: "WorkspaceException",
    errors.WorkspaceConfigError: "UserErrorException",
    errors.RunFailed: "ActivityFailedException",
    ours.SnapshotError: "SnapshotException",
    ours.LaunchFailed: "ExperimentExecutionException",
}


class Server:
    """Answers calls read from `incoming`.

    Args:
        operations: name → function that takes the open workspaces and the call's arguments by name, and returns a JSON value.
        raises: additions to `RAISES`.
    """

    def __init__(
        self, operations: Mapping[str, Operation], raises: Raises, incoming: BinaryIO, outgoing: BinaryIO
    ) -> None:
        self._operations = operations
        self._raises = {**RAISES, **raises}
        self._incoming, self._outgoing = incoming, outgoing
        self._calls: SimpleQueue[Message | None] = SimpleQueue()
        self._busy = threading.Event()

    def run(self) -> None:
        """Serve until the client disconnects. If it does so during a call, this process exits at once."""
        threading.Thread(target=self._read, name="rpc-reader", daemon=True).start()
        with OpenWorkspaces() as workspaces:
            while (message := self._calls.get()) is not None:
                self._busy.set()
                try:
                    self._send(self._answer(workspaces, message))
                finally:
                    self._busy.clear()

    def _read(self) -> None:
        while True:
            line = self._incoming.readline()
            if not line:
                break
            self._calls.put(decode(line))
        if self._busy.is_set():
            os._exit(0)  # nobody waits for the answer, and all writes are atomic
        self._calls.put(None)

    def _answer(self, workspaces: OpenWorkspaces, message: Message) -> Message:
        op = str(message.get("op"))
        operation = self._operations.get(op)
        try:
            if operation is None:
                raise errors.InvalidArgument("op", f"{op!r} is not an operation of this version of fitserve")
            value = operation(workspaces, **message.get("args", {}))
            encode({"value": value})  # a value that is not JSON is a defect of the operation, not of the client
        except errors.FitserveError as error:
            return {"error": str(error), "type": type(error).__name__, "raises": self._name_of(error)}
        except Exception as error:
            log.exception("%s", op)
            sentence = f"internal error of fitserve in {op}: {type(error).__name__}: {error}"
            return {"error": sentence, "type": type(error).__name__, "raises": "AzureMLException"}
        return {"value": value}

    def _name_of(self, error: Exception) -> str:
        return next(self._raises[cls] for cls in type(error).__mro__ if cls in self._raises)

    def _send(self, message: Message) -> None:
        self._outgoing.write(encode(message))
        self._outgoing.flush()

    def print(self, text: str) -> None:
        self._send({"print": text})


class Printed(io.TextIOBase):
    """A text stream that sends what is written to the client."""

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send

    def write(self, text: str) -> int:
        if text:
            self._send(text)
        return len(text)

    def writable(self) -> bool:
        return True


def serve_standard_streams(operations: Mapping[str, Operation], raises: Raises) -> None:
    """Use the standard streams for the protocol; printed text goes to the client, other output to standard error."""
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    server = Server(operations, raises, incoming, outgoing)
    before: Any = sys.stdout
    sys.stdout = Printed(server.print)
    try:
        server.run()
    except BrokenPipeError:
        os._exit(0)  # the client disconnected during an answer
    finally:
        sys.stdout = before
