"""Which gateway serves a workspace: ``gateway.lock``, held while a gateway runs, ``gateway.json``, its address, and
the runtime directory with its sockets.

The lock is an ``flock``, so it ends with its process however that ends. Files that a killed gateway left behind are
recognised by the free lock, never by a pid.
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
_READER_S: Final = 1.0  # a reader that tests the lock holds it for microseconds


class AlreadyServed(OperatorError):
    def __init__(self, where: str, url: str | None) -> None:
        at = f" at {url}" if url else ""
        super().__init__(f"another gateway serves the workspace {where}{at}; stop it first, or use that one")


@dataclass(frozen=True)
class GatewayState:
    """Where the gateway of a workspace answers. `started` is ISO 8601, UTC.

    `token` is a key of this one run, for the commands of the workspace's owner; empty if no key is required. `place`
    identifies the PID namespace of `pid`: containers that share a workspace see another process under that number.
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
        """Write this gateway's address, atomically and readable by the owner only."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        state = GatewayState(os.getpid(), url, host, port, now, token, _place())
        beside = self.root / f".{STATE_FILE}.{os.getpid()}"
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(json.dumps(asdict(state)) + "\n")
        beside.replace(self.root / STATE_FILE)

    def withdraw(self) -> None:
        """Remove the address of a gateway that stops answering; the lock stays."""
        with contextlib.suppress(OSError):  # on a disk that became read-only, readers rely on the lock
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
    """The boot of this machine and the PID namespace; empty where the system does not provide them."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def workspace_tag(root: Path) -> str:
    """Eight characters that distinguish this workspace's groups and runtime directories from those of others."""
    return hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:8]


def make_runtime_dir(root: Path) -> Path:
    """A fresh directory of mode 0700 for the sockets of the gateway of `root`, whose lock the caller holds.

    Its path is short, since that of a Unix socket has at most 107 bytes. Directories left by earlier gateways of the
    same workspace are removed.
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
