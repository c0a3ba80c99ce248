"""ScriptProcess: the script as a child process. This code runs in the launcher."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from trainer.process_id import session_members

BOOTSTRAP: Final = Path(__file__).parent / "shim" / "azureml" / "_bootstrap.py"
_PIECE: Final = 1 << 16


class ScriptProcess:
    """A script in its own session, with its output in one pipe, that waits for `release()`.

    `argv` follows `python`, or is a whole command when `is_command`. The process exists at once, so that it can be added
    to its limit group before it reads a byte of the script.

    Raises:
        OSError: the interpreter cannot be started.
    """

    def __init__(
        self, python: Path, argv: Sequence[str], *, is_command: bool, folder: Path, environment: Mapping[str, str]
    ) -> None:
        go_read, self._go = os.pipe()
        mode = "exec" if is_command else "script"
        try:
            self._process = subprocess.Popen(
                [str(python), str(BOOTSTRAP), str(go_read), str(os.getpid()), mode, *argv],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[go_read],
                start_new_session=True,
            )
        except OSError:
            os.close(self._go)
            raise
        finally:
            os.close(go_read)
        assert self._process.stdout is not None
        self.output = self._process.stdout.fileno()
        os.set_blocking(self.output, False)

    @property
    def pid(self) -> int:
        """Also the id of the session and of its first process group."""
        return self._process.pid

    def release(self, rlimits: Mapping[str, int]) -> None:
        """Let the script begin, under `rlimits` (see `registry.limits.base.Group.rlimits`)."""
        with os.fdopen(self._go, "wb") as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(json.dumps({"rlimits": dict(rlimits)}).encode())

    def read(self) -> bytes | None:
        """Available output; b"" when there is none now, None when the pipe is closed."""
        try:
            return os.read(self.output, _PIECE) or None
        except BlockingIOError:
            return b""

    def poll(self) -> int | None:
        """The exit code, negative for a signal as in `subprocess`; None while it runs."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        """Send a signal to the script and to all processes of its session."""
        for pid in session_members(self.pid) or [self.pid]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def kill_rest(self, patience_s: float = 2.0) -> None:
        """Kill what the script left running; otherwise the pipe would stay open."""
        deadline = time.monotonic() + patience_s
        while session_members(self.pid) and time.monotonic() < deadline:
            self.signal(signal.SIGKILL)
            time.sleep(0.01)

    def close(self) -> None:
        if self.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait()
        self.kill_rest()
        assert self._process.stdout is not None
        self._process.stdout.close()
