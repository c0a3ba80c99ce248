"""Run by tests as a process of its own: registers one model over and over, in children that it kills.

Standard input: one order a line, `time:SECONDS WORKSPACE` or `call:NUMBER WORKSPACE`: fork, let the child register, and
kill it by SIGKILL after that time, or by its own hand at that call of a function. Standard output: a line when it is dead.
With `count WORKSPACE` it registers once itself, and prints how many calls of functions that has.
"""

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from registry.sdk.model import Model
from registry.sdk.workspace import Workspace


def register(workspace: Path, files: Path) -> None:
    with Workspace.open(workspace) as opened:
        Model.register(
            opened, files / "model.pkl", "iris", sample=files / "sample.csv", code=files / "code", show_output=False
        )


def new_files(folder: Path) -> Path:
    """A model whose class is in a module beside it, and a sample: none of these bytes were ever stored before."""
    code = folder / "code"
    code.mkdir(parents=True, exist_ok=True)
    (code / "killed_model.py").write_text(f"class Model:\n    salt = {os.urandom(8)!r}\n")
    (code / "killed_helper.py").write_text(f"SALT = {os.urandom(8)!r}\n")
    (folder / "sample.csv").write_bytes(b"a,b\n1," + os.urandom(8).hex().encode())
    weights = os.urandom(2**16)
    size = len(weights).to_bytes(4, "little")
    (folder / "model.pkl").write_bytes(b"\x80\x04ckilled_model\nModel\n)\x81}U\x01wB" + size + weights + b"sb.")
    return folder


class Calls:
    """Counts calls of Python and C functions, and ends the process without warning at one of them."""

    def __init__(self, last: int | None = None) -> None:
        self.seen, self.last = 0, last

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        self.seen += 1
        if self.seen == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def child(order: str, root: Path, files: Path) -> None:
    kind, value = order.split(":")
    if kind == "call":
        new_files(files)
        sys.setprofile(Calls(int(value)))
        register(root, files)
    while kind == "time":
        register(root, new_files(files))


def count(root: Path, files: Path) -> int:
    new_files(files)
    calls = Calls()
    sys.setprofile(calls)
    register(root, files)
    sys.setprofile(None)
    return calls.seen


def kill(order: str, root: Path, files: Path) -> None:
    if not (pid := os.fork()):
        child(order, root, files)
        os._exit(0)
    if order.startswith("time:"):
        time.sleep(float(order.removeprefix("time:")))
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def main() -> None:
    files = Path(sys.argv[1])
    for line in sys.stdin:
        order, root = line.rstrip("\n").split(" ", 1)
        if order == "count":
            print(count(Path(root), files), flush=True)
        else:
            kill(order, Path(root), files)
            print("dead", flush=True)


if __name__ == "__main__":
    main()
