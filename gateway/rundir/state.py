"""Who serves a workspace: ``gateway.lock``, held while a gateway runs, ``gateway.json``, which says where, and the
runtime directory with its sockets.

The lock is an ``flock``, so it ends with its process however that ends; what a killed gateway left behind is recognised by
the lock being free, never by a process number.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from registry.errors import OperatorError

STATE_FILE: Final = "gateway.json"
LOCK_FILE: Final = "gateway.lock"
_READER_S: Final = 1.0  # a reader that looks whether the lock is held has it for microseconds


class AlreadyServed(OperatorError):
    def __init__(self, where: str, url: str | None) -> None:
        at = f" at {url}" if url else ""
        super().__init__(f"another gateway serves the workspace {where}{at}; stop it first, or use that one")


@dataclass(frozen=True)
class GatewayState:
    """Where the gateway of a workspace answers. `started` is ISO 8601, UTC.

    `token` is a key of this one run, for the commands of whoever owns the workspace; empty where no key is asked for. `place` is
    where `pid` is a process number: a workspace that containers share is seen from places where that number is another process.
    """

    pid: int
    url: str
    host: str
    port: int
    started: str
    token: str = field(default="", repr=False)
    place: str = ""

    @property
    def is_here(self) -> bool:
        """Whether `pid` means the gateway in this process too."""
        return self.place in ("", _place())


def running_gateway(root: Path) -> GatewayState | None:
    """The gateway that serves the workspace in `root` now, or None."""
    try:
        with (root / LOCK_FILE).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _read(root)
    except OSError:
        return None


class GatewayLock:
    """Held by the one gateway of a workspace; a context manager that removes ``gateway.json`` at its end.

    Raises:
        AlreadyServed: another gateway holds it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._file = os.open(root / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _READER_S
        while not self._taken():
            if time.monotonic() > deadline:
                os.close(self._file)
                state = _read(root)
                raise AlreadyServed(str(root), state.url if state else None)
            time.sleep(0.02)
        self.withdraw()

    def write(self, url: str, host: str, port: int, token: str = "") -> None:
        """Say where this gateway answers; whole or not at all, and to its owner only."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        state = GatewayState(os.getpid(), url, host, port, now, token, _place())
        beside = self.root / f".{STATE_FILE}.{os.getpid()}"
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(json.dumps(asdict(state)) + "\n")
        beside.replace(self.root / STATE_FILE)

    def withdraw(self) -> None:
        """It does not answer any more; the lock stays."""
        with contextlib.suppress(OSError):  # a disk that cannot be written any more: who looks asks the lock
            (self.root / STATE_FILE).unlink(missing_ok=True)

    def close(self) -> None:
        self.withdraw()
        os.close(self._file)

    def __enter__(self) -> "GatewayLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _taken(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False


def _place() -> str:
    """The machine since it was started, and the PID namespace; empty where the system does not say."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def workspace_tag(root: Path) -> str:
    """Eight characters that tell this workspace's groups and runtime directories from those of others."""
    return hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:8]


def make_runtime_dir(root: Path) -> Path:
    """A fresh directory of mode 0700 for the sockets of the gateway of `root`, whose lock the caller holds.

    Short, since the path of a Unix socket has at most 107 bytes. What earlier gateways of the same workspace left is removed.
    """
    prefix = f"fitserve-{os.getuid()}-{workspace_tag(root)}-"
    base = _runtime_base()
    for left in base.glob(f"{prefix}*"):
        found = left.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=base))


def _runtime_base() -> Path:
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and len(os.fsencode(given)) < 40 and os.access(given, os.W_OK | os.X_OK):
        return Path(given)
    # A container whose root is read-only has a /dev/shm. mkdtemp makes the directory itself private.
    return next((base for base in map(Path, ("/tmp", "/dev/shm")) if os.access(base, os.W_OK)), Path("/tmp"))  # noqa: S108


def _read(root: Path) -> GatewayState | None:
    try:
        return GatewayState(**json.loads((root / STATE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
