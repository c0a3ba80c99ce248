"""The guard's process, which ends what the groups of this process leave behind, however this process ends.

There is one for all back ends: it is started with the first group, again by a thread here when somebody killed it, and ended with the last
back end.
What it does is in `registry.limits.guard`.
"""

import contextlib
import itertools
import logging
import os
import subprocess
import sys
import threading
import time
from typing import Final

from registry.limits import guard, proc

log = logging.getLogger(__name__)

_PAUSE_S: Final = 1.0  # one that cannot live must not be started without end
_NUMBERS: Final = ~guard.OWNER_MASK  # the highest number of a group


class Guard:
    """Thread-safe. Where marks cannot be set it does nothing, and `limit` is 0."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._users: set[int] = set()
        self._numbers = itertools.count()

    @property
    def limit(self) -> int:
        """The resource limit that carries marks."""
        return guard.mark_limit() or 0

    @property
    def owner(self) -> int:
        """What the marks of all groups of this process have in common."""
        return guard.owner_mark(os.getpid(), proc.start_time(os.getpid()) or 0)

    def new_number(self) -> int:
        """For the next group's mark; the same comes back after a quarter of a million of them."""
        return next(self._numbers) % _NUMBERS + 1

    def keep(self, user: object) -> None:
        """Have it run at least until `user` leaves; also in place of one that was killed."""
        if not self.limit:
            return
        with self._lock:
            self._users.add(id(user))
            if self._process is None:
                self._start()

    def _start(self) -> None:
        command = [sys.executable, "-I", "-S", guard.__file__, str(self.limit), str(self.owner)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env={},  # it needs nothing, and whoever looks at it finds no key
            bufsize=0,
        )
        threading.Thread(target=self._watch, args=(self._process,), name="fitserve-guard", daemon=True).start()

    def _watch(self, process: "subprocess.Popen[bytes]") -> None:
        """Runs in a thread: another in its place, if it was not ended here."""
        with contextlib.suppress(ChildProcessError):  # whoever else waits for our children was quicker
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        time.sleep(_PAUSE_S)
        with self._lock:
            if process is not self._process:
                return
            log.warning("the guard process of the limits was ended; starting another")
            self._end()
            try:
                self._start()
            except OSError as error:  # the next group tries again
                log.error("the guard process of the limits could not be started: %s", error)

    def mark(self, pid: int, number: int) -> None:
        """Put a process, and all that it will start, under the guard.

        Raises:
            ProcessLookupError: it is gone.
        """
        if self.limit:
            with contextlib.suppress(PermissionError):  # another user's
                guard.write_mark(self.limit, pid, guard.group_mark(self.owner, number))

    def leave(self, user: object) -> None:
        """The groups of `user` are closed."""
        with self._lock:
            self._users.discard(id(user))
            if not self._users:
                self._end()

    def _end(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            self._process = None


GUARD: Final = Guard()
