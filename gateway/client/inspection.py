"""Looking at model files by loading them: in a process of its own, in the Python that can read them, inside limits."""

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gateway import worker
from registry.definitions import MODULE
from registry.errors import ModelError
from registry.limits import choose_backend, machine_memory_bytes
from registry.resources import GB, ResourceConfiguration

TIMEOUT_S: Final = 120.0
_SECONDS_PER_GB: Final = 60.0
_ENVIRONMENT: Final = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
)
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class InspectionFailed(ModelError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"the files could not be looked at: {reason}")


def inspect_files(
    python: Path, files: Sequence[tuple[str, Path]], code: Path | None = None, definitions: str = ""
) -> list[dict[str, Any]]:
    """What the objects in `files` (name, path) are; see `gateway.worker.parts`.

    Args:
        python: an interpreter that has what the files need.
        code: folder with the modules that they name.
        definitions: source of what they name of their training script.

    Raises:
        InspectionFailed: the process died, took more memory than it may have, or did not end in time.
    """
    size = sum(path.stat().st_size for _, path in files)
    limit_gb = min(max(2.0, 6 * size / GB), 0.8 * machine_memory_bytes() / GB)
    with contextlib.ExitStack() as stack:
        of_script = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fitserve-inspect-")))
        (of_script / MODULE).write_text(definitions, encoding="utf-8")
        backend = choose_backend("fitserve-inspect")
        stack.callback(backend.close)
        group = backend.create(f"inspect-{os.getpid()}", ResourceConfiguration(cpu=1, memory_in_gb=limit_gb), tasks=200)
        stack.callback(group.close)
        process = subprocess.Popen(
            [str(python), "-I", str(Path(worker.__file__).with_name("parts.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | dict.fromkeys(_THREADS, "1"),
            start_new_session=True,
            text=True,
        )
        group.add(process.pid)
        order = {
            "files": [[name, str(path.resolve())] for name, path in files],
            "code": None if code is None else str(code.resolve()),
            "definitions": str(of_script) if definitions else None,
            "rlimits": group.rlimits(),
        }
        try:
            out, err = process.communicate(json.dumps(order) + "\n", TIMEOUT_S + _SECONDS_PER_GB * size / GB)
        except subprocess.TimeoutExpired:
            group.kill()
            process.communicate()
            raise InspectionFailed(f"loading them took longer than {TIMEOUT_S:g} s") from None
        killed = group.usage().oom_kills > 0
    if process.returncode == 0 and out:
        found: list[dict[str, Any]] = json.loads(out)
        return found
    if killed or process.returncode == -9:
        raise InspectionFailed(f"loading them needs more than {limit_gb:.3g} GB of memory")
    last = next(
        (line.strip() for line in reversed(err.splitlines()) if line.strip()), f"exit code {process.returncode}"
    )
    raise InspectionFailed(last)
