"""The nursery: a Python with numpy and scikit-learn imported that forks scoring children on request.

Runs inside the models' own Python (3.6 and later) as ``python -I nursery.py --control-fd N --supervisor-pid P``. Its rules:
numeric libraries have one thread here, so exactly one thread exists at each fork; it never unpickles, fits or predicts; its
children are the supervisor's by a double fork, so that its own death takes none along.

On the control socket (SOCK_SEQPACKET, one JSON object per message) it says ``{"event": "ready", ...}`` and takes
``{"op": "fork", "id": n, "imports": [modules]}`` with two descriptors, the child's control socket and its log; it answers
``{"event": "forked", "id": n, "pid": p, "threads": 1}`` or ``{"event": "refused", "id": n, "reason": sentence}``.
"""

import os
import sys

# Before anything numeric is imported: afterwards it is too late, and a pool's threads do not survive a fork.
for _name in (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
):
    os.environ[_name] = "1"
sys.dont_write_bytecode = True

import array
import gc
import importlib
import importlib.util
import json
import select
import socket
import struct
from typing import Any, Dict, List, Optional, Tuple

#: Imported before the nursery says that it is ready; the rest while it has nothing to do.
FIRST = (
    "numpy",
    "joblib",
    "sklearn",
    "sklearn.base",
    "sklearn.utils",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "threadpoolctl",
)
IDLE = (
    "sklearn.svm",
    "sklearn.linear_model",
    "sklearn.ensemble",
    "sklearn.tree",
    "pandas",
    "sklearn.compose",
    "sklearn.impute",
    "sklearn.neighbors",
    "sklearn.feature_extraction.text",
    "sklearn.decomposition",
    "sklearn.cluster",
    "sklearn.naive_bayes",
    "sklearn.model_selection",
    "sklearn.neural_network",
    "sklearn.multiclass",
    "sklearn.multioutput",
    "sklearn.calibration",
    "sklearn.discriminant_analysis",
    "sklearn.feature_selection",
    "sklearn.gaussian_process",
    "sklearn.mixture",
)
#: What a request may ask to have imported: code of models never runs here.
ROOTS = ("numpy", "scipy", "sklearn", "joblib", "pandas")


def load_child() -> Any:
    """child.py, which lies beside this file."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")
    spec = importlib.util.spec_from_file_location("fitserve_child", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["fitserve_child"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.prepare()
    return module


class Nursery(object):
    def __init__(self, control: socket.socket, supervisor: int) -> None:
        self.control, self.supervisor = control, supervisor
        self.child = load_child()
        self.later = list(IDLE)
        self.frozen = False

    def run(self) -> None:
        """Called in the nursery; ends when the supervisor closes the socket."""
        for name in FIRST:
            self.bring(name)
        self.say(event="ready", pid=os.getpid(), python="%d.%d.%d" % sys.version_info[:3], **self.versions())
        while True:
            wait = 0 if self.later else None
            if not select.select([self.control], [], [], wait)[0]:
                self.bring(self.later.pop(0))
                continue
            message, descriptors = self.receive()
            if message is None:
                return
            try:
                self.say(**self.obey(message, descriptors))
            finally:
                for fd in descriptors:
                    os.close(fd)

    def obey(self, message: "Dict[str, Any]", descriptors: "List[int]") -> "Dict[str, Any]":
        number = message.get("id")
        if message.get("op") != "fork" or len(descriptors) != 2:
            return {"event": "refused", "id": number, "reason": "a fork needs two descriptors"}
        for name in message.get("imports") or ():
            if str(name).split(".")[0] in ROOTS:
                self.bring(str(name))
        threads = self.child.thread_count()
        if threads != 1:
            reason = "the nursery has {} threads: one of its libraries started some at import".format(threads)
            return {"event": "refused", "id": number, "reason": reason}
        if not self.frozen:
            self.child.freeze()  # so that the children's collector leaves the shared pages alone
            self.frozen = True
        try:
            pid = self.fork(*descriptors)
        except OSError as error:
            return {"event": "refused", "id": number, "reason": "no process could be forked: {}".format(error.strerror)}
        return {"event": "forked", "id": number, "pid": pid, "threads": threads}

    def bring(self, name: str) -> None:
        """Import a module where it exists; another version of scikit-learn has others."""
        if name in sys.modules:
            return
        try:
            importlib.import_module(name)
            self.frozen = False
        except Exception as error:
            sys.stderr.write("{} is not imported: {}: {}\n".format(name, type(error).__name__, error))

    def fork(self, control_fd: int, log_fd: int) -> int:
        """Pid of a new grandchild. Raises OSError when the machine gives no process."""
        reading, writing = os.pipe()
        try:
            between = os.fork()
            if between == 0:
                self.in_between(control_fd, log_fd, writing)
            os.close(writing)
            writing = -1
            answer = os.read(reading, 8)
            os.waitpid(between, 0)
        finally:
            os.close(reading)
            if writing >= 0:
                os.close(writing)
        pid, problem = struct.unpack("<ii", answer) if len(answer) == 8 else (-1, 11)
        if pid < 0:
            raise OSError(problem, os.strerror(problem))
        return int(pid)

    def in_between(self, control_fd: int, log_fd: int, writing: int) -> None:
        """Called in the process between; it ends at once, and the supervisor adopts its child."""
        try:
            pid = os.fork()
        except OSError as error:
            os.write(writing, struct.pack("<ii", -1, error.errno or 11))
            os._exit(1)
        if pid:
            os.write(writing, struct.pack("<ii", pid, 0))
            os._exit(0)
        try:
            self.in_child(control_fd, log_fd)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)

    def in_child(self, control_fd: int, log_fd: int) -> None:
        """Called in the scoring child."""
        self.child.settle(log_fd)
        close_all_but(control_fd)
        self.child.die_with(self.supervisor)
        _reseed()
        gc.enable()
        self.child.run_child(control_fd)

    def receive(self) -> "Tuple[Optional[Dict[str, Any]], List[int]]":
        data, ancillary, _, _ = self.control.recvmsg(65536, socket.CMSG_SPACE(16))
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        for fd in descriptors:
            os.set_inheritable(fd, False)
        return (json.loads(data.decode("utf-8")) if data else None), list(descriptors)

    def say(self, **event: Any) -> None:
        try:
            self.control.sendall(json.dumps(event).encode("ascii"))
        except OSError:
            os._exit(0)  # the supervisor has gone

    def versions(self) -> "Dict[str, Optional[str]]":
        return {name: getattr(sys.modules.get(name), "__version__", None) for name in ("sklearn", "numpy", "joblib")}


def close_all_but(kept: int) -> None:
    """Close what a child would inherit: the nursery's sockets, and whatever libraries left open."""
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        if fd > 2 and fd != kept:
            try:
                os.close(fd)
            except OSError:
                pass  # the descriptor of the listing itself


def _reseed() -> None:
    """Children must not share one stream of random numbers."""
    import random

    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def main(arguments: "List[str]") -> None:
    options = dict(zip(arguments[::2], arguments[1::2]))
    supervisor = int(options["--supervisor-pid"])
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, int(options["--control-fd"]))
    os.set_inheritable(control.fileno(), False)
    control.setblocking(True)
    gc.disable()
    nursery = Nursery(control, supervisor)
    nursery.child.die_with(supervisor)
    nursery.run()


if __name__ == "__main__":
    main(sys.argv[1:])
