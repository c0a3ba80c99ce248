"""Client of the protocol in `calls`: one `fitserve rpc` process for each calling process."""

import atexit
import json
import os
import sys
import threading

import azureml.exceptions
from azureml._fitserve.calls import RPC_VARIABLE, decode, encode, short_name
from azureml._fitserve.wire import RUN_DIR_VARIABLE

# Variables of the caller's Python, not of fitserve's.
_THEIRS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "LD_PRELOAD")
_CLOSE_S = 5

_connections = {}  # by pid: a forked process must not share its parent's pipes
_lock = threading.RLock()


def call(op, **args):
    """Call an operation of fitserve; its output is printed here.

    Raises:
        AzureMLException: the subclass that fitserve names, with its message.
    """
    with _lock:
        connection = _connections.get(os.getpid())
        if connection is None or not connection.alive:
            connection = _connections[os.getpid()] = Connection()
        try:
            return connection.ask(op, args)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            connection.close()  # otherwise the next call would read this call's answer
            raise


class Connection(object):
    """A connection to an own `fitserve rpc` process or, inside a run, to one that its launcher starts."""

    def __init__(self):
        folder = os.environ.get(RUN_DIR_VARIABLE)
        self._process = None
        self._in, self._out = self._start() if folder is None else _connected(folder)
        self.alive = True

    def _start(self):
        """Start the process; it inherits standard error."""
        import subprocess  # late: start-up time of scripts inside runs, which do not need it

        environment = {key: value for key, value in os.environ.items() if key not in _THEIRS}
        try:
            self._process = subprocess.Popen(
                _command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C goes to the caller only, who then closes the pipe
            )
        except OSError as error:
            raise azureml.exceptions.RunEnvironmentException("fitserve cannot be started: {}".format(error)) from None
        return self._process.stdin, self._process.stdout

    def ask(self, op, args):
        try:
            self._in.write(encode({"op": op, "args": args}))
            self._in.flush()
            while True:
                message = decode(self._out.readline())
                if "print" in message:
                    _show(message["print"])
                else:
                    break
        except (OSError, ValueError) as error:
            self.close()
            raise azureml.exceptions.AzureMLException(
                "fitserve exited before answering {} ({})".format(op, error)
            ) from None
        if "error" in message:
            raise _exception(message)
        return message.get("value")

    def close(self):
        """Also called at exit. A call in progress is aborted, as if the caller had been killed."""
        self.alive = False
        for stream in (self._in, self._out):
            try:
                stream.close()
            except OSError:
                pass  # unsent data has no reader any more
        if self._process is None:
            return
        try:
            self._process.wait(_CLOSE_S)
        except Exception:
            self._process.kill()
            self._process.wait()


def _connected(folder):
    """Write and read streams of a connection to the launcher of the run that this process belongs to."""
    import socket  # late: start-up time of scripts that only log

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_name(folder) as name:
            connection.connect(name)
    except OSError as error:
        connection.close()
        raise azureml.exceptions.RunEnvironmentException(
            "the launcher of this run cannot be reached: {}".format(error)
        ) from None
    streams = connection.makefile("wb"), connection.makefile("rb")
    connection.close()  # takes effect when both streams are closed
    return streams


def _command():
    text = os.environ.get(RPC_VARIABLE)
    if not text:
        raise azureml.exceptions.RunEnvironmentException(
            "this program was not started by fitserve: start it with `fitserve exec python {}`, or a notebook with "
            "`fitserve notebook`".format(os.path.basename(sys.argv[0] or "client.py"))
        )
    return json.loads(text)


def _exception(message):
    """The `azureml` exception for an error reply. Its `fitserve_error` is the name of fitserve's own class."""
    kind = getattr(azureml.exceptions, str(message.get("raises")), azureml.exceptions.AzureMLException)
    error = kind(message["error"])
    error.fitserve_error = message.get("type")
    return error


def _show(text):
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


@atexit.register
def _close_all():
    connection = _connections.pop(os.getpid(), None)
    if connection is not None and connection.alive:
        connection.close()
