"""Starts the programs in `gateway/worker` under a model's own Python: environment, control socket, log pipe."""

import asyncio
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway import worker
from gateway.supervisor.log_tail import LogPipe, LogTail
from gateway.supervisor.reaper import Exit, Reaper
from gateway.worker.process_setup import THREAD_VARIABLES

WORKER: Final = Path(worker.__file__).resolve().parent

#: What models may see of the supervisor's environment; secrets have other names.
ENVIRONMENT: Final = frozenset(
    (
        *(
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "LANG",
            "LANGUAGE",
            "TZ",
            "TZDIR",
            "TMPDIR",
            "LD_LIBRARY_PATH",
            "VIRTUAL_ENV",
        ),
        # These choose the kernels that compute, and so the last bits of an answer, which must be those of the fit.
        *("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES"),
    )
)


def clean_environment(
    variables: Mapping[str, str] | None = None, environ: Mapping[str, str] = os.environ, threads: int = 1
) -> dict[str, str]:
    """The environment of nurseries and children: an allow-list, the model environment's own `variables`, thread
    counts."""
    kept = {name: value for name, value in environ.items() if name in ENVIRONMENT or name.startswith("LC_")}
    kept.update(variables or {})
    kept.update({name: str(threads) for name in THREAD_VARIABLES})
    return {name: value for name, value in kept.items() if not name.startswith("FITSERVE_")}


def spawn(
    file: str, python: Path | str, reaper: Reaper, kind: int, environment: Mapping[str, str], log: LogTail
) -> "tuple[int, socket.socket, LogPipe, asyncio.Future[Exit]]":
    ours, theirs, pipe = open_channel(kind, log)
    try:
        with theirs:
            arguments = [str(python), "-I", str(WORKER / file), "--control-fd", str(theirs.fileno())]
            pid, exited = reaper.spawn(
                [*arguments, "--supervisor-pid", str(os.getpid())],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdout=pipe.writing,
                stderr=pipe.writing,
                start_new_session=True,  # Ctrl-C in a terminal must reach the supervisor only
            )
    except OSError:
        ours.close()
        pipe.close()
        raise
    pipe.close_writing()
    return pid, ours, pipe, exited


def open_channel(kind: int, log: LogTail) -> tuple[socket.socket, socket.socket, LogPipe]:
    """Both ends of a control socket, and a pipe for the output. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    try:
        return ours, theirs, LogPipe(log)
    except OSError:
        ours.close()
        theirs.close()
        raise
