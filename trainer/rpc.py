"""The server's end of the shim's calls: JSON lines in, JSON lines out, one call at a time, until the client goes.

Which operations there are is given by whoever starts it: `gateway.cli.rpc` puts the trainer's and the gateway's together.
The wire itself is described in `trainer.shim.azureml._fitserve.calls`.
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

#: Error class → name in `azureml.exceptions`; the nearest class counts.
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
    """Answers the calls that come in over `incoming`.

    Args:
        operations: name → function. It gets the open workspaces and the call's arguments by name, and gives a JSON value.
        raises: more of `RAISES`.
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
        """Until the client goes. When it does so during a call this process ends at once, as that call's caller has."""
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
            os._exit(0)  # nothing waits for the answer; all that is written is written whole or not at all
        self._calls.put(None)

    def _answer(self, workspaces: OpenWorkspaces, message: Message) -> Message:
        op = str(message.get("op"))
        operation = self._operations.get(op)
        try:
            if operation is None:
                raise errors.InvalidArgument("op", f"{op!r} is not an operation of this fitserve")
            value = operation(workspaces, **message.get("args", {}))
            encode({"value": value})  # a value that is not JSON is our defect, not the wire's
        except errors.FitserveError as error:
            return {"error": str(error), "type": type(error).__name__, "raises": self._name_of(error)}
        except Exception as error:
            log.exception("%s", op)
            sentence = f"fitserve itself failed in {op}: {type(error).__name__}: {error}"
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
    """A standard output whose text goes to the client."""

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send

    def write(self, text: str) -> int:
        if text:
            self._send(text)
        return len(text)

    def writable(self) -> bool:
        return True


def serve_standard_streams(operations: Mapping[str, Operation], raises: Raises) -> None:
    """Take the standard streams for the wire; what anything here prints goes to the client, or to standard error."""
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
        os._exit(0)  # the client has gone in the middle of an answer
    finally:
        sys.stdout = before
