"""An installer as a process: started, listened to line by line, and ended with whoever waits for it."""

import os
import re
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

Progress = Callable[[str], None]

# Variables of the caller's own Python or installer that must not reach into another one.
_DROPPED: Final = re.compile(
    r"PYTHON(?!IOENCODING).*|VIRTUAL_ENV|CONDA_PREFIX|__PYVENV_LAUNCHER__|PIP_(TARGET|PREFIX|ROOT|USER|REQUIRE_VIRTUALENV|PYTHON)"
    r"|FORCE_COLOR|CLICOLOR_FORCE|UV_(PYTHON|SYSTEM_PYTHON|PROJECT|WORKING_DIR|REQUIRE_HASHES|PROJECT_ENVIRONMENT|BREAK_SYSTEM_PACKAGES)"
)
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")  # colours, links
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]+@")
_KEPT_LINES: Final = 20_000


class InstallFailed(Exception):
    """The text is the last meaningful line of what the installer said."""

    def __init__(self, problem: str, *, disk_full: bool = False) -> None:
        super().__init__(problem)
        self.disk_full = disk_full


def run_tool(
    command: Sequence[str],
    folder: Path,
    variables: Mapping[str, str],
    progress: Progress,
    problem: Callable[[Sequence[str]], str],
) -> list[str]:
    """The lines of its output. Whatever ends this early, an interrupt or a `progress` that raises, ends the process group.

    Raises:
        InstallFailed: it ended with another code than 0.
    """
    inherited = {key: value for key, value in os.environ.items() if not _DROPPED.fullmatch(key)}
    environment = {**inherited, **variables, "NO_COLOR": "1"}
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                clean = _CREDENTIALS.sub("", _ESCAPES.sub("", line).rstrip())
                lines.append(clean)
                if clean.strip() and not clean.startswith("Using Python "):
                    progress(clean)
            code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if code:
        full = any("No space left on device" in line or "os error 28" in line for line in lines)
        raise InstallFailed(problem(list(lines)) or f"{command[0]} ended with code {code}", disk_full=full)
    return list(lines)


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def one_line(text: str, limit: int = 400) -> str:
    line = re.sub(r"[\s│]+", " ", text).strip()
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
