"""A process that runs a notebook: ``python -m trainer.execute_notebook NOTEBOOK PYTHON``, inside the run's limits.

It runs in fitserve's own Python, which has nbclient; the kernel is the run's Python. What cells print goes to the output as it comes,
like a script's; the executed copy and its figures go to ``outputs/``. Not part of the package's interface.
"""

import base64
import copy
import itertools
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any, Final

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from trainer.notebook import install_line

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_MATPLOTLIB: Final = re.compile(r"^(\s*)%matplotlib\b(.*)$")
# The kernel dies with this process, whatever ends it.
_START: Final = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); os.execv(sys.executable, [sys.executable, '-m', 'ipykernel_launcher', *sys.argv[2:]])"
)


class Kernel(AsyncKernelManager):
    """A kernel of one interpreter, whatever kernels this machine has registered."""

    python = sys.executable

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [self.python, "-c", _START, str(os.getpid()), "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


class Client(NotebookClient):
    """Shows what cells give as it comes, and keeps their figures."""

    outputs: Path
    numbers = itertools.count(1)

    def output(self, outs: list[Any], msg: dict[str, Any], display_id: str | None, cell_index: int) -> Any:
        content, kind = msg["content"], msg["msg_type"]
        if kind == "stream":
            print(content["text"], end="", flush=True)
        elif kind in ("display_data", "execute_result"):
            self._show(content["data"])
        return super().output(outs, msg, display_id, cell_index)

    def _show(self, data: dict[str, Any]) -> None:
        if "image/png" in data:
            path = next(p for n in self.numbers if not (p := self.outputs / f"figure-{n}.png").exists())
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(base64.b64decode(data["image/png"]))
            print(f"figure saved: outputs/{path.name}", flush=True)
        elif "text/plain" in data:
            print(data["text/plain"], flush=True)


def main(arguments: list[str]) -> int:
    path, python = Path(arguments[0]), arguments[1]
    notebook = nbformat.read(path, as_version=4)
    sources = [copy.deepcopy(cell.source) for cell in notebook.cells]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = prepared(cell.source)
    Kernel.python = python
    outputs = Path("outputs")
    client = Client(
        notebook, timeout=None, kernel_manager_class=Kernel, resources={"metadata": {"path": str(Path.cwd())}}
    )
    client.outputs = outputs
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    try:
        client.execute(env={**os.environ})
    except CellExecutionError as error:
        print(_failure(notebook, error), file=sys.stderr, flush=True)
        return 1
    except DeadKernelError:
        print("the notebook's kernel died: a cell ended its process, or it ran out of memory", file=sys.stderr)
        return 1
    finally:
        for cell, source in zip(notebook.cells, sources, strict=True):
            cell.source = source
        outputs.mkdir(exist_ok=True)
        nbformat.write(notebook, outputs / path.name)
    return 0


def prepared(source: str) -> str:
    """A cell as it is executed: packages were installed before, and figures are kept also without matplotlib's own magic."""
    lines = []
    for line in source.split("\n"):
        magic = _MATPLOTLIB.match(line)
        if install_line(line) is not None:
            lines.append(f"print({line.strip()!r} + ': done before the run')")
        elif magic is not None:
            lines.append(
                f"{magic[1]}import importlib.util as _u; _u.find_spec('matplotlib') and get_ipython().run_line_magic('matplotlib', {magic[2].strip()!r})"
            )
        else:
            lines.append(line)
    return "\n".join(lines)


def _failure(notebook: Any, error: CellExecutionError) -> str:
    """The traceback, and the cell and line in one sentence."""
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    failed = [number for number, cell in enumerate(codes, 1) if any(out.output_type == "error" for out in cell.outputs)]
    text = _COLOUR.sub("", str(error.traceback))
    lines = re.findall(r"^-+> (\d+) ", text, re.MULTILINE) or re.findall(r"line (\d+)", text)
    place = f"cell {failed[0]}" if failed else "a cell"
    if lines:
        place += f", line {lines[0]}"
    return f"{text.rstrip()}\n\n{place} of the notebook: {error.ename}: {_COLOUR.sub('', error.evalue)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
