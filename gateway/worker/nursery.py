"""The nursery: a Python with numpy and scikit-learn imported that forks scoring children on request.

Runs inside the models' own Python (3.6 and later) as ``python -I nursery.py --control-fd N --supervisor-pid P``. Its rules:
numeric libraries have one thread here, so exactly one thread exists at each fork; it never unpickles, fits or predicts; its
children are the supervisor's by a double fork, so that its own death takes none along.

On the control socket (SOCK_SEQPACKET, one JSON object per message) it says ``{"event": "ready", ...}`` and takes
``{"op": "fork", "id": n, "imports": [modules]}`` with two descriptors, the child's control socket and its log; it answers
``{"event": "forked", "id": n, "pid": p}`` or ``{"event": "refused", "id": n, "reason": sentence}``. To
``{"op": "import", "id": n, "imports": [modules]}``, which has no descriptors, it answers ``{"event": "imported", "id": n}``: they are
there, and a child waits that has them.
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
# pandas imports pyarrow where that is installed, and pyarrow's allocator would start a thread.
os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"

import array
import errno
import gc
import importlib
import importlib.util
import json
import select
import socket
import struct
from typing import Any, Dict, List, Optional, Set, Tuple

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
QUIET_S = 0.2  # nobody asked for anything for so long: time for the next of these
#: What a request may ask to have imported: code of models never runs here.
ROOTS = ("numpy", "scipy", "sklearn", "joblib", "pandas")


def load_child() -> Any:
    """child.py, which lies beside this file, with all that it needs."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")
    spec = importlib.util.spec_from_file_location("fitserve_child_start", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["fitserve_child_start"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.prepare()
    return module


class ThreadsFound(Exception):
    """A fork would copy one of several threads, and the locks of all."""


class Spare(object):
    """A child that was forked ahead of its request and waits for its descriptors: forking takes longer than all the rest."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self.modules = frozenset(sys.modules)  # that it was born with
        self._sock = sock

    def give(self, descriptors: "List[int]") -> None:
        """Let it become a scoring child. Raises OSError when it has died."""
        rights = array.array("i", descriptors)
        with self._sock:
            self._sock.sendmsg([b"go"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    def drop(self) -> None:
        """It ends by itself when nobody holds the other end."""
        self._sock.close()


class Nursery(object):
    def __init__(self, control: socket.socket, supervisor: int) -> None:
        self.control, self.supervisor = control, supervisor
        self.child = load_child()
        self.care = self.child.sibling("process_setup")
        self.later = list(IDLE)
        self.tried: "Set[str]" = set()
        self.spare: "Optional[Spare]" = None
        self.wants_spare = True

    def run(self) -> None:
        """Called in the nursery; ends when the supervisor closes the socket."""
        for name in FIRST:
            self.bring(name)
        self.say(event="ready", pid=os.getpid(), python="%d.%d.%d" % sys.version_info[:3], **self.versions())
        while True:
            due = 0.0 if self.wants_spare and self.spare is None else QUIET_S
            if not select.select([self.control], [], [], due if self.later or not due else None)[0]:
                self.use_idle_time()
                continue
            message, descriptors = receive(self.control)
            if message is None:
                return
            try:
                self.say(**self.obey(json.loads(message.decode("utf-8")), descriptors))
            finally:
                for fd in descriptors:
                    os.close(fd)

    def use_idle_time(self) -> None:
        if self.spare is not None or not self.wants_spare:
            self.bring(self.later.pop(0))
            if not self.later:
                self.drop_spare()  # the next one has all of it
            return
        try:
            self.spare = self.fork()
        except (OSError, ThreadsFound) as error:
            self.wants_spare = False  # until somebody asks, who then hears why
            sys.stderr.write("no child was forked ahead: {}\n".format(error))

    def obey(self, message: "Dict[str, Any]", descriptors: "List[int]") -> "Dict[str, Any]":
        number = message.get("id")
        importing = message.get("op") == "import"
        if not importing and (message.get("op") != "fork" or len(descriptors) != 2):
            return {"event": "refused", "id": number, "reason": "a fork needs two descriptors"}
        for name in message.get("imports") or ():
            if str(name).split(".")[0] in ROOTS:
                self.bring(str(name))
                if self.spare is not None and name in sys.modules and name not in self.spare.modules:
                    self.drop_spare()
        if importing:
            if self.spare is None:
                self.use_idle_time()
            return {"event": "imported", "id": number}
        try:
            return {"event": "forked", "id": number, "pid": self.hand_out(descriptors)}
        except OSError as error:
            reason = "no process could be forked: {}".format(error.strerror)
            return {"event": "refused", "id": number, "reason": reason}
        except ThreadsFound as error:
            return {"event": "refused", "id": number, "reason": str(error)}

    def hand_out(self, descriptors: "List[int]") -> int:
        """Pid of a child that has got the descriptors. Raises OSError when there can be none."""
        self.wants_spare = True
        for spare in (self.spare, None):
            self.spare = None
            try:
                child = spare or self.fork()
                child.give(descriptors)
                return child.pid
            except (BrokenPipeError, ConnectionError):
                continue  # the spare one had died
        raise OSError(errno.ECHILD, "the new process ended at once")

    def bring(self, name: str) -> None:
        """Import a module where it exists; another version of scikit-learn has others."""
        if name in sys.modules or name in self.tried:
            return
        self.tried.add(name)
        try:
            importlib.import_module(name)
        except Exception as error:
            sys.stderr.write("{} is not imported: {}: {}\n".format(name, type(error).__name__, error))

    def drop_spare(self) -> None:
        if self.spare is not None:
            self.spare.drop()
            self.spare = None

    def fork(self) -> Spare:
        """A new grandchild that waits. Raises OSError when the machine gives no process, ThreadsFound when a fork is not safe."""
        threads = self.care.thread_count()
        if threads != 1:
            raise ThreadsFound(
                "the nursery has {} threads: one of its libraries started some at import".format(threads)
            )
        self.care.freeze()  # so that the children's collector leaves the shared pages alone
        reading, writing = os.pipe()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            between = os.fork()
            if between == 0:
                self.in_between(theirs.fileno(), writing)
            os.close(writing)
            writing = -1
            answer = os.read(reading, 8)
            os.waitpid(between, 0)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(reading)
            if writing >= 0:
                os.close(writing)
        pid, problem = struct.unpack("<ii", answer) if len(answer) == 8 else (-1, errno.EAGAIN)
        if pid < 0:
            ours.close()
            raise OSError(problem, os.strerror(problem))
        return Spare(pid, ours)

    def in_between(self, waiting: int, writing: int) -> None:
        """Called in the process between; it ends at once, and the supervisor adopts its child."""
        try:
            pid = os.fork()
        except OSError as error:
            os.write(writing, struct.pack("<ii", -1, error.errno or errno.EAGAIN))
            os._exit(1)
        if pid:
            os.write(writing, struct.pack("<ii", pid, 0))
            os._exit(0)
        try:
            self.in_child(waiting)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)

    def in_child(self, waiting: int) -> None:
        """Called in the scoring child."""
        self.care.settle()
        close_all_but(waiting)
        self.care.die_with(self.supervisor)
        _reseed()
        gc.enable()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, waiting) as sock:
            message, descriptors = receive(sock)
        if message is None:
            os._exit(0)  # not wanted
        control, log = descriptors
        for fd in (1, 2):
            os.dup2(log, fd)
        os.close(log)
        self.child.run_child(control)

    def say(self, **event: Any) -> None:
        try:
            self.control.sendall(json.dumps(event).encode("ascii"))
        except OSError:
            os._exit(0)  # the supervisor has gone

    def versions(self) -> "Dict[str, Optional[str]]":
        return {name: getattr(sys.modules.get(name), "__version__", None) for name in ("sklearn", "numpy", "joblib")}


def receive(sock: socket.socket) -> "Tuple[Optional[bytes], List[int]]":
    """One message and its descriptors; None when the other end is closed. Blocks."""
    data, ancillary, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(16))
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    for fd in descriptors:
        os.set_inheritable(fd, False)
    return data or None, list(descriptors)


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
    nursery.care.die_with(supervisor)
    nursery.run()


if __name__ == "__main__":
    main(sys.argv[1:])
