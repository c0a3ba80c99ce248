"""ProcessId: identifies a process even when its pid is reused."""

import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from registry.records import Json


@dataclass(frozen=True)
class ProcessId:
    """`start` is the kernel's start time of the process in ticks since boot, 0 where it is unknown."""

    pid: int
    start: int
    host: str

    @classmethod
    def of(cls, pid: int) -> Self:
        return cls(pid, _start_time(pid) or 0, socket.gethostname())

    @classmethod
    def from_json(cls, value: Json) -> Self | None:
        if not isinstance(value, dict):
            return None
        return cls(int(value["pid"]), int(value["start"]), str(value["host"]))

    def to_json(self) -> dict[str, Json]:
        return asdict(self)

    @property
    def here(self) -> bool:
        """Whether the process is on this machine; otherwise `alive` is meaningless."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        start = _start_time(self.pid)
        return start is not None and self.start in (0, start)


def _start_time(pid: int) -> int | None:
    """Ticks since boot; None when the process does not exist or is a zombie, 0 where there is no /proc."""
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return 0
    stat = read_stat(pid)
    return None if stat is None or stat[0] in "ZX" else int(stat[19])


def read_stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the third (state); None when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def session_members(session: int) -> list[int]:
    """Pids of the live processes of a session, whatever their process groups."""
    members = []
    for entry in Path("/proc").iterdir() if Path("/proc/self").exists() else ():
        if entry.name.isdigit():
            stat = read_stat(int(entry.name))
            if stat is not None and stat[0] not in "ZX" and int(stat[3]) == session:
                members.append(int(entry.name))
    return members


def has_variable(pid: int, name: str, value: str) -> bool:
    """Whether a process was started with this environment variable."""
    try:
        return f"{name}={value}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
